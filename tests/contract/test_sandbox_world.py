"""The real thing: engines in namespaces, up and down, whole and after a crash, with nothing left behind."""

import base64
import json
import os
import shutil
import signal
import ssl
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest

from imagepipe.errors import ImagepipeError, NotFoundError, SettingsError, UsageError
from imagepipe.events import Event, StepFinished
from imagepipe.sandbox.layout import Layout
from imagepipe.sandbox.namespaces import enter
from imagepipe.sandbox.probing import trusting
from imagepipe.sandbox.processes import marked, run
from imagepipe.sandbox.world import Options, World
from tests.measuring import measuring, unmeasured
from tests.watching import watched

pytestmark = pytest.mark.sandbox
_MEASURING = measuring()
UP_S = 20.0  # what `up` may take on two cores


def traces(directory: Path) -> set[str]:
    """Returns everything on this machine that belongs to the sandbox in a directory, in the words of each keeper."""
    layout = Layout.at(directory)
    mounts = Path("/proc/self/mountinfo").read_text().splitlines()
    found = {f"mount {line}" for line in mounts if str(directory) in line or layout.namespace_prefix in line}
    found |= {f"netns {line}" for line in run(["ip", "netns", "list"]).splitlines() if layout.namespace_prefix in line}
    found |= {f"link {line}" for line in run(["ip", "-o", "link"]).splitlines() if layout.host_link in line}
    found |= {f"route {line}" for line in run(["ip", "route"]).splitlines() if layout.host_link in line}
    found |= {f"cgroup {path}" for path in Path("/sys/fs/cgroup").glob(f"**/{layout.cgroup}")}
    found |= {f"process {pid}" for pid in marked(layout.world_id)}
    found |= {
        f"process {line}" for line in run(["ps", "-e", "-o", "pid=,args="]).splitlines() if f"{directory}/" in line
    }
    return found | ({f"files {directory}"} if directory.exists() else set())


def machine() -> dict[str, Any]:
    """Returns what a sandbox must leave as it is on the machine round it, while it is up too."""
    return {
        "iptables": [line for line in run(["iptables-save"]).splitlines() if not line.startswith("#")],
        "forwarding": Path("/proc/sys/net/ipv4/ip_forward").read_text(),
        "etc-docker": sorted(str(path) for path in Path("/etc/docker").glob("*")),
        "shims": Path("/run/containerd/s").exists(),
    }


class Target:
    """Speaks to one target as a Docker client with its certificates does."""

    def __init__(self, document: dict[str, Any], name: str, cert_path: Path | None = None) -> None:
        self._document, row = document, document["targets"][name]
        folder = cert_path or Path(row["cert_path"])
        url = row["host"].replace("tcp://", "https://")
        self._client = httpx.Client(
            base_url=url, verify=trusting(folder / "ca.pem", folder), timeout=60.0, trust_env=False
        )

    def __enter__(self) -> "Target":
        return self

    def __exit__(self, *_: object) -> None:
        self._client.close()

    def ping(self) -> int:
        return self._client.get("/_ping").status_code

    def pull(self, user: str) -> str:
        registry = self._document["registry"]
        who = registry["users"][user]
        secret = {"username": who["username"], "password": Path(who["password_file"]).read_text().strip()}
        auth = base64.urlsafe_b64encode(json.dumps({**secret, "serveraddress": registry["host"]}).encode()).decode()
        query = {"fromImage": f"{registry['host']}/es-sandbox/base", "tag": "1"}
        answer = self._client.post("/v1.25/images/create", params=query, headers={"X-Registry-Auth": auth})
        return f"{answer.status_code} {answer.text}"

    def serve(self, name: str, **host_config: Any) -> dict[str, Any]:
        """Starts the base image's web server on port 8080, and returns the container's networks."""
        body = {
            "Image": f"{self._document['registry']['host']}/es-sandbox/base:1",
            "Cmd": ["httpd", "-f", "-p", "8080", "-h", "/etc"],
            "ExposedPorts": {"8080/tcp": {}},
            "HostConfig": host_config,
        }
        made = self._client.post("/v1.25/containers/create", params={"name": name}, json=body)
        assert made.status_code == 201, made.text
        started = self._client.post(f"/v1.25/containers/{name}/start")
        assert started.status_code == 204, started.text
        networks: dict[str, Any] = self._client.get(f"/v1.25/containers/{name}/json").json()["NetworkSettings"][
            "Networks"
        ]
        return networks


