import json
from contextlib import suppress
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from imagepipe.errors import DigestMismatchError, InputError, RefusedError
from imagepipe.model import media
from imagepipe.model.digest import Digest
from imagepipe.model.manifest import Descriptor, ImageConfig, Index, Manifest, Platform, parse_manifest
from tests.unit.model.strategies import digests, platforms

CONFIG = {"mediaType": "application/vnd.docker.container.image.v1+json", "digest": str(Digest.of(b"c")), "size": 7}
LAYER = {"mediaType": "application/vnd.docker.image.rootfs.diff.tar.gzip", "digest": str(Digest.of(b"l")), "size": 5}
SUBJECT = {"mediaType": media.OCI_MANIFEST, "digest": str(Digest.of(b"s")), "size": 3}

descriptors = st.builds(
    Descriptor,
    st.sampled_from([media.OCI_MANIFEST, media.DOCKER_MANIFEST]),
    digests,
    st.integers(min_value=0, max_value=2**40),
    st.none() | platforms,
    st.none() | st.just(media.SIGSTORE_BUNDLE),
    st.dictionaries(st.text(min_size=1, max_size=5), st.text(max_size=5), max_size=2),
)


def raw(**fields: Any) -> bytes:
    return json.dumps({"schemaVersion": 2, **fields}, indent=1).encode()


@given(platforms)
def test_a_platform_survives_being_written_and_read(platform: Platform) -> None:
    assert Platform.parse(str(platform)) == platform
    assert platform.matches(platform)


@pytest.mark.parametrize("text", ["", "linux", "linux/", "/amd64", "linux/arm/v7/x"])
def test_what_is_no_platform_is_refused(text: str) -> None:
    with pytest.raises(InputError, match="not a platform"):
        Platform.parse(text)


@pytest.mark.parametrize(
    ("one", "other", "fits"),
    [
        ("linux/arm/v7", "linux/arm", True),
        ("linux/arm", "linux/arm/v7", True),
        ("linux/arm/v6", "linux/arm/v7", False),
        ("linux/arm", "linux/amd64", False),
        ("windows/amd64", "linux/amd64", False),
    ],
)
def test_an_absent_variant_fits_any(one: str, other: str, fits: bool) -> None:
    assert Platform.parse(one).matches(Platform.parse(other)) is fits


@given(descriptors)
def test_a_descriptor_survives_json(descriptor: Descriptor) -> None:
    assert Descriptor.from_json(json.loads(json.dumps(descriptor.to_json()))) == descriptor


@pytest.mark.parametrize(
    "data",
    [
        {},
        {"mediaType": "x", "digest": str(Digest.of(b"")), "size": "many"},
        {"mediaType": "x", "digest": 5, "size": 1},
        {"mediaType": "x", "digest": "sha256:abc", "size": 1},
        {"mediaType": "x", "digest": str(Digest.of(b"")), "size": 1, "platform": {"os": "linux"}},
        {"mediaType": "x", "digest": str(Digest.of(b"")), "size": 1, "platform": "linux/amd64"},
    ],
)
def test_a_malformed_descriptor_is_refused(data: dict[str, Any]) -> None:
    with pytest.raises(RefusedError, match="malformed descriptor"):
        Descriptor.from_json(data)


@pytest.mark.parametrize("media_type", media.MANIFEST_TYPES)
def test_a_manifest_keeps_the_bytes_it_came_as(media_type: str) -> None:
    body = raw(mediaType=media_type, config=CONFIG, layers=[LAYER, LAYER], annotations={"a": "b"})
    manifest = parse_manifest(body, media_type, expected=Digest.of(body))
    assert isinstance(manifest, Manifest)
    assert (manifest.raw, manifest.digest) == (body, Digest.of(body))
    assert manifest.image_id == Digest.of(b"c") != manifest.digest
    assert manifest.size_bytes == 17
    assert manifest.descriptor == Descriptor(media_type, Digest.of(body), len(body))
    assert (manifest.subject, manifest.artifact_type, manifest.annotations) == (None, None, {"a": "b"})


def test_an_artifact_names_its_subject_and_type() -> None:
    body = raw(config=CONFIG, layers=[], subject=SUBJECT, artifactType=media.SIGSTORE_BUNDLE)
    manifest = parse_manifest(body, media.OCI_MANIFEST)
    assert isinstance(manifest, Manifest)
    assert manifest.subject is not None
    assert (manifest.subject.digest, manifest.artifact_type) == (Digest.of(b"s"), media.SIGSTORE_BUNDLE)


