"""The identity provider: mints any token it is asked for, and says later whether a token is its own and still good."""

import base64
import binascii
import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.utils import decode_dss_signature, encode_dss_signature

from imagepipe.sandbox.sigstore.keys import SigningKey

Clock = Callable[[], float]
"""Seconds since the epoch."""

AUDIENCE = "sigstore"
"""Source: sigstore-python 4.5.1 sigstore/oidc.py, _DEFAULT_CLIENT_ID; cosign sends the same."""

DEFAULT_LIFETIME_S = 600
"""Ten minutes, as CI providers give. Source: GitHub's documentation of its OIDC tokens ("exp" = "iat" + 600)."""

_COORDINATE_BYTES = 32  # P-256; Source: RFC 7518 section 3.4, ES256 signatures are R || S of 32 bytes each


class MintRefusedError(Exception):
    """Wanted claims of which no token can be made."""


class TokenError(Exception):
    """A token that is not ours, not for this audience, or not valid now."""


def _encode(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


def _decode(text: str) -> bytes:
    return base64.b64decode(text + "=" * (-len(text) % 4), altchars=b"-_", validate=True)


def _compact(document: Mapping[str, Any]) -> str:
    return _encode(json.dumps(document, separators=(",", ":")).encode())


@dataclass(frozen=True, slots=True)
class IdentityProvider:
    """Issues and checks ES256 tokens; `claims(mint(c))` gives c back, with iss, aud, iat and exp filled in."""

    issuer: str
    key: SigningKey
    clock: Clock

    @property
    def key_id(self) -> str:
        """The `kid` of the only key."""
        return self.key.log_id.hex()[:16]

    def discovery(self) -> dict[str, Any]:
        """Returns the discovery document. Source: OpenID Connect Discovery 1.0 section 3."""
        return {
            "issuer": self.issuer,
            "authorization_endpoint": f"{self.issuer}/auth",
            "token_endpoint": f"{self.issuer}/token",
            "jwks_uri": f"{self.issuer}/keys",
            "response_types_supported": ["code"],
            "subject_types_supported": ["public"],
            "id_token_signing_alg_values_supported": ["ES256"],
            "scopes_supported": ["openid", "email"],
            "claims_supported": ["aud", "email", "email_verified", "exp", "iat", "iss", "sub"],
        }

    def jwks(self) -> dict[str, Any]:
        """Returns the key set. Source: RFC 7518 section 6.2.1."""
        point = self.key.public.public_numbers()
        x, y = (_encode(value.to_bytes(_COORDINATE_BYTES, "big")) for value in (point.x, point.y))
        key = {"kty": "EC", "crv": "P-256", "use": "sig", "alg": "ES256", "kid": self.key_id, "x": x, "y": y}
        return {"keys": [key]}

    def mint(self, wanted: Mapping[str, Any]) -> str:
        """Returns a signed token with the wanted claims.

        Args:
            wanted: claims, among them `sub`; `exp_s`, the lifetime in seconds, is not a claim, and a negative one gives
                a token that expired so long ago. Any claim given (iss, aud, iat, exp, nbf) replaces the usual one.

        Raises:
            MintRefusedError: sub is missing, or exp_s is not a number.
        """
        claims = dict(wanted)
        lifetime_s = claims.pop("exp_s", DEFAULT_LIFETIME_S)
        if not isinstance(lifetime_s, int) or isinstance(lifetime_s, bool):
            raise MintRefusedError("exp_s is a whole number of seconds")
        if not isinstance(claims.get("sub"), str) or not claims["sub"]:
            raise MintRefusedError("sub is required")
        now = int(self.clock())
        times = {"iat": min(now, now + lifetime_s), "exp": now + lifetime_s}
        claims = {"iss": self.issuer, "aud": AUDIENCE} | times | claims
        signed = f"{_compact({'alg': 'ES256', 'typ': 'JWT', 'kid': self.key_id})}.{_compact(claims)}"
        r, s = decode_dss_signature(self.key.sign(signed.encode()))
        return f"{signed}.{_encode(r.to_bytes(_COORDINATE_BYTES, 'big') + s.to_bytes(_COORDINATE_BYTES, 'big'))}"

    def claims(self, token: str) -> dict[str, Any]:
        """Returns the claims of a token that this provider signed for Sigstore and that is valid now.

        Raises:
            TokenError: the token is malformed, signed by another key, of another issuer, for another audience or
                outside its time.
        """
        signed, _, signature = token.rpartition(".")
        header, _, payload = signed.partition(".")
        try:
            algorithm = json.loads(_decode(header)).get("alg")
            claims = json.loads(_decode(payload))
            raw = _decode(signature)
        except (ValueError, AttributeError, binascii.Error) as error:
            raise TokenError("the token is not a JWT") from error
        if algorithm != "ES256" or not isinstance(claims, dict):
            raise TokenError("the token is not an ES256 JWT with claims")
        self._check_signature(signed, raw)
        self._check_claims(claims)
        return claims

    def _check_signature(self, signed: str, raw: bytes) -> None:
        r, s = (int.from_bytes(part, "big") for part in (raw[:_COORDINATE_BYTES], raw[_COORDINATE_BYTES:]))
        try:
            self.key.public.verify(encode_dss_signature(r, s), signed.encode(), ec.ECDSA(hashes.SHA256()))
        except InvalidSignature as error:
            raise TokenError("the token was not signed by this issuer") from error

    def _check_claims(self, claims: Mapping[str, Any]) -> None:
        audience = claims.get("aud")
        if claims.get("iss") != self.issuer:
            raise TokenError("the token is of another issuer")
        if AUDIENCE not in (audience if isinstance(audience, list) else [audience]):
            raise TokenError("the token is for another audience")
        now = self.clock()
        expires, starts = claims.get("exp"), claims.get("nbf", 0)
        if not isinstance(expires, int | float) or not isinstance(starts, int | float):
            raise TokenError("the token does not say when it is valid")
        if not starts <= now < expires:
            raise TokenError("the token is not valid now")
