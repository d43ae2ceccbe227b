"""Descriptors, manifests and indexes that keep their raw bytes, and what of an image config matters here.

>>> raw = b'{"schemaVersion":2,"manifests":[]}'
>>> parse_manifest(raw, media.OCI_INDEX).digest == Digest.of(raw)
True
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from imagepipe.errors import DigestMismatchError, InputError, RefusedError
from imagepipe.model import media
from imagepipe.model.digest import Digest
from imagepipe.model.received import json_in

__all__ = ["Descriptor", "ImageConfig", "Index", "Manifest", "Platform", "parse_manifest"]

_MALFORMED_HINT = "the registry returned something that is not an image; check the reference"


@dataclass(frozen=True, slots=True)
class Platform:
    """An operating system and architecture. Law: `Platform.parse(str(p)) == p`."""

    os: str
    architecture: str
    variant: str | None = None

    @classmethod
    def parse(cls, text: str) -> "Platform":
        """Returns the platform that `os/architecture[/variant]` spells.

        Raises:
            InputError: The text has another shape.
        """
        parts = text.split("/")
        if len(parts) not in (2, 3) or not all(parts):
            raise InputError(f"not a platform: {text!r}", hint="write linux/amd64")
        return cls(parts[0], parts[1], parts[2] if len(parts) == 3 else None)

    def matches(self, other: "Platform") -> bool:
        """Tells whether an image for one runs on the other; an absent variant matches any."""
        same = (self.os, self.architecture) == (other.os, other.architecture)
        return same and (not self.variant or not other.variant or self.variant == other.variant)

    def __str__(self) -> str:
        return "/".join(part for part in (self.os, self.architecture, self.variant) if part)


@dataclass(frozen=True, slots=True)
class Descriptor:
    """What a manifest says of another object, size in bytes.

    Source: OCI image-spec v1.1 descriptor.md
    """

    media_type: str
    digest: Digest
    size_bytes: int
    platform: Platform | None = None
    artifact_type: str | None = None
    annotations: Mapping[str, str] = field(default_factory=dict, hash=False)

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> "Descriptor":
        """Returns the descriptor of a parsed JSON object.

        Raises:
            RefusedError: A required field is missing or has another type.
        """
        try:
            platform = data.get("platform")
            return cls(
                media_type=str(data["mediaType"]),
                digest=Digest.parse(data["digest"]),
                size_bytes=int(data["size"]),
                platform=_platform(platform) if platform else None,
                artifact_type=_text(data.get("artifactType")),
                annotations=_texts(data.get("annotations")),
            )
        except (KeyError, TypeError, ValueError, AttributeError, InputError) as error:
            raise RefusedError(f"malformed descriptor: {error!r}", hint=_MALFORMED_HINT) from error

    def to_json(self) -> dict[str, Any]:
        """Returns the descriptor as a JSON object; what is absent is left out."""
        data: dict[str, Any] = {"mediaType": self.media_type, "digest": str(self.digest), "size": self.size_bytes}
        if self.platform:
            data["platform"] = {"os": self.platform.os, "architecture": self.platform.architecture}
            if self.platform.variant:
                data["platform"]["variant"] = self.platform.variant
        if self.artifact_type:
            data["artifactType"] = self.artifact_type
        if self.annotations:
            data["annotations"] = dict(self.annotations)
        return data


@dataclass(frozen=True, slots=True)
class Manifest:
    """One image (or artifact) manifest. Law: `digest == Digest.of(raw)`, and `raw` is never re-serialised."""

    raw: bytes = field(repr=False)
    media_type: str
    digest: Digest
    config: Descriptor
    layers: tuple[Descriptor, ...]
    subject: Descriptor | None = None
    artifact_type: str | None = None
    annotations: Mapping[str, str] = field(default_factory=dict, hash=False)

    @property
    def descriptor(self) -> Descriptor:
        """What another manifest would say of this one."""
        return Descriptor(self.media_type, self.digest, len(self.raw))

    @property
    def image_id(self) -> Digest:
        """The image id: the digest of the config, never of the manifest."""
        return self.config.digest

    @property
    def size_bytes(self) -> int:
        """The sum of config and compressed layers."""
        return self.config.size_bytes + sum(layer.size_bytes for layer in self.layers)


@dataclass(frozen=True, slots=True)
class Index:
    """An image index or manifest list. Law: `digest == Digest.of(raw)`."""

    raw: bytes = field(repr=False)
    media_type: str
    digest: Digest
    manifests: tuple[Descriptor, ...]
    annotations: Mapping[str, str] = field(default_factory=dict, hash=False)

    @property
    def descriptor(self) -> Descriptor:
        """What another manifest would say of this one."""
        return Descriptor(self.media_type, self.digest, len(self.raw))

    def for_platform(self, platform: Platform) -> Descriptor | None:
        """Returns the first manifest for that platform, or None.

        An absent variant on either side matches any.
        """
        for descriptor in self.manifests:
            found = descriptor.platform
            if found and found.matches(platform):
                return descriptor
        return None


@dataclass(frozen=True, slots=True)
class ImageConfig:
    """What matters here of an image config.

    Attributes:
        history_entries: All history entries, empty layers included: what a VCH counts.
        history_layers: History entries that are not empty layers.
    """

    platform: Platform
    labels: Mapping[str, str] = field(hash=False)
    history_entries: int
    history_layers: int

    @classmethod
    def parse(cls, raw: bytes) -> "ImageConfig":
        """Returns the facts of a config blob.

        Raises:
            RefusedError: The blob is no image config.
        """
        data = _object(raw)
        history = data.get("history") or []
        if not isinstance(history, list):
            raise RefusedError("malformed image config: history is not a list", hint=_MALFORMED_HINT)
        try:
            return cls(
                platform=Platform(str(data.get("os") or "linux"), str(data.get("architecture") or "unknown")),
                labels=_texts((data.get("config") or {}).get("Labels")),
                history_entries=len(history),
                history_layers=sum(1 for entry in history if not entry.get("empty_layer")),
            )
        except (AttributeError, TypeError, ValueError) as error:
            raise RefusedError(f"malformed image config: {error!r}", hint=_MALFORMED_HINT) from error


def parse_manifest(raw: bytes, media_type: str, *, expected: Digest | None = None) -> Manifest | Index:
    """Returns the manifest or index that the bytes are.

    Args:
        raw: The body as received.
        media_type: The Content-Type that came with it, parameters dropped; the body's own `mediaType` must agree.
        expected: The digest that was asked for.

    Raises:
        DigestMismatchError: The bytes have another digest than expected.
        RefusedError: The body is no manifest, or says it is of another type.
    """
    digest = expected if expected is not None else Digest.of(raw)
    digest.check(raw, "manifest")
    data = _object(raw)
    stated = data.get("mediaType") or media_type
    if stated != media_type:
        raise DigestMismatchError(f"manifest {digest} says it is {stated}, the registry says {media_type}")
    try:
        return _parsed(raw, media_type, digest, data)
    except (TypeError, ValueError) as error:
        raise RefusedError(f"malformed manifest {digest}: {error!r}", hint=_MALFORMED_HINT) from error


def _parsed(raw: bytes, media_type: str, digest: Digest, data: Mapping[str, Any]) -> Manifest | Index:
    if media_type in media.INDEX_TYPES:
        children = tuple(Descriptor.from_json(child) for child in data.get("manifests") or ())
        return Index(raw, media_type, digest, children, _texts(data.get("annotations")))
    if media_type not in media.MANIFEST_TYPES or "config" not in data:
        raise RefusedError(f"{digest} is not an image manifest but {media_type}", hint=_MALFORMED_HINT)
    return Manifest(
        raw=raw,
        media_type=media_type,
        digest=digest,
        config=Descriptor.from_json(data["config"]),
        layers=tuple(Descriptor.from_json(layer) for layer in data.get("layers") or ()),
        subject=Descriptor.from_json(data["subject"]) if data.get("subject") else None,
        artifact_type=_text(data.get("artifactType")),
        annotations=_texts(data.get("annotations")),
    )


def _platform(data: Mapping[str, Any]) -> Platform:
    return Platform(str(data["os"]), str(data["architecture"]), _text(data.get("variant")))


def _text(value: object) -> str | None:
    """Returns a field that is text where it is there: some registries keep manifests without looking at all fields."""
    return value if isinstance(value, str) else None


def _texts(value: Any) -> dict[str, str]:
    """Returns annotations; what is no text says nothing to anybody."""
    return {str(name): text for name, text in dict(value or {}).items() if isinstance(text, str)}


def _object(raw: bytes) -> dict[str, Any]:
    try:
        data = json_in(raw)
    except ValueError as error:
        raise RefusedError(f"not JSON: {error}", hint=_MALFORMED_HINT) from error
    if not isinstance(data, dict):
        raise RefusedError("not a JSON object", hint=_MALFORMED_HINT)
    return data