def test_fields_that_should_be_text_and_are_not_say_nothing() -> None:
    """Registries that do not know a field keep it as it came."""
    odd = {"artifactType": ["x"], "annotations": {"a": 1, "b": "c", "d": ["e"]}}
    named = {**SUBJECT, **odd, "platform": {"os": "linux", "architecture": "amd64", "variant": {}}}
    manifest = parse_manifest(raw(config=CONFIG, layers=[], subject=named, **odd), media.OCI_MANIFEST)
    assert isinstance(manifest, Manifest)
    for one in (manifest, manifest.subject):
        assert one is not None
        assert (one.artifact_type, one.annotations) == (None, {"b": "c"})
    assert hash(manifest.subject) == hash(Descriptor.from_json({**SUBJECT, "platform": named["platform"]}))
    assert parse_manifest(raw(manifests=[], annotations={"a": 1}), media.OCI_INDEX).annotations == {}


def test_an_index_finds_the_manifest_for_a_platform() -> None:
    amd, arm = ({**SUBJECT, "platform": {"os": "linux", "architecture": name}} for name in ("amd64", "arm64"))
    body = raw(manifests=[SUBJECT, arm, amd])
    index = parse_manifest(body, media.DOCKER_LIST)
    assert isinstance(index, Index)
    assert index.descriptor == Descriptor(media.DOCKER_LIST, Digest.of(body), len(body))
    assert index.for_platform(Platform.parse("linux/amd64")) == index.manifests[2]
    assert index.for_platform(Platform.parse("linux/s390x")) is None


@given(st.binary(max_size=50))
def test_bytes_that_were_not_asked_for_are_refused(body: bytes) -> None:
    with pytest.raises(DigestMismatchError):
        parse_manifest(body, media.OCI_MANIFEST, expected=Digest.of(body + b"x"))


def test_a_body_that_contradicts_its_content_type_is_refused() -> None:
    with pytest.raises(DigestMismatchError, match="says it is"):
        parse_manifest(raw(mediaType=media.OCI_INDEX, manifests=[]), media.OCI_MANIFEST)


@pytest.mark.parametrize("body", [b"", b"<html>", b"[]", b"5", b"\xff", pytest.param(b"[" * 100_000, id="deep"), raw()])
def test_what_is_no_manifest_is_refused(body: bytes) -> None:
    with pytest.raises(RefusedError):
        parse_manifest(body, media.OCI_MANIFEST)


_json = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=3) | st.just(dict(CONFIG)),
    lambda inner: st.lists(inner, max_size=2) | st.dictionaries(st.text(max_size=3), inner, max_size=2),
    max_leaves=4,
)
_fields = st.sampled_from(["config", "layers", "manifests", "subject", "annotations", "history", "os", "mediaType"])


@given(st.dictionaries(_fields, _json), st.sampled_from([*media.MANIFEST_TYPES, *media.INDEX_TYPES]))
def test_a_registry_that_answers_nonsense_is_refused_and_never_a_crash(body: dict[str, Any], media_type: str) -> None:
    content = json.dumps({**body, "mediaType": media_type}).encode()
    with suppress(RefusedError):
        assert parse_manifest(content, media_type).raw == content
    with suppress(RefusedError):
        ImageConfig.parse(json.dumps(body).encode())


@pytest.mark.parametrize("body", [raw(config=CONFIG, layers=5), raw(config=CONFIG, annotations=5)])
def test_a_manifest_with_fields_of_another_shape_is_refused(body: bytes) -> None:
    with pytest.raises(RefusedError, match="malformed manifest"):
        parse_manifest(body, media.DOCKER_MANIFEST)


def test_schema_one_is_refused() -> None:
    with pytest.raises(RefusedError, match="not an image manifest"):
        parse_manifest(raw(config=CONFIG), "application/vnd.docker.distribution.manifest.v1+prettyjws")


def test_a_config_counts_history_as_a_vch_does() -> None:
    config = ImageConfig.parse(
        json.dumps(
            {
                "os": "linux",
                "architecture": "amd64",
                "config": {"Labels": {"a": "b"}},
                "history": [{"created_by": "ADD"}, {"empty_layer": True}, {"empty_layer": False}],
            }
        ).encode()
    )
    assert config == ImageConfig(Platform("linux", "amd64"), {"a": "b"}, history_entries=3, history_layers=2)


def test_a_bare_config_has_no_labels_and_an_unknown_architecture() -> None:
    assert ImageConfig.parse(b"{}") == ImageConfig(Platform("linux", "unknown"), {}, 0, 0)
    assert ImageConfig.parse(b'{"config":{"Labels":null}}').labels == {}


@pytest.mark.parametrize("body", [{"history": [5]}, {"config": [1]}, {"config": {"Labels": 5}}])
def test_a_config_with_fields_of_another_shape_is_refused(body: dict[str, Any]) -> None:
    with pytest.raises(RefusedError, match="malformed image config"):
        ImageConfig.parse(json.dumps(body).encode())


def test_a_config_with_a_malformed_history_is_refused() -> None:
    with pytest.raises(RefusedError, match="history is not a list"):
        ImageConfig.parse(b'{"history":{"a":1}}')