def answer_of(url: str) -> str:
    """Returns what a web server says, once it answers, within ten seconds."""
    deadline = time.monotonic() + 10
    while True:
        try:
            return httpx.get(url, timeout=2.0, trust_env=False).text
        except httpx.HTTPError:
            if time.monotonic() > deadline:
                raise
            time.sleep(0.1)


def spawn_owner(directory: Path) -> "subprocess.Popen[bytes]":
    """Starts another process that brings the sandbox up."""
    script = (
        "import sys; from pathlib import Path; from imagepipe.sandbox.world import Options, World\n"
        "World.up(Options(Path(sys.argv[1])))"
    )
    argv = [sys.executable, "-c", script, str(directory)]
    return subprocess.Popen(argv, env={**os.environ, **_MEASURING}, stderr=subprocess.PIPE)


@pytest.fixture(scope="module", autouse=True)
def stand_ins_unmeasured() -> Iterator[None]:
    """Twenty times the same start and end of each stand-in is a third of the time; the end-to-end tests measure it."""
    with unmeasured():
        yield


@pytest.fixture
def directory() -> Iterator[Path]:
    # A short path of its own: pytest's own is too long for unix sockets.
    with tempfile.TemporaryDirectory(prefix="ipw-", dir="/tmp") as folder, watched(Path(folder)):
        yield Path(folder) / "box"
        World.load(Path(folder) / "box").down()


@pytest.fixture(scope="module")
def world() -> Iterator[World]:
    with tempfile.TemporaryDirectory(prefix="ipw-", dir="/tmp") as folder, watched(Path(folder)):
        yield World.up(Options(Path(folder) / "box"))
        World.load(Path(folder) / "box").down()


def test_up_is_quick_complete_and_leaves_the_machine_round_it_alone(directory: Path) -> None:
    before, events = machine(), list[Event]()
    began = time.monotonic()
    world = World.up(Options(directory), events.append)
    took_s = time.monotonic() - began
    document = world.status()
    assert took_s < UP_S
    assert document["state"] == "up"
    assert {row["name"] for row in document["processes"]} == {
        *("registry", "harbor", "sigstore", "build", "engine-a"),
        *("vch-a", "vch-a-engine", "vch-b", "vch-b-engine"),
    }
    assert {event.subject for event in events if isinstance(event, StepFinished)} >= {"vch-a", "registry", "es-sandbox"}
    assert machine() == before
    assert world.down()
    assert machine() == before


def test_down_leaves_nothing_and_may_be_repeated(directory: Path) -> None:
    world = World.up(Options(directory))
    kinds = {trace.split()[0] for trace in traces(directory)}
    assert kinds >= {"netns", "link", "route", "process", "files"}, "the probe would not see a leftover"
    with Target(world.status(), "vch-a") as target:
        target.pull("ci")
        target.serve("left-running")
    assert {trace.split()[0] for trace in traces(directory)} > kinds, "the container's control group"
    assert world.down() is True
    assert traces(directory) == set()
    assert world.down() is False
    assert world.status()["state"] == "down"
    assert traces(directory) == set()


def test_what_an_engine_tells_of_its_stacks_goes_with_the_sandbox(world: World) -> None:
    directory = Path(world.status()["dir"])
    (pid,) = (
        int(file.parent.name)
        for file in Path("/proc").glob("[0-9]*/cmdline")
        if f"{directory}/engines/vch-b/exec/containerd/containerd.toml" in _text(file)
    )
    os.kill(pid, signal.SIGUSR1)  # as dockerd does to one that no longer answers
    told = f"containerd.{pid}.stacks.log"
    deadline = time.monotonic() + 10
    while not [*directory.glob(f"engines/**/{told}")] and time.monotonic() < deadline:
        time.sleep(0.05)
    assert [*directory.glob(f"engines/**/{told}")]
    assert not (Path(tempfile.gettempdir()) / told).exists()


def _text(file: Path) -> str:
    try:
        return file.read_text(errors="replace")
    except OSError:
        return ""  # it has ended


def test_up_when_up_reports_it_and_starts_nothing(world: World) -> None:
    before = world.status()
    assert World.up(Options(Path(before["dir"]))).status() == before


def test_up_with_other_options_on_one_that_is_up_is_refused(world: World) -> None:
    with pytest.raises(UsageError, match="up with flavour harbor"):
        World.up(Options(Path(world.status()["dir"]), flavour="vic"))


