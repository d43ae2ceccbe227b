"""`ImageBuilder` and `ImagePusher`: the twins and a real dockerd, by one suite."""

from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest

from imagepipe.engine.builder import EngineBuilder
from imagepipe.engine.pusher import EnginePusher
from imagepipe.errors import BuildError, InputError, NotFoundError
from imagepipe.events import Event, Output, silent
from imagepipe.model.digest import Digest
from imagepipe.model.reference import Reference
from imagepipe.model.result import BuildRequest
from imagepipe.ports import ImageBuilder, ImagePusher
from tests.contract.engine_daemon import OPEN_REGISTRY, Daemons
from tests.contract.engine_memory import MemoryBuilder, MemoryPusher
from tests.contract.engine_worlds import Nobody
from tests.contract.registry_memory import MemoryRegistry

BASE = Reference.parse(f"{OPEN_REGISTRY}/es/base:1")
NAME = Reference.parse(f"{OPEN_REGISTRY}/es/hello:1.0")


@dataclass(frozen=True)
class Side:
    """One implementation of both ports."""

    builder: ImageBuilder
    pusher: ImagePusher


def memory() -> Side:
    builder = MemoryBuilder()
    builder.missing.add(NAME.repository.pin(Digest.of(b"nothing")))
    return Side(builder, MemoryPusher(builder, MemoryRegistry()))


def real(stack: ExitStack) -> Side:
    folder = Path(stack.enter_context(TemporaryDirectory(prefix="ipe-")))
    daemons = stack.enter_context(Daemons(folder))
    daemons.import_base(BASE)
    return Side(EngineBuilder(daemons.endpoint, Nobody()), EnginePusher(daemons.endpoint, Nobody()))


@pytest.fixture(scope="module", params=["memory", pytest.param("real", marks=pytest.mark.sandbox)])
def side(request: pytest.FixtureRequest) -> Iterator[Side]:
    with ExitStack() as stack:
        yield memory() if request.param == "memory" else real(stack)


def request_for(context: Path, *lines: str) -> BuildRequest:
    (context / "Dockerfile").write_text("\n".join((f"FROM {BASE}", *lines)))
    return BuildRequest("hello", context, "Dockerfile", NAME, "linux/amd64", labels={"a": "b"})


def test_a_build_says_its_steps_and_names_its_builder(side: Side, tmp_path: Path) -> None:
    seen: list[Event] = []

    built = side.builder.build(request_for(tmp_path, "RUN true"), seen.append)

    assert (
        Output("build", "hello", "Step 2/2 : RUN true") in seen
        or Output("build", "hello", "Step 2/3 : RUN true") in seen
    )
    assert built.builder.startswith("docker-engine/20.10")


def test_the_same_request_makes_the_same_image_and_another_another(side: Side, tmp_path: Path) -> None:
    first = side.builder.build(request_for(tmp_path, "RUN true"), silent)

    assert side.builder.build(request_for(tmp_path, "RUN true"), silent) == first
    assert side.builder.build(request_for(tmp_path, "RUN echo"), silent) != first


def test_a_step_that_fails_fails_the_build_by_name(side: Side, tmp_path: Path) -> None:
    with pytest.raises(BuildError, match=r"step 2/\d : RUN false"):
        side.builder.build(request_for(tmp_path, "RUN false"), silent)


def test_a_missing_dockerfile_is_wrong_input(side: Side, tmp_path: Path) -> None:
    request = request_for(tmp_path)
    (tmp_path / "Dockerfile").unlink()

    with pytest.raises(InputError, match="no such Dockerfile"):
        side.builder.build(request, silent)


def test_a_push_tells_one_digest_for_one_image(side: Side, tmp_path: Path) -> None:
    built = side.builder.build(request_for(tmp_path, "RUN true"), silent)

    first = side.pusher.push(built.image_id, NAME, silent)

    assert side.pusher.push(built.image_id, NAME.repository.tagged("other"), silent) == first


def test_an_image_that_was_never_built_cannot_be_pushed(side: Side) -> None:
    with pytest.raises(NotFoundError, match="No such image"):
        side.pusher.push(Digest.of(b"never"), NAME, silent)


def test_a_base_that_the_registry_does_not_hold_cannot_be_provided(side: Side) -> None:
    with pytest.raises(NotFoundError):
        side.builder.provide(NAME.repository.pin(Digest.of(b"nothing")), BASE, silent)
