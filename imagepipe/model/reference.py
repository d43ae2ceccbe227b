"""Names of images: a repository in a registry, a reference to one of its images, a pinned image.

>>> Reference.parse("vic.example/es-sandbox/hello:1.4").tag
'1.4'
>>> str(Repository("vic.example", "es-sandbox/hello").pin(Digest.of(b"")))[:34]
'vic.example/es-sandbox/hello@sha25'
"""

import re
from dataclasses import dataclass

from imagepipe.errors import InputError
from imagepipe.model.digest import Digest

__all__ = ["CARRIER", "HOST", "PATH", "PORT", "Pinned", "Reference", "Repository"]

# Source: OCI distribution-spec v1.1 "Pulling manifests" (names and tags); distribution reference/regexp.go (hosts).
_PART = r"[a-z0-9]+(?:(?:\.|_|__|-+)[a-z0-9]+)*"
PATH = rf"{_PART}(?:/{_PART})*"
_PATH = re.compile(PATH)
_TAG = re.compile(r"[A-Za-z0-9_][A-Za-z0-9._-]{0,127}")
# Source: RFC 1035 section 2.3.4: no part of a host's name is longer than 63, and none is empty.
_LABEL = r"[A-Za-z0-9](?:[A-Za-z0-9-]{0,61}[A-Za-z0-9])?"
# How a port is spelled: 0 to 65535, with zeros in front of it or without.
PORT = r"0*(?:[1-5]?[0-9]{1,4}|6[0-4][0-9]{3}|65[0-4][0-9]{2}|655[0-2][0-9]|6553[0-5])"
HOST = rf"(?:{_LABEL}(?:\.{_LABEL})*|\[[0-9a-fA-F:]+\])(?::{PORT})?"
_HOST = re.compile(HOST)
_MAX_NAME_CHARS = 255
# How a carrier tag is spelled, see `Pinned.carrier`.
CARRIER = re.compile(r"imagepipe-[0-9a-f]{32}")


@dataclass(frozen=True, slots=True, order=True)
class Repository:
    """A repository in a registry. Law: `Repository.parse(str(r)) == r`.

    Attributes:
        registry: `host` or `host:port`, as it is spelled on a whitelist.
        path: `project/name`, lower case, at least two parts.
    """

    registry: str
    path: str

    def __post_init__(self) -> None:
        if not _HOST.fullmatch(self.registry):
            raise InputError(f"not a registry host: {self.registry[:120]!r}", hint="write host or host:port")
        if not _PATH.fullmatch(self.path) or len(str(self)) > _MAX_NAME_CHARS:
            raise InputError(
                f"not a repository name: {self.path[:120]!r}",
                hint="use lower-case letters, digits and single . _ - between them, parts joined by /",
            )

    @classmethod
    def parse(cls, text: str, *, default_registry: str | None = None) -> "Repository":
        """Returns the repository that `host/project/name` spells.

        Raises:
            InputError: No host is named and there is no default, or the name is not allowed.
        """
        reference = Reference.parse(text, default_registry=default_registry)
        if reference.tag or reference.digest:
            raise InputError(f"a repository was expected, without tag or digest: {text!r}")
        return reference.repository

    @property
    def project(self) -> str:
        """The Harbor project: the first part of the path."""
        return self.path.split("/", 1)[0]

    @property
    def name(self) -> str:
        """The repository's name inside its project; empty where the path has one part."""
        return self.path.partition("/")[2]

    def pin(self, digest: Digest) -> "Pinned":
        """Returns this repository's image with that digest."""
        return Pinned(self, digest)

    def tagged(self, tag: str) -> "Reference":
        """Returns the reference to a tag of this repository."""
        return Reference(self, tag=tag)

    def __str__(self) -> str:
        return f"{self.registry}/{self.path}"


@dataclass(frozen=True, slots=True, order=True)
class Pinned:
    """An image that cannot move: `repository@sha256:…`. Law: `Pinned.parse(str(p)) == p`."""

    repository: Repository
    digest: Digest

    @property
    def carrier(self) -> "Reference":
        """The tag that carries this image to a host that cannot pull by digest.

        It holds 128 bits of the digest: nobody can make another image for it, so it never needs to move, and a
        VCH's stale name cache cannot hurt. Source: VIC v1.5.8 lib/imagec/imagec.go (pulls by tag only),
        lib/apiservers/engine/backends/cache/image_cache.go (stale names).
        """
        return self.repository.tagged(f"imagepipe-{self.digest.hex[:32]}")

    @classmethod
    def parse(cls, text: str, *, default_registry: str | None = None) -> "Pinned":
        """Returns the pinned image that the text spells.

        Raises:
            InputError: The text has no digest, or is no reference.
        """
        reference = Reference.parse(text, default_registry=default_registry)
        if reference.digest is None:
            raise InputError(f"not pinned: {text!r}", hint="write host/project/name@sha256:…")
        return cls(reference.repository, reference.digest)

    def __str__(self) -> str:
        return f"{self.repository}@{self.digest}"


@dataclass(frozen=True, slots=True)
class Reference:
    """What a user may name: by tag, by digest, or both. Law: `Reference.parse(str(r)) == r`.

    Where both are given the digest decides and the tag is a label for people.
    """

    repository: Repository
    tag: str | None = None
    digest: Digest | None = None

    def __post_init__(self) -> None:
        if self.tag is not None and not _TAG.fullmatch(self.tag):
            raise InputError(
                f"not a tag: {self.tag[:140]!r}",
                hint="use at most 128 of letters, digits, . _ -, not starting with . or -",
            )

    @classmethod
    def parse(cls, text: str, *, default_registry: str | None = None) -> "Reference":
        """Returns the reference that the text spells.

        Args:
            text: `host/project/name[:tag][@sha256:…]`, or `project/name…` where a default registry is configured.
            default_registry: The registry for names without a host.

        Raises:
            InputError: The text is no reference, or names no host and there is no default.
        """
        rest, _, digest = text.partition("@")
        head, slash, tail = rest.rpartition("/")
        name, colon, tag = tail.partition(":")
        full = f"{head}{slash}{name}"
        registry, path = _split_host(full, default_registry)
        if colon and not tag:
            raise InputError(f"empty tag in {text!r}")
        return cls(Repository(registry, path), tag or None, Digest.parse(digest) if "@" in text else None)

    def __str__(self) -> str:
        tag = f":{self.tag}" if self.tag else ""
        digest = f"@{self.digest}" if self.digest else ""
        return f"{self.repository}{tag}{digest}"


def _split_host(full: str, default_registry: str | None) -> tuple[str, str]:
    """Splits as Docker does: the first part is a host if it has a dot or a colon, or is `localhost`.

    Source: distribution reference/normalize.go splitDockerDomain.
    """
    first, slash, rest = full.partition("/")
    if slash and ("." in first or ":" in first or first == "localhost"):
        return first, rest
    if default_registry is None:
        raise InputError(
            f"no registry in image name {full[:120]!r}",
            hint='write host/project/name, or set registry = "host" in imagepipe.toml',
        )
    return default_registry, full
