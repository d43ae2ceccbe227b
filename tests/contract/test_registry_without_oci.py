"""Evidence in a registry that takes Docker manifests only, as the one that VIC bundles.

Source: distribution v2.6.2 registry/handlers/manifests.go: an unknown type is read as schema 1, and refused;
goharbor/harbor#10952, #8855: what Harbor 1.10 says to OCI's types and to lists.
"""

import json
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from imagepipe.errors import UnsupportedError
from imagepipe.model import media
from imagepipe.model.evidence import Artifact
from imagepipe.model.manifest import Index
from imagepipe.registry.connection import Ask, Connections
from imagepipe.registry.tagschema import fallback_tag, own_tag
from tests.contract.registry_worlds import ServerWorld, docker_registry

UNKNOWN = {"errors": [{"code": "InternalError", "message": "unsupported content type for manifest: oci"}]}
NO_LISTS = {"errors": [{"code": "UNSUPPORTED_MEDIA_TYPE", "message": "Manifest.list is not supported."}]}
REFUSED = {"errors": [{"code": "MANIFEST_INVALID", "message": "manifest invalid", "detail": {}}]}


class OldRegistry(httpx.BaseTransport):
    """A real registry that has forgotten OCI's types and the referrers API.

    Args:
        latest: Behind the handlers of Harbor 1.10, which take no lists either.
    """

    def __init__(self, *, latest: bool = False) -> None:
        self._inner = httpx.HTTPTransport()
        self._latest = latest

    def handle_request(self, request: httpx.Request) -> httpx.Response:
        kind = request.headers.get("content-type", "") if request.method == "PUT" else ""
        if "vnd.oci" in kind:
            return httpx.Response(500, json=UNKNOWN) if self._latest else httpx.Response(400, json=REFUSED)
        if "manifest.list" in kind and self._latest:
            return httpx.Response(415, json=NO_LISTS)
        return self._inner.handle_request(request)

    def close(self) -> None:
        self._inner.close()


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ServerWorld]:
    with docker_registry(tmp_path_factory.mktemp("old-registry")) as server:
        connections = Connections(plain_http=[server.host], transport_for=lambda _: OldRegistry())
        yield ServerWorld(server.host, server.storage, connections)
        connections.close()


def bundle(text: str) -> Artifact:
    return Artifact(media.SIGSTORE_BUNDLE, media.SIGSTORE_BUNDLE, text.encode(), {"made.by": "a test"})


def test_evidence_travels_in_docker_manifests_and_comes_back_as_it_was(world: ServerWorld) -> None:
    made = world.add_image("1.4", media.DOCKER_MANIFEST)
    image = world.repository.pin(made.digest)
    first = world.referrers.attach(image, made.descriptor, bundle("one"))
    second = world.referrers.attach(image, made.descriptor, bundle("two"))
    assert {one.digest for one in world.referrers.list(image)} == {first.digest, second.digest}
    assert world.referrers.fetch(image, first) == bundle("one")
    assert world.referrers.fetch(image, second) == bundle("two")


def test_the_list_is_a_docker_manifest_list_at_the_tag_made_from_the_digest(world: ServerWorld) -> None:
    made = world.add_image("1.5", media.DOCKER_MANIFEST)
    image = world.repository.pin(made.digest)
    attached = world.referrers.attach(image, made.descriptor, bundle("listed"))
    listed = world.source.resolve(world.repository.tagged(fallback_tag(made.digest)))
    assert listed.media_type == media.DOCKER_LIST
    (entry,) = json.loads(world.source.manifest(world.repository.pin(listed.digest)).raw)["manifests"]
    assert entry["digest"] == str(attached.digest)
    assert entry["mediaType"] == media.DOCKER_MANIFEST


def test_what_the_list_lacks_is_found_by_its_own_tag_and_put_back_by_whoever_writes_the_list(
    world: ServerWorld,
) -> None:
    made = world.add_image("1.7", media.DOCKER_MANIFEST)
    image, at_list = world.repository.pin(made.digest), fallback_tag(made.digest)
    first = world.referrers.attach(image, made.descriptor, bundle("first"))
    stale = world.client.read(image.repository, at_list, "read the list before a rival does something")
    lost = world.referrers.attach(image, made.descriptor, bundle("lost"))
    world.client.put_manifest(image.repository, stale.raw, stale.media_type, at_list)
    assert world.referrers.list(image) == (first, lost)
    assert world.referrers.fetch(image, lost) == bundle("lost")
    third = world.referrers.attach(image, made.descriptor, bundle("third"))
    listed = world.client.read(image.repository, at_list, "read the list")
    assert isinstance(listed, Index)
    assert set(listed.manifests) == {first, lost, third}


def test_what_is_deleted_takes_its_own_tag_along_and_leaves_the_list_when_more_is_attached(world: ServerWorld) -> None:
    made = world.add_image("1.8", media.DOCKER_MANIFEST)
    image = world.repository.pin(made.digest)
    kept, deleted = (world.referrers.attach(image, made.descriptor, bundle(text)) for text in ("kept", "deleted"))
    gone = Ask("DELETE", image.repository, f"manifests/{deleted.digest}", accept=(202,))
    world.client.connections.ask(gone, "delete an attachment")
    tags = world.client.tags(image.repository)
    assert (own_tag(made.digest, kept.digest) in tags, own_tag(made.digest, deleted.digest) in tags) == (True, False)
    new = world.referrers.attach(image, made.descriptor, bundle("new"))
    assert set(world.referrers.list(image)) == {kept, new}


def test_attaching_the_same_again_changes_nothing(world: ServerWorld) -> None:
    made = world.add_image("1.6", media.DOCKER_MANIFEST)
    image = world.repository.pin(made.digest)
    assert world.referrers.attach(image, made.descriptor, bundle("x")) == world.referrers.attach(
        image, made.descriptor, bundle("x")
    )
    assert len(world.referrers.list(image)) == 1


def test_where_no_list_is_taken_either_nothing_is_attached_and_the_version_that_can_is_named(
    tmp_path: Path,
) -> None:
    with docker_registry(tmp_path) as server:
        connections = Connections(plain_http=[server.host], transport_for=lambda _: OldRegistry(latest=True))
        world = ServerWorld(server.host, server.storage, connections)
        made = world.add_image("1.4", media.DOCKER_MANIFEST)
        image = world.repository.pin(made.digest)
        with pytest.raises(UnsupportedError, match=r"attach .*Manifest\.list is not supported") as caught:
            world.referrers.attach(image, made.descriptor, bundle("one"))
        assert "Harbor 2.0" in (caught.value.hint or "")
        assert world.referrers.list(image) == ()
        connections.close()
