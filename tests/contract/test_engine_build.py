"""`ImageBuilder` and `ImagePusher` against a real dockerd and real registries."""

import subprocess
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import pytest

from imagepipe.engine.builder import EngineBuilder
from imagepipe.engine.client import Endpoint
from imagepipe.engine.host import EngineHost
from imagepipe.engine.puller import EnginePuller
from imagepipe.engine.pusher import EnginePusher
from imagepipe.errors import (
    BuildError,
    CredentialsError,
    DeadlineError,
    InputError,
    NotFoundError,
    StorageFullError,
    UnavailableError,
)
from imagepipe.events import Event, Output, silent
from imagepipe.model.digest import Digest
from imagepipe.model.reference import Reference
from imagepipe.model.result import BuildRequest, Credential
from tests.contract.engine_daemon import CLOSED_REGISTRY, OPEN_REGISTRY, PASSWORD, USERNAME, Daemons
from tests.contract.vch_world import wait_for

pytestmark = pytest.mark.sandbox

BASE = Reference.parse(f"{OPEN_REGISTRY}/es/base:1")
NAME = Reference.parse(f"{OPEN_REGISTRY}/es/hello:1.0")


class Login:
    """One credential for every registry."""

    def __init__(self, password: str | None = PASSWORD) -> None:
        self._password = password

    def for_registry(self, registry: str) -> Credential | None:
        return Credential(USERNAME, self._password) if self._password else None


@pytest.fixture(scope="module")
def daemons() -> Iterator[Daemons]:
    with TemporaryDirectory(prefix="ipe-") as folder, Daemons(Path(folder)) as running:
        running.import_base(BASE)
        yield running


@pytest.fixture
def builder(daemons: Daemons) -> EngineBuilder:
    return EngineBuilder(daemons.endpoint, Login())


@pytest.fixture
def pusher(daemons: Daemons) -> EnginePusher:
    return EnginePusher(daemons.endpoint, Login())


@pytest.fixture
def request_for(tmp_path: Path) -> Callable[..., BuildRequest]:
    """Makes a request whose Dockerfile has these lines after its FROM."""

    def make(*lines: str, base: str = str(BASE), **more: Any) -> BuildRequest:
        (tmp_path / "Dockerfile").write_text("\n".join((f"FROM {base}", *lines)))
        return BuildRequest("hello", tmp_path, "Dockerfile", **{"tag": NAME, "platform": "linux/amd64", **more})

    return make


Make = Callable[..., BuildRequest]


def test_a_build_returns_the_image_id_and_says_what_it_does(
    daemons: Daemons, builder: EngineBuilder, request_for: Make
) -> None:
    seen: list[Event] = []

    built = builder.build(
        request_for("ARG WHO", "RUN echo hello $WHO", args={"WHO": "world"}, labels={"a.b": "c d"}), seen.append
    )

    assert built.builder.startswith("docker-engine/20.10")
    assert built.builder.endswith("(classic)")
    assert Output("build", "hello", "hello world") in seen
    found = daemons.endpoint.get(f"/images/{NAME}/json")
    assert (found["Id"], found["Config"]["Labels"]) == (str(built.image_id), {"a.b": "c d"})


def test_a_second_build_of_the_same_is_the_same_image(builder: EngineBuilder, request_for: Make) -> None:
    request = request_for("COPY . /app", "RUN ls /app")

    assert builder.build(request, silent) == builder.build(request, silent)


def test_a_target_stops_the_build_there(builder: EngineBuilder, request_for: Make) -> None:
    request = request_for("RUN echo one", f"FROM {BASE} AS last", "RUN false", base=f"{BASE} AS first", target="first")

    assert builder.build(request, silent).image_id


def test_a_failing_step_is_named_with_its_words(builder: EngineBuilder, request_for: Make) -> None:
    with pytest.raises(BuildError) as caught:
        builder.build(request_for("RUN echo first", "RUN echo the disk is on fire && false"), silent)

    assert "step 3/3 : RUN echo the disk is on fire" in caught.value.message
    assert caught.value.message.endswith("\nthe disk is on fire")
    assert "returned a non-zero code: 1" in caught.value.message


def test_words_of_a_failing_command_never_pass_for_the_hosts_own(builder: EngineBuilder, request_for: Make) -> None:
    with pytest.raises(BuildError):
        builder.build(request_for("RUN echo connection refused: no space left on device && false"), silent)


@pytest.mark.parametrize(
    ("lines", "words"),
    [
        (("BOGUS x",), "unknown instruction: BOGUS"),
        (("COPY nothere /",), "nothere"),
        (("RUN nosuchcommand",), "nosuchcommand: not found"),
    ],
)
def test_a_wrong_dockerfile_is_a_failed_build(
    builder: EngineBuilder, request_for: Make, lines: tuple[str, ...], words: str
) -> None:
    with pytest.raises(BuildError, match=words):
        builder.build(request_for(*lines), silent)


