"""Image names as docker 1.13 reads them, and the registry whitelist."""

import fnmatch
import ipaddress
import re
from collections.abc import Iterable
from dataclasses import dataclass

from imagepipe.sandbox.vch.answers import RefusalError

_PART = r"[a-z0-9]+(?:(?:[._]|__|-+)[a-z0-9]+)*"
_PATH = re.compile(rf"^{_PART}(?:/{_PART})*$")
_TAG = re.compile(r"^[A-Za-z0-9_][A-Za-z0-9_.-]{0,127}$")
_DIGEST = re.compile(r"^sha256:[0-9a-f]{64}$")
DOCKER_HUB = "docker.io"


@dataclass(frozen=True, slots=True)
class Reference:
    """A repository and, maybe, a tag or a digest."""

    host: str
    path: str
    tag: str = ""
    digest: str = ""

    @classmethod
    def parse(cls, text: str) -> "Reference":
        """Returns the reference in `text`; `str(parse(x)) == x` for familiar names.

        Raises:
            RefusalError: in the words of docker 1.13.
        """
        name, _, digest = text.partition("@")
        head, slash, last = name.rpartition("/")
        last, _, tag = last.partition(":")
        host, path = _split_host(head + slash + last)
        wrong = (digest and not _DIGEST.match(digest)) or (tag and not _TAG.match(tag)) or not _PATH.match(path)
        if wrong or ("@" in text and not digest):
            raise RefusalError(f'Error parsing reference: "{text}" is not a valid repository/tag', 500)
        return cls(host, path, "" if digest else tag, digest)

    @property
    def name(self) -> str:
        """The repository with its host, in the short form for Docker Hub."""
        if self.host != DOCKER_HUB:
            return f"{self.host}/{self.path}"
        return self.path.removeprefix("library/")

    @property
    def image(self) -> str:
        """The repository without its host, as pull progress names it."""
        return self.path

    @property
    def tag_or_digest(self) -> str:
        """What selects one image of the repository; `latest` if nothing does."""
        return self.digest or self.tag or "latest"

    def with_suffix(self, suffix: str) -> "Reference":
        """Returns this repository with a tag or a digest, whichever `suffix` is."""
        if _DIGEST.match(suffix):
            return Reference(self.host, self.path, digest=suffix)
        if not _TAG.match(suffix):
            raise RefusalError("invalid tag format", 500)
        return Reference(self.host, self.path, tag=suffix)

    def __str__(self) -> str:
        if self.digest:
            return f"{self.name}@{self.digest}"
        return f"{self.name}:{self.tag or 'latest'}"


def _split_host(name: str) -> tuple[str, str]:
    first, slash, rest = name.partition("/")
    if slash and ("." in first or ":" in first or first == "localhost"):
        return first, rest
    return DOCKER_HUB, name if slash else f"library/{name}"


def allowed(host: str, entries: Iterable[str]) -> bool:
    """Returns whether a whitelist lets `host[:port]` through; an empty one lets all through.

    Source: VIC v1.5.8 pkg/registry/entry.go:119-151: `foo` matches `foo:123`, `foo:123` does not match `foo`.
    """
    listed = list(entries)
    return not listed or any(_matches(host, entry) for entry in listed)


def _matches(host: str, entry: str) -> bool:
    name, _, _ = host.partition(":")
    try:
        return ipaddress.ip_address(name) in ipaddress.ip_network(entry)
    except ValueError:
        pass
    wanted = entry.removeprefix("https://").removeprefix("http://").rstrip("/")
    return fnmatch.fnmatchcase(host if ":" in wanted else name, wanted)