@pytest.mark.parametrize("after_s", [0.15, 0.6, 1.2, 2.0])
def test_an_owner_that_is_killed_midway_leaves_what_the_next_up_clears(directory: Path, after_s: float) -> None:
    with spawn_owner(directory) as owner:
        deadline = time.monotonic() + 20
        while not Layout.at(directory).state_file.exists() and time.monotonic() < deadline:
            time.sleep(0.01)
        time.sleep(after_s)
        owner.send_signal(signal.SIGKILL)
    world = World.up(Options(directory))
    assert world.status()["state"] == "up"
    world.down()
    assert traces(directory) == set()


def test_down_alone_clears_after_a_killed_owner(directory: Path) -> None:
    with spawn_owner(directory) as owner:
        while not Layout.at(directory).state_file.exists():
            time.sleep(0.01)
        time.sleep(0.5)
        owner.send_signal(signal.SIGKILL)
    World.load(directory).down()
    assert traces(directory) == set()


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGINT])
def test_tests_that_are_ended_before_they_took_it_down_leave_no_sandbox(number: signal.Signals) -> None:
    folder = Path(tempfile.mkdtemp(prefix="ipw-", dir="/tmp"))
    script = (
        "import sys; from pathlib import Path; from imagepipe.sandbox.world import Options, World\n"
        "from tests.watching import watched\n"
        "with watched(Path(sys.argv[1])):\n"
        "    World.up(Options(Path(sys.argv[1], 'box'), engine='none')); print('up', flush=True); input()"
    )
    command = [sys.executable, "-c", script, str(folder)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL) as tests:
        assert tests.stdout is not None
        assert tests.stdout.readline() == b"up\n"
        assert traces(folder / "box")
        tests.send_signal(number)
    deadline = time.monotonic() + UP_S
    while folder.exists() and time.monotonic() < deadline:
        time.sleep(0.1)
    assert traces(folder / "box") == set()
    assert not folder.exists()


def test_an_owner_that_is_interrupted_clears_by_itself(directory: Path) -> None:
    with spawn_owner(directory) as owner:
        while not Layout.at(directory).state_file.exists():
            time.sleep(0.01)
        time.sleep(0.5)
        owner.send_signal(signal.SIGINT)
        _, said = owner.communicate(timeout=60)
    assert b"KeyboardInterrupt" in said
    assert traces(directory) == set()


def test_half_a_world_is_broken_and_goes_down_all_the_same(directory: Path) -> None:
    world = World.up(Options(directory))
    document, layout = world.status(), Layout.at(directory)
    pids = {row["name"]: row["pid"] for row in document["processes"]}
    os.kill(pids["harbor"], signal.SIGKILL)
    os.kill(pids["vch-b-engine"], signal.SIGKILL)  # its containerd lives on, as an orphan
    run(["ip", "link", "delete", layout.host_link])
    layout.config_file.unlink()
    assert world.status()["state"] == "broken"
    world.down()
    assert traces(directory) == set()


def test_a_world_whose_record_is_lost_goes_down_all_the_same(directory: Path) -> None:
    world = World.up(Options(directory))
    Layout.at(directory).state_file.write_text("{")
    assert world.status()["state"] == "broken"
    world.down()
    assert traces(directory) == set()


def test_a_world_whose_directory_was_deleted_goes_down_all_the_same(directory: Path) -> None:
    world = World.up(Options(directory))
    shutil.rmtree(directory, ignore_errors=True)
    assert world.down() is True
    assert traces(directory) == set()


@contextmanager
def small_disk(directory: Path, size: str) -> Iterator[None]:
    """Mounts a disk of its own on a directory."""
    directory.mkdir()
    run(["mount", "-t", "tmpfs", "-o", f"size={size}", "tmpfs", str(directory)])
    try:
        yield
    finally:
        run(["umount", str(directory)])
        directory.rmdir()


@pytest.mark.parametrize("size", ["20k", "300k"])
def test_a_disk_that_is_full_is_told_and_nothing_is_left_on_it(directory: Path, size: str) -> None:
    with small_disk(directory, size):
        with pytest.raises(ImagepipeError, match=r"No space left on device|disk is full"):
            World.up(Options(directory, engine="none"))
        assert [*directory.iterdir()] == []