def test_a_base_that_is_nowhere_is_a_failed_build_and_one_that_cannot_be_asked_for_is_not(
    builder: EngineBuilder, request_for: Make
) -> None:
    with pytest.raises(BuildError, match="manifest unknown"):
        builder.build(request_for(base=f"{OPEN_REGISTRY}/es/nothing:1"), silent)
    with pytest.raises(UnavailableError, match="connection refused"):
        builder.build(request_for(base="127.0.0.1:5999/es/nothing:1"), silent)


def test_a_missing_dockerfile_or_context_is_wrong_input(builder: EngineBuilder, request_for: Make) -> None:
    request = request_for()
    (request.context / "Dockerfile").unlink()

    with pytest.raises(InputError, match="no such Dockerfile"):
        builder.build(request, silent)
    gone = BuildRequest("hello", request.context / "gone", "Dockerfile", NAME, "linux/amd64")
    with pytest.raises(InputError, match="no such build context"):
        builder.build(gone, silent)


def test_what_dockerignore_names_is_not_sent(builder: EngineBuilder, request_for: Make) -> None:
    request = request_for("COPY . /app", "RUN test ! -e /app/a/b/secrets/key && test -e /app/a/b/secrets/public")
    (request.context / "a/b/secrets").mkdir(parents=True)
    (request.context / "a/b/secrets/key").write_text("secret")
    (request.context / "a/b/secrets/public").write_text("open")
    (request.context / ".dockerignore").write_text("# comment\n**/secrets\n!**/public\nDockerfile\n")

    assert builder.build(request, silent).image_id


def test_names_and_links_of_all_kinds_arrive(builder: EngineBuilder, request_for: Make) -> None:
    long = "/".join(["a-long-folder-name-for-tar"] * 6)
    request = request_for("COPY . /app", f"RUN test -e '/app/{long}/süß x' && test -L /app/link && test -x /app/run")
    (request.context / long).mkdir(parents=True)
    (request.context / long / "süß x").write_text("x" * 1000)
    (request.context / "link").symlink_to("run")
    (request.context / "run").write_text("#!/bin/sh\n")
    (request.context / "run").chmod(0o755)

    assert builder.build(request, silent).image_id


def test_an_image_for_another_platform_is_no_success(builder: EngineBuilder, request_for: Make) -> None:
    with pytest.raises(BuildError, match="made an image for linux/amd64, not for linux/arm64"):
        builder.build(request_for(platform="linux/arm64"), silent)


def test_silence_ends_the_build_and_leaves_no_container(
    daemons: Daemons, builder: EngineBuilder, request_for: Make
) -> None:
    with pytest.raises(DeadlineError, match=r"step 2/2 : RUN sleep"):
        builder.build(request_for("RUN sleep 77", timeout_s=2.0), silent)

    wait_for(lambda: daemons.endpoint.get("/containers/json", {"all": "1"}) == [])


def test_ctrl_c_ends_the_build_and_leaves_no_container(
    daemons: Daemons, builder: EngineBuilder, request_for: Make
) -> None:
    def interrupt(event: Event) -> None:
        if isinstance(event, Output) and "Running in" in event.line:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        builder.build(request_for("RUN sleep 78"), interrupt)

    wait_for(lambda: daemons.endpoint.get("/containers/json", {"all": "1"}) == [])


def test_a_push_returns_the_digest_that_the_registry_then_holds(
    daemons: Daemons, builder: EngineBuilder, pusher: EnginePusher, request_for: Make
) -> None:
    built = builder.build(request_for("RUN echo push"), silent)

    digest = pusher.push(built.image_id, NAME, silent)

    assert digest == daemons.manifest_digest(NAME)
    assert EngineHost(daemons.endpoint).holds(NAME.repository.pin(digest))


def test_a_push_and_a_pull_need_the_right_password_where_the_registry_asks(
    daemons: Daemons, builder: EngineBuilder, request_for: Make
) -> None:
    built = builder.build(request_for(), silent)
    name = Reference.parse(f"{CLOSED_REGISTRY}/es/hello:1.0")
    endpoint = daemons.endpoint
    for password in ("wrong-pass-word", None):
        with pytest.raises(CredentialsError) as pushed:
            EnginePusher(endpoint, Login(password)).push(built.image_id, name, silent)
        with pytest.raises(CredentialsError):
            EnginePuller(endpoint, Login(password)).pull(name, silent)
        assert "wrong-pass-word" not in f"{pushed.value}{pushed.value.__cause__}"

    digest = EnginePusher(endpoint, Login()).push(built.image_id, name, silent)

    assert EnginePuller(endpoint, Login()).pull(name, silent).digest == digest


