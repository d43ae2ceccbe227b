"""Finds out which dialect a Harbor speaks.

Source: /api/version came with Harbor 2.0; Harbor 1.x tells everybody its version in /api/systeminfo, and there
with_admiral says that projects and members live in Admiral (goharbor/harbor v1.7.8 src/core/api/systeminfo.go).
"""

from dataclasses import dataclass
from typing import Any, Final

from imagepipe.errors import InputError, UnavailableError, UnsupportedError
from imagepipe.harbor.client import Call, HarborClient, decoded
from imagepipe.harbor.connection import Connection

__all__ = ["ADMIRAL", "DIALECT_NAMES", "HARBOR_1", "HARBOR_2", "Detected", "clean_version", "detect", "system_info"]

HARBOR_2: Final = "harbor-2"
HARBOR_1: Final = "harbor-1"
ADMIRAL: Final = "admiral"
DIALECT_NAMES: Final = (HARBOR_2, HARBOR_1, ADMIRAL)
_WHAT: Final = "find out which Harbor this is"


@dataclass(frozen=True, slots=True)
class Detected:
    """What a Harbor says of itself.

    Attributes:
        dialect: One of `DIALECT_NAMES`.
        version: `1.7.8`; empty for Harbor 2.x, which tells it to those it knows only.
        auth_mode: Where its users live: `db_auth`, `ldap_auth`, `oidc_auth`, `http_auth` or `uaa_auth`.
        admiral_url: Where Admiral is, as Harbor knows it; empty without.
        forced: Whether the dialect was given, and not found.
    """

    dialect: str
    version: str = ""
    auth_mode: str = "db_auth"
    admiral_url: str = ""
    forced: bool = False


def detect(connection: Connection, *, dialect: str | None = None) -> Detected:
    """Returns what a Harbor is, asked as nobody: no name can be locked by it, and no password is needed.

    Args:
        connection: The Harbor.
        dialect: Take it for this one, whatever it says.

    Raises:
        InputError: There is no such dialect.
        UnsupportedError: It speaks a newer API than we know.
        UnavailableError: It is no Harbor, or away.
    """
    if dialect is not None and dialect not in DIALECT_NAMES:
        raise InputError(f"no dialect named {dialect[:60]!r}", hint=f"use one of {', '.join(DIALECT_NAMES)}")
    nobody = connection.client("/api", anonymous=True)
    if dialect == HARBOR_2 or (dialect is None and _second(nobody)):
        info = system_info(connection.client("/api/v2.0", anonymous=True))
        return _detected(HARBOR_2, info or {}, forced=dialect is not None)
    info = system_info(nobody)
    if info is None and dialect is None:
        raise UnavailableError(
            f"{_WHAT}: it answers neither /api/version nor /api/systeminfo", hint="check that harbor.url is Harbor's"
        )
    info = info or {}
    own = ADMIRAL if info.get("with_admiral") is True else HARBOR_1
    return _detected(dialect or own, info, forced=dialect is not None)


def clean_version(text: str) -> str:
    """Returns the version without the `v` before and the commit behind it.

    >>> clean_version("v2.15.2-5d4ff4b4")
    '2.15.2'
    """
    return text.removeprefix("v").partition("-")[0]


def _second(nobody: HarborClient) -> bool:
    """Tells whether this is Harbor 2.x."""
    response = nobody.call(Call("GET", "/version", _WHAT, accept=(401, 403, 404, 405)))
    if not response.is_success:
        return False
    said = decoded(response, _WHAT)
    version = str(said.get("version", "")) if isinstance(said, dict) else ""
    if not version.startswith("v2."):
        raise UnsupportedError(
            f"{_WHAT}: its API has version {version[:30]!r}, and only v2.x and Harbor 1.x are known",
            hint="look for a newer imagepipe",
        )
    return True


def system_info(client: HarborClient) -> dict[str, Any] | None:
    """Returns what a Harbor says of itself, or None where it says nothing."""
    response = client.call(Call("GET", "/systeminfo", _WHAT, accept=(401, 403, 404)))
    info = decoded(response, _WHAT) if response.is_success else None
    return info if isinstance(info, dict) else None


def _detected(dialect: str, info: dict[str, Any], *, forced: bool) -> Detected:
    return Detected(
        dialect,
        clean_version(str(info.get("harbor_version") or "")),
        str(info.get("auth_mode") or "db_auth"),
        str(info.get("admiral_endpoint") or ""),
        forced,
    )
