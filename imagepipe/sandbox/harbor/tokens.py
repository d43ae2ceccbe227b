"""The token service of `/service/token`: registry tokens, signed RS256.

Source: goharbor/harbor v2.15.2 src/core/service/token/{token,creator,authutils}.go.
"""

from __future__ import annotations

import base64
import hashlib
import json
import secrets
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import padding, rsa
from starlette.responses import Response

from imagepipe.sandbox.harbor.store import Store, timestamp

if TYPE_CHECKING:
    from imagepipe.sandbox.harbor.identity import Caller

SERVICE = "harbor-registry"
ISSUER = "harbor-token-issuer"
ACTIONS = ("pull", "push", "delete", "scanner-pull")


def _b64(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


def _unb64(text: str) -> bytes:
    return base64.urlsafe_b64decode(text + "=" * (-len(text) % 4))


class TokenMaker:
    """Makes and reads registry tokens with a key that is kept in the store."""

    def __init__(self, store: Store, minutes: int, now: Callable[[], float]) -> None:
        self._key = _stored_key(store)
        self._minutes = minutes
        self._now = now
        public = self._key.public_key().public_bytes(
            serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo
        )
        # Source: docker/libtrust util.go (keyIDFromCryptoKey): base32 of 240 bits, in groups of four.
        text = base64.b32encode(hashlib.sha256(public).digest()[:30]).decode()
        self._key_id = ":".join(text[i : i + 4] for i in range(0, len(text), 4))

    def make(self, subject: str, access: list[dict[str, Any]]) -> dict[str, Any]:
        """Returns the token service's answer; `access_token` is there and empty, as Harbor sends it."""
        now = int(self._now())
        claims = {
            "iss": ISSUER,
            "sub": subject,
            "aud": [SERVICE],
            "exp": now + self._minutes * 60,
            "nbf": now,
            "iat": now,
            "jti": secrets.token_urlsafe(12),
            "access": access,
        }
        header = {"alg": "RS256", "kid": self._key_id, "typ": "JWT"}
        signed = ".".join(_b64(json.dumps(part, separators=(",", ":")).encode()) for part in (header, claims))
        signature = self._key.sign(signed.encode(), padding.PKCS1v15(), hashes.SHA256())
        return {
            "token": f"{signed}.{_b64(signature)}",
            "access_token": "",
            "expires_in": self._minutes * 60,
            "issued_at": timestamp(now)[:19] + "Z",
        }

    def claims(self, token: str) -> dict[str, Any] | None:
        """Returns the claims of a token we signed, whatever its times; None for any other text."""
        try:
            signed, _, signature = token.rpartition(".")
            self._key.public_key().verify(_unb64(signature), signed.encode(), padding.PKCS1v15(), hashes.SHA256())
            claims: dict[str, Any] = json.loads(_unb64(signed.partition(".")[2]))
        except (InvalidSignature, ValueError):
            return None
        return claims


def _stored_key(store: Store) -> rsa.RSAPrivateKey:
    """Returns the signing key, made at the first start."""
    pem = store.setting("token_key", "")
    if pem:
        # We made it ourselves: to prove its primes takes 36 ms of each start.
        key = serialization.load_pem_private_key(pem.encode(), password=None, unsafe_skip_rsa_key_validation=True)
        assert isinstance(key, rsa.RSAPrivateKey)
        return key
    key = rsa.generate_private_key(public_exponent=65537, key_size=2048)
    plain = serialization.NoEncryption()
    data = key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, plain)
    store.set_setting("token_key", data.decode())
    return key


def serve_token(
    store: Store, tokens: TokenMaker, caller: Caller, method: str, query: list[tuple[str, str]]
) -> Response:
    """Returns the answer to one request of `/service/token`.

    Whoever asks with a scope gets a token: an unknown project only makes its actions empty.
    """
    if method not in {"GET", "HEAD"}:
        return Response("Method Not Allowed", status_code=405, media_type="text/plain")
    service = next((value for key, value in query if key == "service"), "")
    if service != SERVICE:
        return Response(f"Unable to handle service: {service}", status_code=400, media_type="text/plain")
    scopes = [scope for key, value in query if key == "scope" for scope in value.split(" ")]
    if not caller.username and not scopes:
        return Response(b"", status_code=401)
    access = [_granted(store, caller, scope) for scope in scopes if scope]
    body = json.dumps(tokens.make(caller.username, access), separators=(",", ":"))
    return Response(body, headers={"Content-Type": "application/json; charset=utf-8"})


def _granted(store: Store, caller: Caller, scope: str) -> dict[str, Any]:
    """Returns all that the caller may do on a scope's project, not only what was asked."""
    kind, _, rest = scope.partition(":")
    name, _, asked = rest.rpartition(":") if ":" in rest else (rest, "", "")
    granted: list[str] = []
    if kind == "repository" and "/" in name:
        project = store.project(name.split("/", 1)[0])
        if project is not None:
            granted = [action for action in ACTIONS if caller.may(project["id"], ("repository", action))]
    if kind == "registry" and name == "catalog" and caller.sysadmin:
        granted = asked.split(",")
    # Harbor collects the actions in a Go map: clients must not rely on an order.
    secrets.SystemRandom().shuffle(granted)
    return {"type": kind, "name": name, "actions": granted}
