"""The identity token to sign with, and who it makes us.

>>> IdentityTokens.__name__
'IdentityTokens'
"""

import base64
import binascii
import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, Final

from imagepipe.errors import IdentityError, SettingsError
from imagepipe.fanout import within
from imagepipe.model.evidence import Identity
from imagepipe.ports import Clock

__all__ = ["IdentityToken", "IdentityTokens", "ambient_token"]

# Source: sigstore-python 4.5.1 sigstore/oidc.py _DEFAULT_CLIENT_ID; cosign asks for the same.
AUDIENCE: Final = "sigstore"
_AMBIENT_TIMEOUT_S: Final = 60.0  # two requests of 30 s each at most; Source: id 1.6.1 _internal/oidc/ambient.py
_EPOCH: Final = datetime.fromtimestamp(0, UTC)
# What two good clocks may differ by. Source: sigstore-python 4.5.1 sigstore/oidc.py (leeway).
_LEEWAY: Final = timedelta(seconds=5)
_TIME: Final = "%Y-%m-%dT%H:%M:%SZ"
_NO_IDENTITY_HINT: Final = (
    "set SIGSTORE_ID_TOKEN or signing.identity_token_file; on GitHub grant `permissions: id-token: write`, "
    "on GitLab set `id_tokens: SIGSTORE_ID_TOKEN: {aud: sigstore}`"
)


@dataclass(frozen=True, slots=True)
class IdentityToken:
    """A token, read but not verified: only the certificate authority can do that.

    Attributes:
        raw: The token itself; a secret.
        signatory: Whom the certificate will name.
        expires_at: From then on it is worth nothing.
        issued_at: Before then it is worth nothing either.
    """

    raw: str = field(repr=False)
    signatory: Identity
    expires_at: datetime
    issued_at: datetime = _EPOCH

    @classmethod
    def parse(cls, raw: str) -> "IdentityToken":
        """Returns the token that this JWT is.

        Raises:
            IdentityError: It is no JWT, is not meant for Sigstore, or names nobody.
        """
        claims = _claims(raw)
        audience = claims.get("aud")
        if AUDIENCE not in (audience if isinstance(audience, list) else [audience]):
            raise IdentityError(
                f"the identity token is for audience {str(audience)[:120]!r}, not {AUDIENCE!r}",
                hint="ask the provider for a token with audience sigstore",
            )
        try:
            expires_at = datetime.fromtimestamp(float(claims["exp"]), UTC)
            issued_at = datetime.fromtimestamp(max(float(claims.get(name, 0)) for name in ("iat", "nbf")), UTC)
            return cls(raw, Identity(_subject(claims), _issuer(claims)), expires_at, issued_at)
        except (KeyError, TypeError, ValueError, OverflowError, OSError, SettingsError) as error:
            raise IdentityError("the identity token lacks a usable sub, iss or exp claim") from error


def ambient_token() -> str | None:
    """Returns the token that the CI system offers (GitHub, GitLab, Google, Buildkite, CircleCI), or None outside one.

    Raises:
        IdentityError: There is a CI system, but it does not hand out a token.
    """
    from imagepipe.signing.worker import detect_credential

    try:
        return within(_AMBIENT_TIMEOUT_S, "asking the CI system for an identity token", detect_credential)
    except Exception as error:
        raise IdentityError(
            f"the CI system gave no identity token: {str(error)[:300]}", hint=_NO_IDENTITY_HINT
        ) from error


class IdentityTokens:
    """Finds the identity token anew each time, because tokens live for minutes and files get replaced.

    What was named explicitly decides; there is no falling back from it.

    Args:
        clock: Tells whether a token has expired.
        file: A file that holds the token.
        raw: The token itself, as the environment held it; the file goes first.
        ambient: Asks the CI system.
    """

    def __init__(
        self,
        *,
        clock: Clock,
        file: Path | None = None,
        raw: str | None = None,
        ambient: Callable[[], str | None] = ambient_token,
    ) -> None:
        self._clock = clock
        self._file = file
        self._raw = raw
        self._ambient = ambient

    def token(self) -> IdentityToken:
        """Returns a token that has not expired.

        Raises:
            IdentityError: There is none, or it is unusable or expired.
        """
        token = IdentityToken.parse(self._find())
        now = self._clock.now()
        if token.expires_at <= now:
            raise IdentityError(
                f"the identity token of {token.signatory.identity} expired at {token.expires_at:{_TIME}}",
                hint="fetch a fresh identity token and sign again; if it is fresh, this machine's clock is ahead",
            )
        if token.issued_at > now + _LEEWAY:
            raise IdentityError(
                f"the identity token of {token.signatory.identity} is valid from {token.issued_at:{_TIME}} on, "
                f"and here it is {now:{_TIME}}",
                hint="correct this machine's clock, then sign again",
            )
        return token

    def _find(self) -> str:
        if self._file is not None:
            return self._read(self._file.expanduser())
        raw = self._raw or self._ambient()
        if not raw:
            raise IdentityError("there is no identity to sign with", hint=_NO_IDENTITY_HINT)
        return raw.strip()

    @staticmethod
    def _read(path: Path) -> str:
        try:
            return path.read_text(encoding="utf-8").strip()
        except (OSError, UnicodeDecodeError) as error:
            reason = error.strerror if isinstance(error, OSError) else "it is not text"
            raise IdentityError(
                f"{path}: cannot read the identity token: {reason}", hint="write the token into that file"
            ) from error


def _claims(raw: str) -> Mapping[str, Any]:
    try:
        _, payload, _ = raw.split(".")
        claims = json.loads(base64.urlsafe_b64decode(payload + "=" * (-len(payload) % 4)))
    except (ValueError, binascii.Error, RecursionError):
        claims = None
    if not isinstance(claims, dict):
        # `from None`, because the cause would carry the token.
        raise IdentityError("the identity token is not a JWT", hint=_NO_IDENTITY_HINT) from None
    return claims


def _subject(claims: Mapping[str, Any]) -> str:
    """Returns the subject alternative name that Fulcio writes.

    Source: Fulcio v1.8.8 pkg/identity/{email,github,gitlabcom,uri}/principal.go
    """
    if claims.get("email") and claims.get("email_verified") in (True, "true"):
        return str(claims["email"])
    if claims.get("job_workflow_ref"):
        return f"https://github.com/{claims['job_workflow_ref']}"
    if claims.get("ci_config_ref_uri"):
        return f"https://{claims['ci_config_ref_uri']}"
    return str(claims["sub"])


def _issuer(claims: Mapping[str, Any]) -> str:
    """Returns the issuer that Fulcio writes: behind Dex it is the provider that Dex asked.

    Source: Fulcio config/identity/config.yaml "IssuerClaim: $.federated_claims.connector_id"; sigstore-python 4.5.1
    sigstore/oidc.py IdentityToken.federated_issuer
    """
    federated = claims.get("federated_claims")
    connector = federated.get("connector_id") if isinstance(federated, dict) else None
    return str(connector or claims["iss"])
