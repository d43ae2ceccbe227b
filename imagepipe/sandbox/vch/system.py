"""System endpoints: ping, version, info, login."""

from urllib.parse import urlsplit

from starlette.requests import Request
from starlette.responses import JSONResponse, PlainTextResponse, Response

from imagepipe.sandbox.vch import bodies, rewrite
from imagepipe.sandbox.vch.answers import RefusalError
from imagepipe.sandbox.vch.facade import Facade
from imagepipe.sandbox.vch.pull import denied, whitelisted
from imagepipe.sandbox.vch.references import Reference
from imagepipe.sandbox.vch.registry import Credentials, registry


async def ping(_facade: Facade, _request: Request) -> Response:
    """Answers `GET /_ping`."""
    return PlainTextResponse("OK")


async def version(facade: Facade, _request: Request) -> Response:
    """Answers `GET /version`."""
    return JSONResponse(rewrite.version(facade))


async def info(facade: Facade, _request: Request) -> Response:
    """Answers `GET /info`."""
    return JSONResponse(rewrite.info(facade, await facade.engine.get("/info")))


async def login(facade: Facade, request: Request) -> Response:
    """Answers `POST /auth`; nothing is kept. Source: VIC v1.5.8 backends/system.go:355-440."""
    body = bodies.decoded(await request.body(), bodies.LOGIN)
    address = str(body.get("serveraddress") or "")
    host = urlsplit(address if "//" in address else f"//{address}").netloc
    if not whitelisted(facade, host):
        raise RefusalError(denied(host))
    credentials = Credentials(str(body.get("username") or ""), str(body.get("password") or ""))
    async with registry(facade.config, Reference(host, ""), credentials, facade.registry_transport) as remote:
        await remote.login()
    return JSONResponse({"Status": "Login Succeeded", "IdentityToken": ""})
