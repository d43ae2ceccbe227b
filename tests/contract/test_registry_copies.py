"""What every registry must keep of the port ImageCopier: the same digest, all evidence, and no blob through here."""

import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

import httpx
import pytest

from imagepipe.errors import NotFoundError, RefusedError, UnsupportedError
from imagepipe.model import media
from imagepipe.model.digest import Digest
from imagepipe.model.evidence import Artifact
from imagepipe.model.manifest import Descriptor, Index, Manifest
from imagepipe.model.reference import Pinned, Repository
from imagepipe.ports.copying import ImageCopier
from imagepipe.registry.connection import Connections
from imagepipe.registry.copying import RegistryCopier
from imagepipe.registry.referrers import RegistryReferrers
from imagepipe.registry.tagschema import fallback_tag
from tests.contract.registry_harbor import harbor
from tests.contract.registry_memory import artifact_manifest
from tests.contract.registry_worlds import MemoryWorld, Server, ServerWorld, World, docker_registry
from tests.contract.test_registry_without_oci import OldRegistry

LAYERS = "application/vnd.dev.cosign.simplesigning.v1+json"


@dataclass
class Watched(httpx.BaseTransport):
    """Remembers what was sent, and may play a registry that mounts nothing."""

    inner: httpx.BaseTransport = field(default_factory=httpx.HTTPTransport)
    seen: list[tuple[str, str]] = field(default_factory=list)
    mounts: bool = True

    def handle_request(self, request: httpx.Request) -> httpx.Response:
        self.seen.append((request.method, request.url.path))
        if not self.mounts and "mount" in request.url.params:
            request.url = request.url.copy_with(query=None)
        return self.inner.handle_request(request)

    def close(self) -> None:
        self.inner.close()

    @property
    def blobs(self) -> list[tuple[str, str]]:
        """Requests by which the bytes of a blob travel."""
        moving = ("GET", "/blobs/"), ("PUT", "/blobs/uploads/"), ("PATCH", "/blobs/uploads/")
        return [one for one in self.seen if any(one[0] == method and part in one[1] for method, part in moving)]


@dataclass
class Place:
    """A registry, what copies in it, and another repository of it."""

    world: World
    copier: ImageCopier
    wire: Watched | None = None

    @property
    def to(self) -> Repository:
        own = self.world.repository
        return Repository(own.registry, f"{own.path}-released")

    def image(self, evidence: int = 2) -> Pinned:
        made = self.world.add_image(media_type=media.DOCKER_MANIFEST)
        image = self.world.repository.pin(made.digest)
        for number in range(evidence):
            self.world.referrers.attach(image, made.descriptor, bundle(f"{number} of {image}"))
        return image


def bundle(text: str) -> Artifact:
    return Artifact(media.SIGSTORE_BUNDLE, media.SIGSTORE_BUNDLE, text.encode(), {"made.by": "a test"})


def evidence(world: World, image: Pinned) -> dict[Digest, tuple[Descriptor, Artifact]]:
    listed = world.referrers.list(image)
    return {one.digest: (one, world.referrers.fetch(image, one)) for one in listed}


