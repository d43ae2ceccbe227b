"""Where Harbor differs from a plain registry: silent anonymity, rights, immutability, content trust, referrers."""

from collections.abc import Callable, Iterator
from typing import Any

import pytest

from imagepipe.errors import CredentialsError, NotFoundError, PermissionRefusedError, RefusedError
from imagepipe.model import media
from imagepipe.model.evidence import Artifact
from imagepipe.model.reference import Reference
from imagepipe.registry.client import RegistryClient
from imagepipe.registry.referrers import RegistryReferrers
from imagepipe.registry.tagschema import fallback_tag
from tests.contract.registry_harbor import PROJECT, RunningHarbor, harbor
from tests.contract.registry_worlds import ServerWorld, docker_registry

Opener = Callable[..., ServerWorld]
BUNDLE = Artifact(media.SIGSTORE_BUNDLE, media.SIGSTORE_BUNDLE, b"a bundle")


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningHarbor]:
    folder = tmp_path_factory.mktemp("harbor")
    with docker_registry(folder) as backend, harbor(backend, folder) as started:
        yield started


@pytest.fixture
def opened(running: RunningHarbor) -> Iterator[Opener]:
    """Opens the Harbor as somebody; all connections are closed after the test."""
    worlds: list[ServerWorld] = []

    def open_as(username: str | None = "developer", **more: Any) -> ServerWorld:
        worlds.append(ServerWorld(running.host, running.storage, running.connections(username, **more)))
        return worlds[-1]

    yield open_as
    for world in worlds:
        world.client.connections.close()


@pytest.fixture
def project(running: RunningHarbor) -> Iterator[RunningHarbor]:
    """The Harbor, whose project gets its first settings back after the test."""
    yield running
    running.set_metadata(enable_content_trust_cosign="false")
    for rule in running.api("GET", f"/projects/{PROJECT}/immutabletagrules").json():
        running.api("DELETE", f"/projects/{PROJECT}/immutabletagrules/{rule['id']}")


def test_a_wrong_password_is_told_as_such(opened: Opener) -> None:
    image = opened().add_image("1")
    world = opened(password="Wrong12345")
    with pytest.raises(CredentialsError, match="did not accept the user name and password of developer") as caught:
        world.source.resolve(world.repository.tagged("1"))
    assert "Wrong12345" not in str(caught.value)
    with pytest.raises(CredentialsError):
        world.client.put_manifest(world.repository, image.raw, image.media_type, "1")


def test_nobody_reads_a_private_project(opened: Opener) -> None:
    world = opened(None)
    with pytest.raises(CredentialsError, match="without credentials"):
        world.source.resolve(world.repository.tagged("1"))


def test_a_guest_reads_and_may_not_write(opened: Opener) -> None:
    world, guest = opened(), opened("guest")
    image = world.add_image("1")
    assert guest.source.resolve(world.repository.tagged("1")).digest == image.digest
    with pytest.raises(PermissionRefusedError, match=f"guest may not push {world.repository.path}"):
        guest.sink.tag(world.repository, image, "2")
    with pytest.raises(PermissionRefusedError, match="guest may not push"):
        guest.referrers.attach(world.repository.pin(image.digest), image.descriptor, BUNDLE)


def test_a_project_that_is_not_there_is_a_matter_of_rights_for_harbor(opened: Opener) -> None:
    world = opened()
    with pytest.raises(PermissionRefusedError, match="project nowhere not found") as caught:
        world.client.read(type(world.repository)(world.repository.registry, "nowhere/hello"), "1", "read it")
    assert caught.value.hint is not None
    assert "project exists" in caught.value.hint


def test_an_immutable_tag_can_be_made_again_and_not_moved(project: RunningHarbor, opened: Opener) -> None:
    world = opened()
    image, other = world.add_image("v1"), world.add_image()
    rule = {
        "action": "immutable",
        "template": "immutable_template",
        "disabled": False,
        "tag_selectors": [{"kind": "doublestar", "decoration": "matches", "pattern": "v*"}],
        "scope_selectors": {"repository": [{"kind": "doublestar", "decoration": "repoMatches", "pattern": "**"}]},
    }
    project.api("POST", f"/projects/{PROJECT}/immutabletagrules", json=rule)
    world.sink.tag(world.repository, image, "v1")
    with pytest.raises(RefusedError, match="configured as immutable"):
        world.sink.tag(world.repository, other, "v1")
    assert world.source.resolve(world.repository.tagged("v1")).digest == image.digest


def test_content_trust_refuses_an_unsigned_image_in_harbors_words(project: RunningHarbor, opened: Opener) -> None:
    world = opened()
    image = world.add_image("1")
    project.set_metadata(enable_content_trust_cosign="true")
    with pytest.raises(RefusedError, match=r"The image is not signed by cosign\."):
        world.source.resolve(world.repository.tagged("1"))
    with pytest.raises(RefusedError, match=r"The image is not signed by cosign\."):
        world.source.manifest(world.repository.pin(image.digest))


def test_who_signs_reads_unsigned_images_and_a_signature_opens_them_to_all(
    project: RunningHarbor, opened: Opener
) -> None:
    world, signing, guest = opened(), opened(signing=True), opened("guest")
    image = world.add_image("1")
    pinned = world.repository.pin(image.digest)
    project.set_metadata(enable_content_trust_cosign="true")
    assert signing.source.manifest(pinned) == image
    made = signing.referrers.attach(pinned, image.descriptor, BUNDLE)
    assert guest.source.resolve(Reference(world.repository, "1")).digest == image.digest
    assert guest.referrers.fetch(pinned, made).content == b"a bundle"


def test_attaching_by_the_referrers_api_leaves_no_tag_behind(opened: Opener) -> None:
    world = opened()
    image = world.add_image("1")
    world.referrers.attach(world.repository.pin(image.digest), image.descriptor, BUNDLE)
    with pytest.raises(NotFoundError):
        world.source.resolve(world.repository.tagged(fallback_tag(image.digest)))


def test_clients_may_share_their_connections(running: RunningHarbor) -> None:
    connections = running.connections()
    with_one, with_other = RegistryClient(connections), RegistryClient(connections)
    world = ServerWorld(running.host, running.storage, connections)
    image = world.add_image("1")
    assert with_one.resolve(world.repository.tagged("1")) == with_other.resolve(world.repository.tagged("1"))
    assert RegistryReferrers(with_one).list(world.repository.pin(image.digest)) == ()
    connections.close()
