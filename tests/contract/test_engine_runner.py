"""`ContainerRunner`: the twin, a real dockerd and the VIC facade, by one suite; and what a copy keeps of its model."""

import time
from collections.abc import Iterator
from contextlib import ExitStack
from typing import Any

import pytest

from imagepipe.engine.runner import EngineRunner
from imagepipe.errors import ImagepipeError, NotFoundError, RefusedError
from imagepipe.events import silent
from imagepipe.model.digest import Digest
from imagepipe.model.host import TargetKind
from imagepipe.model.reference import Pinned, Reference, Repository
from imagepipe.ports.containers import ContainerRunner
from tests.contract.engine_worlds import HostWorld, MemoryWorld, RealWorld, started_world
from tests.contract.runner_memory import MemoryRunner
from tests.contract.vch_images import build, busybox_layer, file_layer, push

REAL = ["real-docker", "real-vch"]


@pytest.fixture(scope="module")
def worlds() -> Iterator[dict[str, RealWorld]]:
    """The two kinds before one dockerd, started when the first test needs them."""
    with ExitStack() as stack:
        yield _Lazily(stack)


class _Lazily(dict[str, RealWorld]):
    def __init__(self, stack: ExitStack) -> None:
        super().__init__()
        self._stack = stack

    def __missing__(self, kind: str) -> RealWorld:
        running = self._stack.enter_context(started_world())
        self.update({one.value: RealWorld(running, one) for one in TargetKind})
        return self[kind]


class Stage:
    """A host with two images of one repository, and what replaces containers there."""

    def __init__(self, world: HostWorld, runner: ContainerRunner, name: str) -> None:
        self.world, self.runner, self.name = world, runner, f"{name}-{world.kind}"
        shelved = [world.shelve(f"es/{self.name}", tag) for tag in ("1", "2")]
        for one in shelved:
            world.puller.pull(one.tag, silent)
        self.first, self.second = (one.pinned for one in shelved)

    def state(self, name: str) -> str | None:
        return next((one.state for one in self.world.inventory.inventory().containers if one.name == name), None)

    def runs(self, name: str) -> tuple[Pinned, ...]:
        return next(one.images for one in self.world.inventory.inventory().containers if one.name == name)


@pytest.fixture(params=["memory-docker", "memory-vch", *(pytest.param(one, marks=pytest.mark.sandbox) for one in REAL)])
def stage(request: pytest.FixtureRequest, worlds: dict[str, RealWorld]) -> Iterator[Stage]:
    where, _, kind = str(request.param).partition("-")
    name = request.node.name.removeprefix("test_").partition("[")[0].replace("_", "-")[:30].rstrip("-")
    if where == "memory":
        memory = MemoryWorld(TargetKind(kind))
        yield Stage(memory, MemoryRunner(memory._memory), name)
        return
    yield Stage(worlds[kind], EngineRunner(worlds[kind].endpoint, TargetKind(kind)), name)
    _clear(worlds[kind], f"{name}-{kind}")


def _clear(world: RealWorld, name: str) -> None:
    for one in world.containers():
        if one.startswith(name):
            world.endpoint.delete(f"/containers/{one}", params={"force": "1", "v": "1"})
    world.made.clear()


def test_a_copy_runs_the_other_image_and_takes_the_name_over(stage: Stage) -> None:
    name, new, old = stage.name, f"{stage.name}.new", f"{stage.name}.old"
    stage.world.create(name, Reference(stage.first.repository, digest=stage.first.digest))

    stage.runner.create(new, name, stage.second)
    assert (stage.state(name), stage.state(new)) == ("running", "created")
    stage.runner.set_aside(name, old)
    stage.runner.bring_up(new, name)

    assert (stage.state(name), stage.state(old), stage.state(new)) == ("running", "exited", None)
    assert stage.runs(name) == (stage.second,)
    assert stage.runs(old) == (stage.first,)
    assert stage.runner.condition(name).running
    assert not stage.runner.condition(old).running


def test_what_is_done_already_is_done(stage: Stage) -> None:
    name = stage.name
    stage.world.create(name, Reference(stage.first.repository, digest=stage.first.digest))

    stage.runner.bring_up(name, name)
    stage.runner.set_aside(name, f"{name}.old")
    stage.runner.set_aside(f"{name}.old", f"{name}.done")
    stage.runner.remove(f"{name}.done")
    stage.runner.remove(f"{name}.done")

    assert stage.state(f"{name}.done") is None