def test_a_sandbox_on_a_disk_of_its_own_leaves_the_disk(directory: Path) -> None:
    with small_disk(directory, "64m"):
        World.up(Options(directory, engine="none"))
        assert World.load(directory).down()
        assert [*directory.iterdir()] == []
        assert directory.is_mount()


def test_a_disk_that_may_only_be_read_is_told(directory: Path) -> None:
    with small_disk(directory, "1m"):
        run(["mount", "-o", "remount,ro", str(directory)])
        with pytest.raises(SettingsError, match="Read-only file system"):
            World.up(Options(directory, engine="none"))


@pytest.mark.parametrize("name", ["a b", "a,b", "a%r"])
def test_a_directory_that_engines_do_not_take_is_refused_before_anything_is_made(directory: Path, name: str) -> None:
    with pytest.raises(SettingsError, match="engines do not work below"):
        World.up(Options(directory / name))
    assert not directory.exists()


def test_two_worlds_stand_side_by_side(world: World, directory: Path) -> None:
    other = World.up(Options(directory))
    assert other.status()["registry"]["host"] != world.status()["registry"]["host"]
    other.down()
    assert world.status()["state"] == "up"
    assert httpx.get(world.status()["sigstore"]["issuer"] + "/keys", timeout=5, trust_env=False).status_code == 200


@pytest.mark.parametrize(("target", "user"), [("engine-a", "ci"), ("vch-a", "ci"), ("vch-b", "guest")])
def test_the_base_image_arrives_on_every_target(world: World, target: str, user: str) -> None:
    with Target(world.status(), target) as there:
        said = there.pull(user)
    assert said.startswith("200")
    assert "Digest: sha256:" in said
    assert "error" not in said


@pytest.mark.parametrize("target", ["vch-a", "engine-a"])
def test_a_container_on_public_answers_the_machine_on_its_own_address(world: World, target: str) -> None:
    with Target(world.status(), target) as there:
        there.pull("ci")
        networks = there.serve("on-public", NetworkMode="public")
    address = networks["public"]["IPAddress"]
    assert address.rpartition(".")[0] == world.status()["registry"]["host"].rpartition(".")[0]
    assert "root" in answer_of(f"http://{address}:8080/passwd")


@pytest.mark.parametrize("target", ["vch-b", "engine-a"])
def test_a_published_port_answers_on_the_targets_address(world: World, target: str) -> None:
    document = world.status()
    with Target(document, target) as there:
        there.pull("ci")
        there.serve("behind-nat", PortBindings={"8080/tcp": [{"HostPort": "8082"}]})
    address = document["targets"][target]["host"].removeprefix("tcp://").partition(":")[0]
    assert "root" in answer_of(f"http://{address}:8082/passwd")


@pytest.mark.parametrize("target", ["vch-a", "engine-a"])
def test_a_client_with_a_bad_certificate_is_refused(world: World, target: str) -> None:
    for folder in (world.expired_client(target), world.foreign_client(target)):
        with Target(world.status(), target, folder) as there, pytest.raises((httpx.HTTPError, ssl.SSLError)):
            there.ping()
    with Target(world.status(), target) as there:
        assert there.ping() == 200


def test_the_team_may_do_what_its_roles_say(world: World) -> None:
    registry = world.status()["registry"]
    tls = trusting(Path(registry["ca_file"]))
    with httpx.Client(base_url=registry["url"], verify=tls, timeout=20.0, trust_env=False) as client:
        answers = {}
        for key, who in registry["users"].items():
            login = (who["username"], Path(who["password_file"]).read_text().strip())
            answers[key] = client.get("/api/v2.0/users/current", auth=login).status_code
        members = client.get("/api/v2.0/projects/es-sandbox/members", auth=_login(registry, "project_admin")).json()
    assert answers == {"admin": 200, "project_admin": 200, "developer": 200, "guest": 200, "ci": 412}
    roles = {row["entity_name"]: row["role_id"] for row in members}
    assert roles == {"admin": 1, "lee": 1, "dana": 2, "gus": 3}


def _login(registry: dict[str, Any], user: str) -> tuple[str, str]:
    who = registry["users"][user]
    return who["username"], Path(who["password_file"]).read_text().strip()


def test_the_identity_token_names_the_identity_and_outlives_the_sandbox(world: World) -> None:
    sigstore = world.status()["sigstore"]
    payload = Path(sigstore["token_file"]).read_text().split(".")[1]
    claims = json.loads(base64.urlsafe_b64decode(payload + "=" * (-len(payload) % 4)))
    assert (claims["email"], claims["iss"]) == (sigstore["identity"], sigstore["issuer"])
    assert claims["exp"] > time.time() + 365 * 24 * 3600
    assert json.loads(Path(sigstore["trust_config"]).read_text())["trustedRoot"]


