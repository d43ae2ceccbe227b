"""Manifests as Harbor reads them: what is refused, what is referred to, what kind of artifact it is.

Source: goharbor/harbor v2.15.2 src/pkg/distribution/distribution.go, src/controller/artifact/manifest/,
docker/distribution v2.8.3 manifest/{schema2,ocischema,manifestlist}.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from imagepipe.sandbox.harbor import schema1
from imagepipe.sandbox.harbor.bodies import Model, mistake_in
from imagepipe.sandbox.harbor.problems import HarborError

OCI_MANIFEST = "application/vnd.oci.image.manifest.v1+json"
OCI_INDEX = "application/vnd.oci.image.index.v1+json"
DOCKER_MANIFEST = "application/vnd.docker.distribution.manifest.v2+json"
DOCKER_LIST = "application/vnd.docker.distribution.manifest.list.v2+json"
OCI_CONFIG = "application/vnd.oci.image.config.v1+json"
DOCKER_CONFIG = "application/vnd.docker.container.image.v1+json"
FOREIGN_LAYERS = frozenset(
    {
        "application/vnd.docker.image.rootfs.foreign.diff.tar.gzip",
        "application/vnd.oci.image.layer.nondistributable.v1.tar",
        "application/vnd.oci.image.layer.nondistributable.v1.tar+gzip",
    }
)
SIMPLE_SIGNING = "application/vnd.dev.cosign.simplesigning.v1+json"
NOTATION = "application/vnd.cncf.notary.signature"
COSIGN_OCI11 = "application/vnd.dev.cosign.artifact.sig.v1+json"
COSIGN_BUNDLE = "application/vnd.dev.sigstore.bundle.v0.3+json"
HARBOR_SBOM = "application/vnd.goharbor.harbor.sbom.v1"
NYDUS = "containerd.io/snapshot/nydus-bootstrap"
# What is read before the registry is asked; subject and artifactType are read after it, by another hand.
# Source: docker/distribution v2.8.3 blobs.go (Descriptor), manifest/{ocischema,schema2,manifestlist,schema1}.
_DESCRIBED: Mapping[str, Any] = {
    "mediaType": "string",
    "digest": "digest.Digest",
    "size": "integer",
    "annotations": {"*": "string"},
}
_DESCRIPTOR = Model("distribution.Descriptor", _DESCRIBED)
_VERSIONED = {"schemaVersion": "int", "mediaType": "string"}
_CONTENT = {"config": _DESCRIPTOR, "layers": [_DESCRIPTOR]}
_CHILD = Model("manifestlist.ManifestDescriptor", _DESCRIBED)
_LISTED = Model("manifestlist.ManifestList", {**_VERSIONED, "manifests": [_CHILD], "annotations": {"*": "string"}})
_READ: Mapping[str, Model] = {
    OCI_MANIFEST: Model("ocischema.Manifest", {**_VERSIONED, **_CONTENT, "annotations": {"*": "string"}}),
    DOCKER_MANIFEST: Model("schema2.Manifest", {**_VERSIONED, **_CONTENT}),
    OCI_INDEX: _LISTED,
    DOCKER_LIST: _LISTED,
}
_SCHEMA1 = Model(
    "schema1.Manifest",
    {
        **_VERSIONED,
        **dict.fromkeys(("name", "tag", "architecture"), "string"),
        "fsLayers": [Model("schema1.FSLayer", {"blobSum": "digest.Digest"})],
        "history": [Model("schema1.History", {"v1Compatibility": "string"})],
    },
)
# Source: v2.15.2 src/controller/artifact/processor/default.go.
_TYPE = re.compile(r"application/vnd\.[^.]*\.(.*)\.config\.[^.]*\+json")
Descriptor = Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Manifest:
    """A manifest or index, read; `signed` are the bytes its digest speaks of where they are not all of `raw`."""

    raw: bytes
    media_type: str
    document: Mapping[str, Any]
    signed: bytes | None = None

    @property
    def digest(self) -> str:
        """Returns sha256 of the raw bytes, without the signatures in them."""
        return f"sha256:{hashlib.sha256(self.raw if self.signed is None else self.signed).hexdigest()}"

    @property
    def is_index(self) -> bool:
        """Returns whether the manifest lists manifests."""
        return self.media_type in {OCI_INDEX, DOCKER_LIST}

    @property
    def is_schema1(self) -> bool:
        """Returns whether it is a signed manifest of schema 1, which has no config."""
        return self.media_type == schema1.SIGNED

    @property
    def config(self) -> Descriptor:
        """Returns the config descriptor, empty for an index."""
        config: Descriptor = self.document.get("config") or {}
        return config

    @property
    def layers(self) -> list[Descriptor]:
        """Returns the layer descriptors; schema 1 tells no sizes."""
        if self.is_schema1:
            layers = self.document.get("fsLayers") or []
            return [{"mediaType": schema1.LAYER, "digest": layer.get("blobSum", "")} for layer in layers]
        return self.document.get("layers") or []

    @property
    def children(self) -> list[Descriptor]:
        """Returns an index's manifests."""
        return self.document.get("manifests") or []

    @property
    def references(self) -> list[Descriptor]:
        """Returns all that the registry must hold for this manifest."""
        configs = [] if self.is_schema1 else [self.config]
        return self.children if self.is_index else [*configs, *self.layers]

    @property
    def annotations(self) -> dict[str, str]:
        """Returns the manifest's own annotations."""
        return dict(self.document.get("annotations") or {})

    @property
    def subject(self) -> str | None:
        """Returns the digest of the manifest this one speaks of."""
        subject = self.document.get("subject") or {}
        return subject.get("digest")

    @property
    def artifact_media_type(self) -> str:
        """Returns what REST calls `media_type`."""
        named = self.annotations.get("org.opencontainers.artifactType", "") if self.is_index else ""
        alone = self.is_index or self.is_schema1
        return named or (self.media_type if alone else self.config.get("mediaType", ""))

    @property
    def artifact_type(self) -> str:
        """Returns `artifactType`, else the config's type; an index without one has none."""
        return self.document.get("artifactType") or ("" if self.is_index else self.config.get("mediaType", ""))

    @property
    def kind(self) -> str:
        """Returns Harbor's artifact type: IMAGE, something from the config's media type, or UNKNOWN."""
        wanted = self.artifact_type or self.artifact_media_type
        if wanted in {OCI_CONFIG, DOCKER_CONFIG, OCI_INDEX, DOCKER_LIST, schema1.SIGNED}:
            return "IMAGE"
        match = _TYPE.fullmatch(self.artifact_media_type)
        return match[1].upper() if match else "UNKNOWN"

    @property
    def is_legacy_signature(self) -> bool:
        """Returns whether a layer is a cosign simple-signing payload."""
        return any(layer.get("mediaType") == SIMPLE_SIGNING for layer in self.layers)

    def accessory_type(self, release: tuple[int, int]) -> str:
        """Returns what Harbor `release` takes a manifest with a subject for: by media type only, never by proof."""
        wanted = self.document.get("artifactType") or self.config.get("mediaType", "")
        # Source: v2.15.2 src/server/middleware/subject/subject.go; since: git tags v2.9.0, v2.11.0, v2.15.0.
        known = {
            NOTATION: ((2, 9), "signature.notation"),
            COSIGN_OCI11: ((2, 11), "signature.cosign"),
            COSIGN_BUNDLE: ((2, 15), "signature.cosign"),
            HARBOR_SBOM: ((2, 11), "sbom.harbor"),
        }
        since, name = known.get(wanted, ((0, 0), "subject.accessory"))
        if (
            wanted in {OCI_CONFIG, DOCKER_CONFIG}
            and self.layers
            and NYDUS in (self.layers[-1].get("annotations") or {})
        ):
            return "accelerator.nydus"
        return name if release >= since else "subject.accessory"