def test_what_is_not_there_is_not_found_or_refused(stage: Stage) -> None:
    name = stage.name
    with pytest.raises(NotFoundError, match="No such container"):
        stage.runner.condition(name)
    with pytest.raises(ImagepipeError):
        stage.runner.set_aside(name, f"{name}.old")
    stage.world.create(name, Reference(stage.first.repository, digest=stage.first.digest))
    with pytest.raises(RefusedError, match="create"):
        stage.runner.create(f"{name}.new", name, stage.first.repository.pin(Digest.of(b"never pulled")))
    assert stage.state(f"{name}.new") is None


class Made:
    """Two images that bring much of their own, on a real host."""

    def __init__(self, world: RealWorld, kind: TargetKind, name: str) -> None:
        self.world, self.kind, self.name = world, kind, f"{name}-{kind.value}"
        self.runner = EngineRunner(world.endpoint, kind)
        self.first, self.second = self.image("1"), self.image("2")

    def image(self, version: str) -> Pinned:
        repository = Repository(self.world.world.registry, f"es/{self.name}")
        built = build(
            [busybox_layer(), file_layer("data/version", version)],
            Env=["PATH=/bin", f"VERSION={version}", "LEVEL=info"],
            Cmd=["sleep", f"60{version}"],
            Labels={"image": version, "team": "images"},
            ExposedPorts={f"800{version}/tcp": {}},
            WorkingDir=f"/{'data' if version == '1' else 'tmp'}",
            StopSignal="SIGKILL",
            Volumes={"/cache": {}},
        )
        with self.world.world.registry_client() as client:
            push(client, repository.path, version, built)
        self.world.puller.pull(repository.tagged(version), silent)
        return repository.pin(Digest.parse(built.digest))

    def create(self, image: Pinned, **body: Any) -> dict[str, Any]:
        self.world.endpoint.post("/containers/create", params={"name": self.name}, body={"Image": str(image), **body})
        self.world.endpoint.post(f"/containers/{self.name}/start")
        return self.inspect(self.name)

    def switched(self) -> dict[str, Any]:
        self.runner.create(f"{self.name}.new", self.name, self.second)
        self.runner.set_aside(self.name, f"{self.name}.old")
        self.runner.bring_up(f"{self.name}.new", self.name)
        return self.inspect(self.name)

    def inspect(self, name: str) -> dict[str, Any]:
        found: dict[str, Any] = self.world.endpoint.get(f"/containers/{name}/json")
        return found


@pytest.fixture(params=REAL)
def made(request: pytest.FixtureRequest, worlds: dict[str, RealWorld]) -> Iterator[Made]:
    kind = TargetKind(str(request.param).partition("-")[2])
    name = request.node.name.removeprefix("test_").partition("[")[0].replace("_", "-")[:30].rstrip("-")
    found = Made(worlds[kind.value], kind, name)
    yield found
    _clear(worlds[kind.value], found.name)


@pytest.mark.sandbox
def test_a_copy_keeps_what_was_given_and_takes_the_rest_from_its_own_image(made: Made) -> None:
    old = made.create(
        made.first,
        Env=["LEVEL=debug", "TOKEN=s"],
        Labels={"owner": "ops", "team": "images"},
        ExposedPorts={"9000/tcp": {}},
        HostConfig={
            "RestartPolicy": {"Name": "on-failure", "MaximumRetryCount": 3},
            "PortBindings": {"8080/tcp": [{"HostPort": "18080" if made.kind is TargetKind.VCH else "18081"}]},
            "Memory": 600 << 20,
            "Binds": [f"{made.name}:/state"],
            "Dns": ["192.0.2.53"],
        },
    )
    new = made.switched()

    config = new["Config"]
    assert set(config["Env"]) == {"PATH=/bin", "VERSION=2", "LEVEL=debug", "TOKEN=s"}
    assert config["Cmd"] == ["sleep", "602"]
    assert config["Labels"] == {"image": "2", "owner": "ops", "team": "images"}
    assert (config["WorkingDir"], config["Image"]) == ("/tmp", str(made.second))
    assert set(config["ExposedPorts"]) >= {"9000/tcp", "8002/tcp"}
    assert "8001/tcp" not in config["ExposedPorts"]
    assert config["Hostname"] == new["Id"][:12] != old["Id"][:12]
    for key in ("RestartPolicy", "PortBindings", "Memory", "Dns"):
        assert new["HostConfig"][key] == old["HostConfig"][key], key
    mounts = [{(one["Name"], one["Destination"]) for one in found["Mounts"]} for found in (old, new)]
    assert mounts[0] == mounts[1], "the volume without a name of its own moves over with its data, too"
    assert {destination for _, destination in mounts[1]} == {"/state", "/cache"}


