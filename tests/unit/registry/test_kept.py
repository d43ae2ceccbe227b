"""What a registry answered is there when it is away, and is proven again."""

import os
from pathlib import Path

import httpx
import pytest

from imagepipe.errors import DigestMismatchError, NotFoundError, RefusedError
from imagepipe.model import media
from imagepipe.model.reference import Repository
from imagepipe.registry.client import RegistryClient
from imagepipe.registry.connection import Ask
from imagepipe.registry.kept import KeepingConnections, KeptConnections, Shelf
from imagepipe.registry.referrers import RegistryReferrers
from tests.contract.registry_memory import MemoryRegistry
from tests.unit.registry.tags_only import TagsOnly, pin

PLACE = Repository("vic.example", "es/hello")
MADE = MemoryRegistry().add_image(PLACE, "1")


def keeping(shelf: Shelf, answers: dict[str, httpx.Response]) -> RegistryClient:
    def answer(request: httpx.Request) -> httpx.Response:
        return answers.get(request.url.path.partition("/v2/es/hello/")[2], httpx.Response(404))

    return RegistryClient(KeepingConnections(shelf, transport_for=lambda _: httpx.MockTransport(answer)))


def manifest() -> httpx.Response:
    return httpx.Response(
        200, content=MADE.raw, headers={"content-type": MADE.media_type, "docker-content-digest": str(MADE.digest)}
    )


@pytest.fixture
def shelf(tmp_path: Path) -> Shelf:
    return Shelf(tmp_path / "kept")


def test_what_was_read_can_be_read_without_the_registry(shelf: Shelf) -> None:
    here = keeping(shelf, {"manifests/1": manifest(), f"manifests/{MADE.digest}": manifest()})
    found = here.resolve(PLACE.tagged("1"))
    here.manifest(PLACE.pin(MADE.digest))
    away = RegistryClient(KeptConnections(shelf))
    assert away.resolve(PLACE.tagged("1")) == found
    assert away.manifest(PLACE.pin(MADE.digest)).raw == MADE.raw
    assert [file.stat().st_mode & 0o077 for file in shelf.folder.rglob("*")] == [0] * 4


def test_what_was_not_there_is_not_there_and_what_was_never_asked_is_not_kept(shelf: Shelf) -> None:
    here = keeping(shelf, {})
    with pytest.raises(NotFoundError):
        here.manifest(PLACE.pin(MADE.digest))
    with pytest.raises(NotFoundError):
        here.resolve(PLACE.tagged("gone"))
    away = RegistryClient(KeptConnections(shelf))
    with pytest.raises(NotFoundError):
        away.resolve(PLACE.tagged("gone"))
    with pytest.raises(RefusedError, match="this machine has kept nothing of it"):
        away.resolve(PLACE.tagged("other"))


def test_what_was_changed_on_the_disk_proves_nothing(shelf: Shelf) -> None:
    keeping(shelf, {f"manifests/{MADE.digest}": manifest()}).manifest(PLACE.pin(MADE.digest))
    (file,) = [file for file in shelf.folder.rglob("*") if len(file.name) == 64]
    whole = file.read_bytes()
    file.write_bytes(whole.replace(b"schemaVersion", b"schemaversion"))
    away = RegistryClient(KeptConnections(shelf))
    with pytest.raises(DigestMismatchError):
        away.manifest(PLACE.pin(MADE.digest))
    file.write_bytes(b"rubbish")
    with pytest.raises(RefusedError, match="kept nothing"):
        away.manifest(PLACE.pin(MADE.digest))


def test_a_tag_that_we_moved_is_known_to_have_moved(shelf: Shelf) -> None:
    created = httpx.Response(201, headers={"docker-content-digest": str(MADE.digest)})
    here = keeping(shelf, {"manifests/head": created})
    here.put_manifest(PLACE, MADE.raw, MADE.media_type, "head")
    away = RegistryClient(KeptConnections(shelf))
    assert away.resolve(PLACE.tagged("head")).digest == MADE.digest


def test_what_is_answered_to_others_is_another_answer(shelf: Shelf) -> None:
    here = keeping(shelf, {"manifests/1": manifest()})
    here.resolve(PLACE.tagged("1"))
    old = httpx.Response(404)
    asked = Ask("HEAD", PLACE, "manifests/1", accept=(404,), headers={"Accept": media.DOCKER_SCHEMA_1})
    keeping(shelf, {"manifests/1": old}).connections.ask(asked, "ask as a VCH does")
    assert RegistryClient(KeptConnections(shelf)).resolve(PLACE.tagged("1")).digest == MADE.digest


def test_what_nobody_asked_for_in_half_a_year_is_let_go_of_once_a_day(shelf: Shelf) -> None:
    keeping(shelf, {"manifests/1": manifest()}).resolve(PLACE.tagged("1"))
    (old,) = [file for file in shelf.folder.rglob("*") if len(file.name) == 64]
    marker = old.with_name("tidied")
    os.utime(old, (0, 0))
    here = keeping(shelf, {"manifests/2": manifest()})
    here.resolve(PLACE.tagged("2"))
    assert old.exists()
    os.utime(marker, (0, 0))
    here.resolve(PLACE.tagged("2"))
    assert not old.exists()
    assert RegistryClient(KeptConnections(shelf)).resolve(PLACE.tagged("2")).digest == MADE.digest


def test_a_refusal_or_a_broken_registry_is_not_kept(shelf: Shelf) -> None:
    for status in (403, 500):
        here = keeping(shelf, {"manifests/1": httpx.Response(status)})
        here.connections.ask(Ask("HEAD", PLACE, "manifests/1", accept=(status,)), "try")
    assert not [file for file in shelf.folder.rglob("*") if file.is_file()]


def test_a_folder_that_cannot_be_written_stops_nobody(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    shelf = Shelf(tmp_path / "file")
    here = keeping(shelf, {"manifests/1": manifest()})
    assert here.resolve(PLACE.tagged("1")).digest == MADE.digest
    assert shelf.heard(PLACE.pin(MADE.digest)) is None


def test_it_is_known_when_a_list_was_last_asked_for(shelf: Shelf) -> None:
    image = PLACE.pin(MADE.digest)
    assert shelf.heard(image) is None
    assert RegistryReferrers(keeping(shelf, {})).list(image) == ()
    assert shelf.heard(image) is not None
    assert RegistryReferrers(RegistryClient(KeptConnections(shelf))).list(image) == ()


def test_what_the_list_lacks_is_found_while_the_registry_is_away_too(shelf: Shelf) -> None:
    registry = TagsOnly()
    image = registry.image()
    record = registry.attach(image, "record")
    registry.overwrite(image)
    here = RegistryClient(KeepingConnections(shelf, transport_for=lambda _: registry))
    (found,) = RegistryReferrers(here).list(pin(image))
    away = RegistryReferrers(RegistryClient(KeptConnections(shelf)))
    assert away.list(pin(image)) == (found,)
    assert found.digest == record


def test_the_shelf_is_where_caches_belong() -> None:
    assert Shelf.of({"HOME": "/home/ci", "XDG_CACHE_HOME": "relative"}).folder == Path("/home/ci/.cache/imagepipe/kept")