def parse(content_type: str, raw: bytes) -> Manifest:
    """Returns the manifest in `raw`.

    Raises:
        HarborError: 400 MANIFEST_INVALID, in Harbor's words.
    """
    media_type = content_type.partition(";")[0].strip()
    try:
        document = json.loads(raw)
    except ValueError as error:
        if media_type in _READ:
            raise _refused(_go_json_error(raw)) from error
        raise _refused(f"error unmarshalling content: {_go_json_error(raw)}") from error
    if media_type not in _READ:
        return _signed(document, raw)
    _check_kinds(_READ[media_type], document)
    _check_shape(media_type, document)
    return Manifest(raw, media_type, document)


def _signed(document: object, raw: bytes) -> Manifest:
    try:
        signed = schema1.canonical(document, raw)
        inner = json.loads(signed)
    except (schema1.NotSignedError, ValueError) as error:
        raise _refused(str(error)) from error
    _check_kinds(_SCHEMA1, inner)
    return Manifest(raw, schema1.SIGNED, inner, signed)


def _check_kinds(kind: Model, document: object) -> None:
    """Raises 400 for a field of another kind than Go's decoder takes."""
    if document is not None and not isinstance(document, dict):
        kind = Model(f"{kind.package}.unknownDocument", {}) if kind is not _SCHEMA1 else kind
    mistake = mistake_in(document, kind)
    if mistake:
        raise _refused(mistake)


def _check_shape(media_type: str, document: Mapping[str, Any]) -> None:
    stated = document.get("mediaType") or ""
    is_index = media_type in {OCI_INDEX, DOCKER_LIST}
    if is_index and (document.get("config") is not None or document.get("layers") is not None):
        raise _refused("index: expected index but found manifest")
    if media_type == OCI_MANIFEST and document.get("manifests") is not None:
        raise _refused("ocimanifest: expected manifest but found index")
    if stated != media_type and (stated or media_type in {DOCKER_MANIFEST, DOCKER_LIST}):
        place = {OCI_INDEX: "image index", DOCKER_LIST: "manifest list"}.get(media_type, "manifest")
        optional = "if present, " if media_type in {OCI_MANIFEST, OCI_INDEX} else ""
        raise _refused(f"{optional}mediaType in {place} should be '{media_type}' not '{stated}'")


def _refused(reason: str) -> HarborError:
    return HarborError("MANIFEST_INVALID", f"unmarshal manifest failed: {reason}")


def _go_json_error(raw: bytes) -> str:
    """Returns roughly what Go's decoder says: only the two usual cases are to the letter."""
    text = raw.lstrip()
    if text[:1] in {b"{", b"[", b""}:
        return "unexpected end of JSON input"
    return f"invalid character '{chr(text[0])}' looking for beginning of value"


def image_attributes(config: bytes) -> dict[str, Any]:
    """Returns the extra attributes of an image from its config, empty when that cannot be read."""
    try:
        image = json.loads(config)
        inner = image.get("config") or {}
        labels = inner.get("Labels") or {}
    except (ValueError, AttributeError):
        return {}
    author = image.get("author") or labels.get("org.opencontainers.image.authors") or labels.get("maintainer") or ""
    names = ("architecture", "created", "os")
    return {"author": author, "config": inner} | {name: image.get(name) for name in names}
