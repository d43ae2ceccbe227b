"""Admiral's tokens, and who holds them.

Source: vmware/xenon v1.6.14.1 services/common/authn/BasicAuthenticationService.java (3600 s).
"""

from __future__ import annotations

import secrets
from collections.abc import Callable
from dataclasses import dataclass, field

LIFETIME_S = 3600.0


@dataclass
class Sessions:
    """The tokens that were handed out; they die with the process.

    Attributes:
        now: Returns Unix seconds.
        lifetime_s: How long a token lives.
    """

    now: Callable[[], float]
    lifetime_s: float = LIFETIME_S
    _tokens: dict[str, tuple[str, float]] = field(default_factory=dict, repr=False)

    def open(self, principal: str) -> str:
        """Returns a new token of a principal."""
        token = secrets.token_urlsafe(48)
        self._tokens[token] = (principal, self.now() + self.lifetime_s)
        return token

    def holder(self, token: str) -> str | None:
        """Returns who holds a token, None for one that is unknown, expired or logged out."""
        principal, expires = self._tokens.get(token, ("", 0.0))
        return principal if principal and self.now() < expires else None

    def close(self, token: str) -> None:
        """Forgets a token."""
        self._tokens.pop(token, None)