def test_no_secret_stands_in_the_document_the_environment_or_a_command_line(world: World) -> None:
    document = world.status()
    secrets = [Path(who["password_file"]).read_text().strip() for who in document["registry"]["users"].values()]
    secrets.append(Path(document["sigstore"]["token_file"]).read_text().strip())
    lines = [Path(f"/proc/{row['pid']}/cmdline").read_text() for row in document["processes"]]
    shown = json.dumps(document) + json.dumps(dict(world.environment())) + "".join(lines) + world.logs()
    assert not [secret for secret in secrets if secret in shown]


def test_each_namespace_reaches_the_sandbox_and_nothing_beyond_it(world: World) -> None:
    layout = Layout.at(Path(world.status()["dir"]))
    for name in ("build", "vch-a", "engine-a"):
        routes = run([*enter(layout.namespace(name)), "ip", "route"])
        assert "default" not in routes
        assert "dev eth0" in routes


def test_logs_are_found_by_name(world: World) -> None:
    assert "==> harbor <==" in world.logs()
    assert isinstance(world.logs("vch-a"), str)
    with pytest.raises(NotFoundError, match="no-such"):
        world.logs("no-such")


def test_the_vic_flavour_is_the_old_harbor_with_the_same_team_and_image(directory: Path) -> None:
    world = World.up(Options(directory, flavour="vic"))
    registry = world.status()["registry"]
    tls = trusting(Path(registry["ca_file"]))
    with httpx.Client(base_url=registry["url"], verify=tls, timeout=20.0, trust_env=False) as client:
        assert client.get("/api/version").status_code == 404
        assert client.get("/api/systeminfo").json()["with_admiral"] is True
    with Target(world.status(), "vch-a") as there:
        assert "Digest: sha256:" in there.pull("ci")


@pytest.mark.parametrize(("flavour", "version"), [("harbor", ""), ("harbor-1", "v1.10.3-"), ("vic", "v1.7.8-")])
def test_without_engines_each_flavour_is_up_and_knows_its_team(directory: Path, flavour: str, version: str) -> None:
    world = World.up(Options(directory, flavour=flavour, engine="none"))
    document = world.status()
    registry = document["registry"]
    assert {row["name"] for row in document["processes"]} == {"harbor", "registry", "sigstore"}
    assert set(registry["users"]) == {"admin", "project_admin", "developer", "guest", "ci"}
    tls = trusting(Path(registry["ca_file"]))
    with httpx.Client(base_url=registry["url"], verify=tls, timeout=20.0, trust_env=False) as client:
        base = "/api/v2.0" if flavour == "harbor" else "/api"
        assert str(client.get(f"{base}/systeminfo").json().get("harbor_version", "")).startswith(version)
        names = client.get(f"{base}/projects", auth=_login(registry, "guest")).json()
    assert "es-sandbox" in [one["name"] for one in names]
    world.down()
    assert traces(directory) == set()


def test_an_existing_engine_serves_as_build_host_and_behind_the_vchs(world: World, directory: Path) -> None:
    # The module's own build host plays the engine that is already there; it lies in another namespace, so images
    # cannot be pulled through the loopback registry, but everything else is as on a developer's machine.
    environment = {**os.environ, **_MEASURING, "DOCKER_HOST": world.status()["build_host"]["host"]}
    script = (
        "import sys, json; from pathlib import Path; from imagepipe.sandbox.world import Options, World\n"
        "print(json.dumps(World.up(Options(Path(sys.argv[1]), engine='existing')).status()))"
    )
    argv = [sys.executable, "-c", script, str(directory)]
    done = subprocess.run(argv, capture_output=True, text=True, env=environment, timeout=60, check=False)
    assert done.returncode == 0, done.stderr
    document = json.loads(done.stdout)
    assert document["state"] == "up"
    assert document["build_host"]["host"] == world.status()["build_host"]["host"]
    for name in ("vch-a", "vch-b"):
        with Target(document, name) as target:
            assert target.ping() == 200
    assert not any(trace.startswith(("netns", "link", "route")) for trace in traces(directory))
    World.load(directory).down()
    assert traces(directory) == set()