def test_a_push_to_a_registry_that_is_down_is_unavailable(
    daemons: Daemons, builder: EngineBuilder, pusher: EnginePusher, request_for: Make
) -> None:
    built = builder.build(request_for("RUN echo down"), silent)
    daemons.stop_registry(OPEN_REGISTRY)
    try:
        with pytest.raises(UnavailableError):
            pusher.push(built.image_id, NAME, silent)
    finally:
        daemons.start_registry(OPEN_REGISTRY)


def test_an_image_id_that_the_host_does_not_know_cannot_be_pushed(pusher: EnginePusher) -> None:
    with pytest.raises(NotFoundError, match="No such image"):
        pusher.push(Digest.of(b"nothing"), NAME, silent)


def test_a_base_is_provided_by_digest_under_a_name_that_from_uses(
    daemons: Daemons, builder: EngineBuilder, pusher: EnginePusher, request_for: Make
) -> None:
    built = builder.build(request_for("RUN echo base > /base-marker"), silent)
    pinned = NAME.repository.pin(pusher.push(built.image_id, NAME, silent))
    daemons.endpoint.delete(f"/images/{built.image_id}", {"force": "1"})
    local = Reference.parse("needs.local/hello/base:now")

    builder.provide(pinned, local, silent)

    assert builder.build(request_for("RUN test -e /base-marker", base=str(local)), silent).image_id
    with pytest.raises(NotFoundError):
        builder.provide(NAME.repository.pin(Digest.of(b"nothing")), local, silent)


def test_threads_may_share_an_endpoint(daemons: Daemons) -> None:
    endpoint, found = daemons.endpoint, []
    threads = [threading.Thread(target=lambda: found.append(EngineHost(endpoint).info())) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert len(found) == 4
    assert len(set(found)) == 1


def test_a_full_disk_is_told_as_such_by_a_build_and_by_a_pull(request_for: Make) -> None:
    with TemporaryDirectory(prefix="ipe-") as folder, Daemons(Path(folder), data_bytes=40 << 20) as small:
        small.import_base(BASE)
        builder = EngineBuilder(small.endpoint, Login())
        big = request_for("COPY big /big")
        (big.context / "big").write_bytes(bytes(50 << 20))
        with pytest.raises(StorageFullError, match="no space left on device") as caught:
            builder.build(big, silent)
        assert "free space" in str(caught.value.hint)

        (big.context / "big").write_bytes(bytes(4 << 20))
        built = builder.build(big, silent)
        EnginePusher(small.endpoint, Login()).push(built.image_id, NAME, silent)
        small.endpoint.delete(f"/images/{built.image_id}", {"force": "1"})
        subprocess.run(
            ["dd", "if=/dev/zero", f"of={small.folder}/data/filler", "bs=64k"], check=False, capture_output=True
        )
        with pytest.raises(StorageFullError):
            EnginePuller(small.endpoint, Login()).pull(NAME, silent)


def test_an_engine_that_is_not_there_is_unavailable(tmp_path: Path, request_for: Make) -> None:
    with pytest.raises(UnavailableError, match="no such file"):
        EngineBuilder(Endpoint(f"unix://{tmp_path}/none.sock"), Login()).build(request_for(), silent)


@pytest.mark.parametrize("ignored", [None, "*.log\n", "*.log\nDockerfile\n", "*\n!.dockerignore\n"])
def test_labels_are_one_step_and_nothing_of_ours_gets_into_the_image(
    daemons: Daemons, builder: EngineBuilder, request_for: Make, tmp_path: Path, ignored: str | None
) -> None:
    if ignored is not None:
        (tmp_path / ".dockerignore").write_text(ignored)
    (tmp_path / "noise.log").write_text("noise")
    seen: list[Event] = []
    labels = {"a": "$HOME", "b": 'say "hi"', "c": "back\\slash", "d": "plain"}

    builder.build(request_for("COPY . /app", "RUN ls -a /app | sort | xargs echo files", labels=labels), seen.append)

    found = daemons.endpoint.get(f"/images/{NAME}/json")
    assert found["Config"]["Labels"] == labels
    history = daemons.endpoint.get(f"/images/{NAME}/history")
    assert sum("LABEL" in str(entry["CreatedBy"]) for entry in history) == 1
    listed = next(event.line for event in seen if isinstance(event, Output) and event.line.startswith("files "))
    own = [".dockerignore"] if ignored is not None else []
    logs = [] if ignored is not None else ["noise.log"]
    dockerfile = ["Dockerfile"] if ignored in (None, "*.log\n") else []
    assert listed.split()[1:] == [".", "..", *own, *dockerfile, *logs]


def test_a_dockerfile_in_another_encoding_is_built(builder: EngineBuilder, request_for: Make, tmp_path: Path) -> None:
    request = request_for("# café", "RUN true", labels={"a": "b"})
    dockerfile = tmp_path / "Dockerfile"
    dockerfile.write_bytes(dockerfile.read_text().encode("latin-1"))
    assert builder.build(request, silent).image_id
