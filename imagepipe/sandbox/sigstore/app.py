"""All services of one Sigstore as one ASGI app on one address."""

import hashlib
import time
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, PlainTextResponse, Response
from starlette.routing import Route

from imagepipe.sandbox.sigstore.ca import CertificateAuthority
from imagepipe.sandbox.sigstore.config import SigstoreConfig
from imagepipe.sandbox.sigstore.entries import hashedrekord_body
from imagepipe.sandbox.sigstore.fulcio import Fulcio, FulcioRefusalError
from imagepipe.sandbox.sigstore.keys import SigningKey
from imagepipe.sandbox.sigstore.log import TransparencyLog
from imagepipe.sandbox.sigstore.oidc import Clock, IdentityProvider, MintRefusedError
from imagepipe.sandbox.sigstore.rekor import Rekor, RekorRefusalError
from imagepipe.sandbox.sigstore.trust import TrustMaterial
from imagepipe.sandbox.sigstore.tsa import TimestampAuthority
from imagepipe.sandbox.sigstore.wire import parse_json

_SEEDS = (b"imagepipe sandbox seed 0", b"imagepipe sandbox seed 1")
"""Nobody's entry may be the first: Go's protojson leaves zeroes and empty lists out, so what cosign 2.5 writes of the
entry at index 0 in a tree of one cannot be read ("Field required: logIndex"), and sigstore-go refuses what we write."""


def create_app(config: SigstoreConfig, *, clock: Clock = time.time) -> Starlette:
    """Returns the app of the Sigstore kept in config.state_dir, after writing its trust files there.

    Args:
        config: addresses and state.
        clock: seconds since the epoch, before config.clock_offset_s is added.
    """

    def now() -> float:
        return clock() + config.clock_offset_s

    keys = config.state_dir / "keys"
    for folder in (config.state_dir, keys):
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    ct_log, rekor_key = (SigningKey.load_or_create(keys / f"{name}.pem") for name in ("ctlog", "rekor"))
    authority = CertificateAuthority.load_or_create(keys, ct_log)
    provider = IdentityProvider(config.external_url, SigningKey.load_or_create(keys / "oidc.pem"), now)
    log = TransparencyLog(config.state_dir / "log.jsonl", rekor_key, hostname=config.hostname, clock=now)
    _seed(log, rekor_key)
    tsa = TimestampAuthority.load_or_create(keys, now) if config.tsa else None
    trust = TrustMaterial(
        url=config.external_url,
        rekor=rekor_key,
        ct_log=ct_log,
        ca_chain=authority.chain,
        tsa_chain=tsa.chain if tsa else (),
    )
    trust.write(config.state_dir)
    routes = [*_Issuer(provider).routes(), *Fulcio(authority, provider).routes(), *Rekor(log).routes()]
    routes += [Route("/healthz", _healthy), Route("/ping", _healthy), *(tsa.routes() if tsa else ())]
    return Starlette(routes=routes, exception_handlers={FulcioRefusalError: _refused, RekorRefusalError: _refused})


def _seed(log: TransparencyLog, key: SigningKey) -> None:
    for text in _SEEDS[log.size :]:
        log.append(hashedrekord_body(hashlib.sha256(text).hexdigest(), key.sign(text), key.public_pem))


async def _healthy(_: Request) -> Response:
    return JSONResponse({"status": "ok"})


async def _refused(_: Request, error: Exception) -> Response:
    assert isinstance(error, FulcioRefusalError | RekorRefusalError)
    return error.to_response()


def _claims(body: bytes) -> dict[str, Any]:
    try:
        claims = parse_json(body)
    except ValueError as error:
        raise MintRefusedError(f"the claims are not JSON: {error}") from error
    if not isinstance(claims, dict):
        raise MintRefusedError("the claims are a JSON object")
    return claims


@dataclass(frozen=True, slots=True)
class _Issuer:
    """The identity provider's HTTP face."""

    provider: IdentityProvider

    def routes(self) -> Iterator[Route]:
        yield Route("/.well-known/openid-configuration", self._discovery)
        yield Route("/keys", self._keys)
        yield Route("/mint", self._mint, methods=["POST"])
        yield Route("/auth", self._not_here)
        yield Route("/token", self._not_here, methods=["POST"])

    async def _discovery(self, _: Request) -> Response:
        return JSONResponse(self.provider.discovery())

    async def _keys(self, _: Request) -> Response:
        return JSONResponse(self.provider.jwks())

    async def _mint(self, request: Request) -> Response:
        try:
            return PlainTextResponse(self.provider.mint(_claims(await request.body())))
        except MintRefusedError as error:
            return JSONResponse({"error": "invalid_request", "error_description": str(error)}, status_code=400)

    async def _not_here(self, _: Request) -> Response:
        text = "interactive login is not part of the sandbox: get a token from POST /mint"
        return JSONResponse({"error": "temporarily_unavailable", "error_description": text}, status_code=501)