@pytest.fixture(scope="module")
def backend(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    with docker_registry(tmp_path_factory.mktemp("docker-registry")) as server:
        yield server


def _place(server: Server, wire: Watched, connections: Connections) -> Place:
    world = ServerWorld(server.host, server.storage, connections)
    return Place(world, RegistryCopier(world.client, RegistryReferrers(world.client)), wire)


@pytest.fixture(params=["memory", "docker-registry", "harbor", "old"])
def place(request: pytest.FixtureRequest, backend: Server, tmp_path: Path) -> Iterator[Place]:
    if request.param == "memory":
        world = MemoryWorld()
        yield Place(world, world.registry)
        return
    wire = Watched(OldRegistry()) if request.param == "old" else Watched()
    open_: Callable[[str], httpx.BaseTransport] = lambda _: wire  # noqa: E731 -- one transport, however often it is asked for
    if request.param == "harbor":
        with harbor(backend, tmp_path) as running:
            connections = running.connections(transport_for=open_)
            yield _place(Server(running.host, running.storage), wire, connections)
    else:
        connections = Connections(plain_http=[backend.host], transport_for=open_)
        yield _place(backend, wire, connections)
    connections.close()


@pytest.fixture
def plain(backend: Server) -> Iterator[Place]:
    wire = Watched()
    connections = Connections(plain_http=[backend.host], transport_for=lambda _: wire)
    yield _place(backend, wire, connections)
    connections.close()


def test_a_copy_has_the_digest_and_all_evidence_and_no_blob_came_through_here(place: Place) -> None:
    image = place.image()
    before = evidence(place.world, image)
    if place.wire:
        place.wire.seen.clear()
    copied = place.copier.copy(image, place.to)
    if place.wire:
        assert place.wire.blobs == []
        assert copied.mounted > 0
    assert copied.attached == 2
    there = place.to.pin(image.digest)
    assert place.world.source.manifest(there) == place.world.source.manifest(image)
    assert evidence(place.world, there) == before
    with pytest.raises(NotFoundError):
        place.world.source.resolve(place.to.tagged("1.4"))


def test_copying_again_changes_nothing_and_adds_what_is_new(place: Place) -> None:
    image = place.image(evidence=1)
    place.copier.copy(image, place.to)
    assert place.copier.copy(image, place.to).manifests == 0
    subject = place.world.source.manifest(image).descriptor
    added = place.world.referrers.attach(image, subject, bundle("late"))
    place.copier.copy(image, place.to)
    assert added.digest in evidence(place.world, place.to.pin(image.digest))
    assert evidence(place.world, place.to.pin(image.digest)) == evidence(place.world, image)


def test_what_is_attached_to_evidence_and_to_the_images_of_an_index_comes_along(plain: Place) -> None:
    index = plain.world.add_index()
    image, child = (plain.world.repository.pin(one) for one in (index.digest, index.manifests[1].digest))
    of_child = plain.world.referrers.attach(child, plain.world.source.manifest(child).descriptor, bundle("child"))
    first = plain.world.referrers.attach(image, index.descriptor, bundle("index"))
    second = plain.world.referrers.attach(image.repository.pin(first.digest), first, bundle("of the evidence"))
    assert plain.copier.copy(image, plain.to).attached == 3
    assert isinstance(plain.world.source.manifest(plain.to.pin(index.digest)), Index)
    assert of_child.digest in evidence(plain.world, plain.to.pin(child.digest))
    assert second.digest in evidence(plain.world, plain.to.pin(first.digest))


def test_a_copy_to_where_the_image_is_does_nothing(plain: Place) -> None:
    image = plain.image()
    assert plain.copier.copy(image, image.repository).manifests == 0


def test_a_copy_that_broke_off_is_completed(plain: Place) -> None:
    image = plain.image()
    assert plain.wire is not None
    wire, inner = plain.wire, plain.wire.inner

    class Dies(httpx.BaseTransport):
        """Ends for good after some manifests were stored."""

        left = 1

        def handle_request(self, request: httpx.Request) -> httpx.Response:
            if request.method == "PUT":
                self.left -= 1
                if self.left < 0:
                    raise KeyboardInterrupt
            return inner.handle_request(request)

    wire.inner = Dies()
    with pytest.raises(KeyboardInterrupt):
        plain.copier.copy(image, plain.to)
    wire.inner = inner
    assert plain.copier.copy(image, plain.to).manifests > 0
    assert evidence(plain.world, plain.to.pin(image.digest)) == evidence(plain.world, image)


def test_a_registry_that_mounts_nothing_is_told_and_gets_no_bytes(plain: Place) -> None:
    image = plain.image()
    assert plain.wire is not None
    plain.wire.seen.clear()
    plain.wire.mounts = False
    with pytest.raises(UnsupportedError, match=r"mount blob .*asks for its bytes") as caught:
        plain.copier.copy(image, plain.to)
    assert "replication" in str(caught.value.hint)
    assert plain.wire.blobs == []
    with pytest.raises(NotFoundError):
        plain.world.source.manifest(plain.to.pin(image.digest))


def tagged(place: Place, image: Pinned, ending: str, *contents: str) -> Manifest:
    """Stores evidence in the layout of cosign 2, at a tag beside the image."""
    assert isinstance(place.world, ServerWorld)
    client, repository = place.world.client, image.repository
    client.put_blob(repository, b"{}", media.OCI_EMPTY)
    for text in contents:
        client.put_blob(repository, text.encode(), LAYERS)
    body = json.loads(artifact_manifest(Descriptor(LAYERS, image.digest, 1), Artifact(LAYERS, LAYERS, b"")))
    body.pop("subject")
    body["layers"] = [Descriptor(LAYERS, Digest.of(text.encode()), len(text)).to_json() for text in contents]
    raw = json.dumps(body).encode()
    client.put_manifest(repository, raw, media.OCI_MANIFEST, f"{fallback_tag(image.digest)}{ending}")
    found = client.manifest(repository.pin(Digest.of(raw)))
    assert isinstance(found, Manifest)
    return found


def test_evidence_at_the_tags_of_an_older_cosign_comes_along_and_grows(plain: Place) -> None:
    image = plain.image()
    tag = plain.to.tagged(f"{fallback_tag(image.digest)}.sig")
    one = tagged(plain, image, ".sig", "one")
    plain.copier.copy(image, plain.to)
    assert plain.world.source.resolve(tag).digest == one.digest
    both = tagged(plain, image, ".sig", "one", "two")
    plain.copier.copy(image, plain.to)
    assert plain.world.source.resolve(tag).digest == both.digest


def test_an_index_at_a_tag_of_evidence_brings_no_image_along(plain: Place) -> None:
    """Whoever may push to the one repository would put into the other whatever they like, or keep us busy for ever."""
    assert isinstance(plain.world, ServerWorld)
    image, other = plain.image(), plain.world.add_index()
    for ending in (".sig", ".att", ".sbom"):
        plain.world.client.tag(image.repository, other, f"{fallback_tag(image.digest)}{ending}")
    assert plain.copier.copy(image, plain.to).attached == 2
    for one in (other.digest, other.manifests[0].digest):
        with pytest.raises(NotFoundError):
            plain.world.source.manifest(plain.to.pin(one))
    with pytest.raises(NotFoundError):
        plain.world.source.resolve(plain.to.tagged(f"{fallback_tag(image.digest)}.sig"))


def test_evidence_of_evidence_without_end_is_refused(plain: Place) -> None:
    assert isinstance(plain.world, ServerWorld)
    referrers = RegistryReferrers(plain.world.client, sleep=lambda _: None)
    image = plain.image(evidence=0)
    at = plain.world.source.manifest(image).descriptor
    for number in range(8):
        at = referrers.attach(image.repository.pin(at.digest), at, bundle(f"{number} of {image}"))
    assert plain.copier.copy(image, plain.to).attached == 8
    referrers.attach(image.repository.pin(at.digest), at, bundle(f"one more of {image}"))
    with pytest.raises(RefusedError, match="more than 8 of which each is attached to the one before"):
        plain.copier.copy(image, plain.to)


def test_other_evidence_at_the_same_tag_is_not_overwritten(plain: Place) -> None:
    image = plain.image()
    there = plain.to.pin(image.digest)
    other = tagged(plain, there, ".att", "of somebody else")
    tagged(plain, image, ".att", "one")
    with pytest.raises(RefusedError, match="other evidence at that tag"):
        plain.copier.copy(image, plain.to)
    assert plain.world.source.resolve(plain.to.tagged(f"{fallback_tag(image.digest)}.att")).digest == other.digest
