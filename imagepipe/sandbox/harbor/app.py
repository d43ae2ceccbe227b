"""The stand-in as an ASGI app: Harbor's middlewares in their order, then REST, tokens or `/v2`.

Source: goharbor/harbor v2.15.2 src/server/middleware.go, src/server/middleware/.
"""

from __future__ import annotations

import logging
import re
import secrets
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import httpx
from starlette.applications import Starlette
from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response
from starlette.routing import Route

from imagepipe.sandbox.harbor.api import serve_api
from imagepipe.sandbox.harbor.backend import Backend
from imagepipe.sandbox.harbor.call import Harbor, query_of
from imagepipe.sandbox.harbor.config import HarborConfig
from imagepipe.sandbox.harbor.faults import Faults, Rule
from imagepipe.sandbox.harbor.front import Front
from imagepipe.sandbox.harbor.identity import Gatekeeper
from imagepipe.sandbox.harbor.problems import HarborError, bad_request, gateway_response, json_response
from imagepipe.sandbox.harbor.registry import Registry
from imagepipe.sandbox.harbor.seed import first_rows
from imagepipe.sandbox.harbor.store import Store
from imagepipe.sandbox.harbor.targets import Target
from imagepipe.sandbox.harbor.tokens import TokenMaker, serve_token
from imagepipe.sandbox.harbor.watch import watched

SAFE = frozenset({"GET", "HEAD", "OPTIONS"})
CSRF_HEADER = "x-harbor-csrf-token"
_BAD_ESCAPE = re.compile(r"%(?![0-9a-fA-F]{2})(.{0,2})")
_log = logging.getLogger(__name__)


def create_app(config: HarborConfig) -> Starlette:
    """Returns the stand-in for one configuration; `app.state.harbor` holds its parts, fault switches included.

    Raises:
        ValueError: The flavour is not served.
    """
    if config.flavour != "harbor":
        raise ValueError(f"flavour {config.flavour!r} is not served; only 'harbor' is")
    harbor = build(config)

    @asynccontextmanager
    async def lifespan(app: Starlette) -> AsyncIterator[None]:  # noqa: ARG001 - Starlette passes it
        yield
        await harbor.backend.close()
        harbor.store.close()

    app = Starlette(routes=[Route("/{path:path}", Harbor2(harbor))], lifespan=lifespan)
    app.state.harbor = harbor
    return app


def build(config: HarborConfig) -> Harbor:
    """Returns the parts of a stand-in, with the first rows of a new Harbor in its store."""

    def now() -> float:
        return time.time() + config.now_offset_s

    store = Store(config.state_file)
    first_rows(store, config.admin_password, now())
    faults = Faults(dict(config.faults), config.faults_file)
    tokens = TokenMaker(store, config.token_minutes, now)
    gate = Gatekeeper(store, config, faults, tokens, now)
    return Harbor(config, store, faults, tokens, gate, Backend(config.backend_url, config.external_scheme), now)


class Harbor2(Front):
    """Harbor's middlewares round its own answers."""

    cookies = ("/api",)

    def __init__(self, harbor: Harbor) -> None:
        super().__init__(harbor.faults)
        self._harbor = harbor
        self._registry = Registry(harbor)

    async def _answered(self, request: Request) -> Response:
        try:
            response = await self._switched(request)
        except HarborError as error:
            response = error.response()
        except httpx.TransportError:
            # Go's reverse proxy answers so when the registry is away: no body.
            response = Response(status_code=502)
        except ClientDisconnect:
            raise
        except Exception:  # noqa: BLE001 - a server answers 500 to what nobody foresaw
            _log.exception("%s %s", request.method, request.url.path)
            response = HarborError("UNKNOWN", "").response()
        response.headers["X-Request-Id"] = request.headers.get("x-request-id") or secrets.token_hex(16)
        return response

    def _fault(self, rule: Rule) -> Response:
        if rule.status in {502, 504}:
            return gateway_response(rule.status)
        codes = {500: "UNKNOWN", 429: "TOO_MANY_REQUEST", 409: "CONFLICT", 401: "UNAUTHORIZED", 403: "FORBIDDEN"}
        return HarborError(codes.get(rule.status, "UNKNOWN"), "switched on").response()

    async def _serve(self, request: Request) -> Response:
        _check_query(request.scope["query_string"].decode())
        path, method = request.url.path, request.method
        mount_from = dict(query_of(request)).get("from", "")
        target = Target.parse(path, mount_from) if path.startswith("/v2") else Target("none")
        _check_csrf(request)
        header = request.headers.get("authorization", "")
        caller = await self._harbor.gate.identify(method, path, header, target.projects)
        # Source: v2.15.2 src/server/middleware.go (readonlySkippers): settings and tokens stay open.
        if self._harbor.read_only and method not in SAFE and not path.endswith("/configurations"):
            raise HarborError("DENIED", "The system is in read only mode. Any modification is prohibited.")
        if target.kind != "none":
            return await self._registry.serve(request, target, caller)
        if path == "/service/token":
            return serve_token(self._harbor.store, self._harbor.tokens, caller, method, query_of(request))
        if path == "/api/version" and method == "GET":
            return json_response({"version": "v2.0"})
        if path == "/c/oidc/callback" and method == "GET":
            # A browser comes back from the provider with a code; here the code is the user's name.
            self._harbor.gate.accounts.first_login(dict(query_of(request)).get("code", ""))
            return Response(status_code=302, headers={"Location": "/harbor/projects"})
        return await watched(self._harbor, request, caller, lambda: serve_api(self._harbor, request, caller))


def _check_query(query: str) -> None:
    """Raises 400 for a query that Go's url.ParseQuery refuses."""
    if ";" in query:
        raise bad_request("invalid semicolon separator in query")
    bad = _BAD_ESCAPE.search(query)
    if bad is not None:
        raise bad_request(f'invalid URL escape "{bad[0]}"')


def _check_csrf(request: Request) -> None:
    """Raises 403 for a change that carries a session cookie: this Harbor has no page that could hold a valid token."""
    if request.method in SAFE or "sid" not in request.cookies:
        return
    found = CSRF_HEADER in request.headers
    raise HarborError("FORBIDDEN", "CSRF token invalid" if found else "CSRF token not found in request")