@pytest.mark.sandbox
def test_a_copy_keeps_a_command_and_an_entrypoint_of_its_own(made: Made) -> None:
    made.create(made.first, Entrypoint=["sleep"], Cmd=["601"], Hostname="web", Tty=True)
    config = made.switched()["Config"]
    assert (config["Entrypoint"], config["Cmd"], config["Hostname"], config["Tty"]) == (["sleep"], ["601"], "web", True)


@pytest.mark.sandbox
def test_a_copy_keeps_networks_aliases_and_fixed_addresses(made: Made) -> None:
    third = 31 if made.kind is TargetKind.VCH else 32
    networks = [f"{made.name}-{part}" for part in ("front", "back")]
    for index, network in enumerate(networks):
        pool = {"Subnet": f"10.214.{third + 10 * index}.0/24"}
        made.world.endpoint.post("/networks/create", body={"Name": network, "IPAM": {"Config": [pool]}})
    try:
        front = {"IPAMConfig": {"IPv4Address": f"10.214.{third}.77"}, "Aliases": ["shop"]}
        made.world.endpoint.post(
            "/containers/create",
            params={"name": made.name},
            body={
                "Image": str(made.first),
                "HostConfig": {"NetworkMode": networks[0]},
                "NetworkingConfig": {"EndpointsConfig": {networks[0]: front}},
            },
        )
        back = {"IPAMConfig": {"IPv4Address": f"10.214.{third + 10}.78"}}
        made.world.endpoint.post(
            f"/networks/{networks[1]}/connect", body={"Container": made.name, "EndpointConfig": back}
        )
        made.world.endpoint.post(f"/containers/{made.name}/start")
        old, new = made.inspect(made.name), made.switched()
        told = new["NetworkSettings"]["Networks"]
        assert {name: one["IPAddress"] for name, one in told.items()} == {
            networks[0]: f"10.214.{third}.77",
            networks[1]: f"10.214.{third + 10}.78",
        }
        assert set(told[networks[0]]["Aliases"]) == {"shop", new["Id"][:12]}
        assert old["Id"][:12] not in told[networks[0]]["Aliases"]
    finally:
        _clear(made.world, made.name)
        for network in networks:
            made.world.endpoint.delete(f"/networks/{network}")


@pytest.mark.sandbox
def test_an_address_on_a_container_network_of_a_vch_is_kept_though_nobody_asked_for_it(
    worlds: dict[str, RealWorld],
) -> None:
    made = Made(worlds["vch"], TargetKind.VCH, "addressed")
    try:
        old = made.create(made.first, HostConfig={"NetworkMode": "public"})
        before = old["NetworkSettings"]["Networks"]["public"]["IPAddress"]
        assert before
        assert made.switched()["NetworkSettings"]["Networks"]["public"]["IPAddress"] == before
    finally:
        _clear(made.world, made.name)


@pytest.mark.sandbox
def test_a_container_that_ended_tells_how_and_what_it_printed_last(made: Made) -> None:
    made.create(made.first, Cmd=["sh", "-c", "echo first; echo no such table >&2; exit 3"])
    until = time.monotonic() + 20
    while (found := made.runner.condition(made.name)).running and time.monotonic() < until:
        time.sleep(0.1)
    assert found.told == "exited with code 3"
    assert sorted(found.last_words) == ["first", "no such table"]
    assert "no such table" not in repr(found)


@pytest.mark.sandbox
def test_a_command_that_is_not_in_the_image_is_refused_at_its_start(made: Made) -> None:
    with pytest.raises(ImagepipeError):
        made.create(made.first, Cmd=["no-such-command"])
    with pytest.raises(ImagepipeError, match=f"start {made.name}"):
        made.runner.bring_up(made.name, made.name)


@pytest.mark.sandbox
def test_a_health_check_is_told_by_an_engine(worlds: dict[str, RealWorld]) -> None:
    made = Made(worlds["docker"], TargetKind.DOCKER, "health")
    try:
        second = 1_000_000_000
        check = {"Test": ["CMD", "false"], "Interval": second, "Retries": 1}
        made.create(made.first, Healthcheck={**check, "Test": ["CMD", "ls", "/nowhere"]})
        until = time.monotonic() + 20
        while (found := made.runner.condition(made.name)).health == "starting" and time.monotonic() < until:
            time.sleep(0.2)
        assert (found.running, found.health, found.told) == (True, "unhealthy", "running, unhealthy")
    finally:
        _clear(made.world, made.name)
