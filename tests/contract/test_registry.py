"""What every registry must keep: the ports ManifestSource, ManifestSink and Referrers."""

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import pytest

from imagepipe.errors import DigestMismatchError, NotFoundError, RefusedError
from imagepipe.model import media
from imagepipe.model.digest import Digest
from imagepipe.model.evidence import Artifact
from imagepipe.model.manifest import Descriptor, ImageConfig, Index, Manifest, Platform
from imagepipe.model.reference import Reference
from tests.contract.registry_harbor import RunningHarbor, harbor
from tests.contract.registry_worlds import MemoryWorld, Server, ServerWorld, World, docker_registry

NOBODY = Digest.of(b"nobody pushed this")


@pytest.fixture(scope="session")
def distribution(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    with docker_registry(tmp_path_factory.mktemp("docker-registry")) as server:
        yield server


@pytest.fixture(scope="session")
def harbor_2_15(distribution: Server, tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningHarbor]:
    with harbor(distribution, tmp_path_factory.mktemp("harbor")) as running:
        yield running


@pytest.fixture(scope="session")
def harbor_without_referrers(distribution: Server, tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningHarbor]:
    with harbor(distribution, tmp_path_factory.mktemp("harbor"), referrers=False) as running:
        yield running


@pytest.fixture(params=["memory", "docker-registry", "harbor_2_15", "harbor_without_referrers"])
def world(request: pytest.FixtureRequest) -> Iterator[World]:
    if request.param == "memory":
        yield MemoryWorld()
        return
    if request.param == "docker-registry":
        server: Server = request.getfixturevalue("distribution")
        connections = server.connections()
        yield ServerWorld(server.host, server.storage, connections)
    else:
        running: RunningHarbor = request.getfixturevalue(request.param)
        connections = running.connections()
        yield ServerWorld(running.host, running.storage, connections)
    connections.close()


def bundle(text: str) -> Artifact:
    return Artifact(media.SIGSTORE_BUNDLE, media.SIGSTORE_BUNDLE, text.encode(), {"made.by": "a test"})


def test_a_tag_resolves_to_the_descriptor_of_what_was_pushed(world: World) -> None:
    image = world.add_image("1.4")
    assert world.source.resolve(world.repository.tagged("1.4")) == image.descriptor
    assert world.source.find(world.repository.tagged("1.4")) == image.descriptor
    assert world.source.find(world.repository.tagged("1.5")) is None


def test_a_reference_without_tag_means_latest(world: World) -> None:
    image = world.add_image("latest")
    assert world.source.resolve(Reference(world.repository)).digest == image.digest


def test_where_tag_and_digest_are_given_the_digest_decides(world: World) -> None:
    old, new = world.add_image("1"), world.add_image("1")
    assert world.source.resolve(Reference(world.repository, "1", old.digest)).digest == old.digest
    assert world.source.resolve(Reference(world.repository, "1")).digest == new.digest


@pytest.mark.parametrize("reference", ["nothing", str(NOBODY)])
def test_what_was_never_pushed_is_not_found(world: World, reference: str) -> None:
    world.add_image("1")
    wanted = Reference(world.repository, digest=NOBODY) if ":" in reference else world.repository.tagged(reference)
    with pytest.raises(NotFoundError, match=str(wanted)):
        world.source.resolve(wanted)


@pytest.mark.parametrize("media_type", media.MANIFEST_TYPES)
def test_a_manifest_comes_back_byte_for_byte(world: World, media_type: str) -> None:
    image = world.add_image("1", media_type)
    read = world.source.manifest(world.repository.pin(image.digest))
    assert read == image
    assert read.raw == image.raw


def test_an_index_comes_back_and_leads_to_its_children(world: World) -> None:
    made = world.add_index("1")
    read = world.source.manifest(world.repository.pin(made.digest))
    assert isinstance(read, Index)
    child = read.for_platform(Platform("linux", "arm64"))
    assert child is not None
    assert world.source.manifest(world.repository.pin(child.digest)).digest == child.digest


def test_a_manifest_that_is_not_there_is_not_found(world: World) -> None:
    world.add_image("1")
    with pytest.raises(NotFoundError):
        world.source.manifest(world.repository.pin(NOBODY))


def test_a_manifest_changed_in_the_registry_is_never_returned(world: World) -> None:
    image = world.add_image("1")
    world.corrupt(image.digest)
    with pytest.raises(DigestMismatchError, match="expected"):
        world.source.manifest(world.repository.pin(image.digest))


def test_the_config_tells_the_platform(world: World) -> None:
    image = world.add_image("1")
    config = ImageConfig.parse(world.source.blob(world.repository, image.config))
    assert (config.platform, config.history_entries, config.history_layers) == (Platform("linux", "amd64"), 2, 1)


def test_a_blob_changed_in_the_registry_is_never_returned(world: World) -> None:
    image = world.add_image("1")
    world.corrupt(image.config.digest)
    with pytest.raises(DigestMismatchError):
        world.source.blob(world.repository, image.config)


def test_a_blob_that_says_it_is_large_is_not_even_asked_for(world: World) -> None:
    with pytest.raises(RefusedError, match="8388608"):
        world.source.blob(world.repository, Descriptor("application/json", NOBODY, 8 * 1024 * 1024 + 1))


def test_a_tag_can_be_made_and_moved_and_made_again(world: World) -> None:
    first, second = world.add_image(), world.add_image()
    for image in (first, first, second, first):
        world.sink.tag(world.repository, image, "stable")
        assert world.source.resolve(world.repository.tagged("stable")).digest == image.digest


def test_an_index_can_be_tagged(world: World) -> None:
    index = world.add_index()
    world.sink.tag(world.repository, index, "all")
    assert world.source.resolve(world.repository.tagged("all")) == index.descriptor


def test_a_tag_cannot_be_made_for_what_the_repository_does_not_hold(world: World) -> None:
    elsewhere = MemoryWorld().add_image()
    with pytest.raises(RefusedError):
        world.sink.tag(world.repository, _without_blobs(elsewhere), "wrong")
    with pytest.raises(NotFoundError):
        world.source.resolve(world.repository.tagged("wrong"))


def _without_blobs(image: Manifest) -> Manifest:
    raw = image.raw.replace(image.config.digest.hex.encode(), NOBODY.hex.encode())
    config = Descriptor(image.config.media_type, NOBODY, image.config.size_bytes)
    return Manifest(raw, image.media_type, Digest.of(raw), config, image.layers)


def test_nothing_is_attached_at_first(world: World) -> None:
    image = world.add_image("1")
    assert world.referrers.list(world.repository.pin(image.digest)) == ()


def test_what_is_attached_is_listed_and_comes_back(world: World) -> None:
    image = world.add_image("1")
    pinned = world.repository.pin(image.digest)
    made = {world.referrers.attach(pinned, image.descriptor, bundle(text)).digest for text in ("one", "two")}
    listed = world.referrers.list(pinned)
    assert {descriptor.digest for descriptor in listed} == made
    assert all(descriptor.artifact_type == media.SIGSTORE_BUNDLE for descriptor in listed)
    read = [world.referrers.fetch(pinned, descriptor) for descriptor in listed]
    assert sorted(artifact.content for artifact in read) == [b"one", b"two"]
    assert read[0].artifact_type == read[0].layer_media_type == media.SIGSTORE_BUNDLE
    assert read[0].annotations == {"made.by": "a test"}


def test_attaching_the_same_again_changes_nothing(world: World) -> None:
    image = world.add_image("1")
    pinned = world.repository.pin(image.digest)
    first = world.referrers.attach(pinned, image.descriptor, bundle("one"))
    assert world.referrers.attach(pinned, image.descriptor, bundle("one")) == first
    assert [descriptor.digest for descriptor in world.referrers.list(pinned)] == [first.digest]


def test_attaching_does_not_move_the_image(world: World) -> None:
    image = world.add_image("1")
    world.referrers.attach(world.repository.pin(image.digest), image.descriptor, bundle("one"))
    assert world.source.resolve(world.repository.tagged("1")) == image.descriptor


def test_something_can_be_attached_to_an_index(world: World) -> None:
    index = world.add_index("1")
    pinned = world.repository.pin(index.digest)
    made = world.referrers.attach(pinned, index.descriptor, bundle("one"))
    assert world.referrers.fetch(pinned, made).content == b"one"


def test_what_is_attached_to_another_image_is_refused(world: World) -> None:
    image, other = world.add_image(), world.add_image()
    made = world.referrers.attach(world.repository.pin(image.digest), image.descriptor, bundle("one"))
    with pytest.raises(RefusedError, match=made.digest.hex):
        world.referrers.fetch(world.repository.pin(other.digest), made)


def test_an_ordinary_image_is_not_taken_for_an_attachment(world: World) -> None:
    image, other = world.add_image(), world.add_image()
    with pytest.raises(RefusedError):
        world.referrers.fetch(world.repository.pin(image.digest), other.descriptor)


def test_an_attachment_changed_in_the_registry_is_never_returned(world: World) -> None:
    image = world.add_image()
    pinned = world.repository.pin(image.digest)
    made = world.referrers.attach(pinned, image.descriptor, bundle("a statement"))
    world.corrupt(Digest.of(b"a statement"))
    with pytest.raises(DigestMismatchError):
        world.referrers.fetch(pinned, made)


def test_a_subject_that_is_not_the_image_is_refused(world: World) -> None:
    image, other = world.add_image(), world.add_image()
    with pytest.raises(RefusedError):
        world.referrers.attach(world.repository.pin(image.digest), other.descriptor, bundle("one"))


def test_what_many_attach_at_once_is_all_listed(world: World) -> None:
    image = world.add_image("1")
    pinned = world.repository.pin(image.digest)
    with ThreadPoolExecutor(4) as pool:
        made = list(
            pool.map(
                lambda number: world.referrers.attach(pinned, image.descriptor, bundle(f"bundle {number}")), range(6)
            )
        )
    assert {one.digest for one in made} == {descriptor.digest for descriptor in world.referrers.list(pinned)}
