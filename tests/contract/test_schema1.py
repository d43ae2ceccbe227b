"""What registries serve to clients from before schema 2, asked by the probe that stands for a VCH."""

from collections.abc import Iterator

import pytest

from imagepipe.model import media
from imagepipe.model.reference import Reference
from imagepipe.registry.schema1 import Schema1Probe
from tests.contract.registry_worlds import ServerWorld, docker_registry
from tests.e2e.images import hand_made


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ServerWorld]:
    """The real registry, spoken to without a Harbor before it: tags reach it as tags."""
    with docker_registry(tmp_path_factory.mktemp("registry")) as server:
        connections = server.connections()
        yield ServerWorld(server.host, server.storage, connections)
        connections.close()


def push(world: ServerWorld, tag: str, *, oci: bool = False) -> Reference:
    image = hand_made(tag, oci=oci)
    for blob in image.blobs:
        world.client.put_blob(world.repository, blob, "application/octet-stream")
    world.client.put_manifest(world.repository, image.manifest, image.media_type, tag)
    return world.repository.tagged(tag)


def test_a_registry_before_3_0_that_is_asked_by_tag_makes_schema_1(world: ServerWorld) -> None:
    assert Schema1Probe(world.client.connections).served(push(world, "docker")) == media.DOCKER_SCHEMA_1


def test_asked_by_digest_as_every_harbor_2_asks_it_serves_schema_2(world: ServerWorld) -> None:
    tagged = push(world, "docker")
    pinned = Reference(world.repository, digest=world.client.resolve(tagged).digest)
    assert Schema1Probe(world.client.connections).served(pinned) == media.DOCKER_MANIFEST


def test_of_an_oci_image_and_of_none_nothing_is_served(world: ServerWorld) -> None:
    assert Schema1Probe(world.client.connections).served(push(world, "oci", oci=True)) == ""
    assert Schema1Probe(world.client.connections).served(world.repository.tagged("gone")) == ""
