"""What a token service answers, and what a token says of itself; nothing here is proof, only an explanation.

>>> parse_token(b'{"token": "opaque", "access_token": ""}', 0.0, "vic.example").text
'opaque'
"""

import base64
from dataclasses import dataclass, field
from typing import Any, Final

from imagepipe.errors import UnavailableError
from imagepipe.model.received import json_in

__all__ = ["Token", "parse_token"]

# Source: distribution docs/spec/auth/token.md: 60 seconds where `expires_in` is not given.
_DEFAULT_LIFETIME_S: Final = 60.0
_SKEW_S: Final = 10.0  # a token is not used in the last seconds of its life


@dataclass(frozen=True, slots=True)
class Token:
    """A bearer token.

    Attributes:
        text: The token; a secret.
        expires_at: On the clock of whoever asked, in seconds.
        subject: Whom it was given to: empty for nobody, None where the token does not say.
        granted: What it allows, as repository and action.
    """

    text: str = field(repr=False)
    expires_at: float
    subject: str | None = None
    granted: frozenset[tuple[str, str]] = frozenset()

    def allows(self, repository: str, action: str) -> bool:
        """Tells whether the token claims to allow this."""
        return (repository, action) in self.granted or (repository, "*") in self.granted


def parse_token(body: bytes, now: float, registry: str) -> Token:
    """Returns the token of a token service's answer.

    Harbor sends an empty `access_token` beside `token`, so the latter comes first.
    Source: Harbor v2.15.2 src/common/models/token.go

    Raises:
        UnavailableError: The answer holds no token.
    """
    try:
        data = json_in(body)
        text = data.get("token") or data.get("access_token") or ""
        lifetime_s = float(data.get("expires_in") or _DEFAULT_LIFETIME_S)
    except (ValueError, TypeError, AttributeError, OverflowError):
        text, lifetime_s = "", 0.0
    if not isinstance(text, str) or not text or not (text.isascii() and text.isprintable()):
        raise UnavailableError(
            f"the token service of {registry} answered without a token",
            hint="check that the registry's address is right",
        )
    claims = _claims(text)
    return Token(text, now + max(lifetime_s - _SKEW_S, _SKEW_S), _subject(claims), _granted(claims))


def _claims(text: str) -> dict[str, Any]:
    """Returns the claims of a JWT, unverified; nothing for another kind of token. Source: RFC 7519 section 7.2."""
    parts = text.split(".")
    try:
        claims = json_in(base64.urlsafe_b64decode(parts[1] + "=" * (-len(parts[1]) % 4)))
    except (IndexError, ValueError):
        return {}
    return claims if isinstance(claims, dict) else {}


def _subject(claims: dict[str, Any]) -> str | None:
    if "access" not in claims:
        return None
    return str(claims.get("sub") or "")


def _granted(claims: dict[str, Any]) -> frozenset[tuple[str, str]]:
    entries = claims.get("access")
    return frozenset(
        (str(entry.get("name")), str(action))
        for entry in _listed(entries)
        if isinstance(entry, dict)
        for action in _listed(entry.get("actions"))
    )


def _listed(value: Any) -> list[Any]:
    return value if isinstance(value, list) else []
