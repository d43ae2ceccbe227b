"""The stand-in of Harbor 1.x as an ASGI app: with Admiral (flavour `vic`) or stand-alone.

Source: goharbor/harbor v1.7.8 src/core/{main,router}.go, src/core/filter/.
"""

from __future__ import annotations

import logging
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import httpx
from starlette.applications import Starlette
from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response
from starlette.routing import Route

from imagepipe.sandbox.harbor.backend import Backend
from imagepipe.sandbox.harbor.call import query_of
from imagepipe.sandbox.harbor.config import HarborConfig
from imagepipe.sandbox.harbor.faults import Faults, Rule
from imagepipe.sandbox.harbor.front import Front
from imagepipe.sandbox.harbor.problems import gateway_response
from imagepipe.sandbox.harbor.seed import first_rows
from imagepipe.sandbox.harbor.store import Store, timestamp
from imagepipe.sandbox.harbor.tokens import TokenMaker
from imagepipe.sandbox.vic.admiral_directory import AdmiralDirectory
from imagepipe.sandbox.vic.admiral_state import AdmiralState
from imagepipe.sandbox.vic.answers import FORMATTED_SINCE, PolicyError, RefusalError, RegistryError, server_error
from imagepipe.sandbox.vic.api import serve_api
from imagepipe.sandbox.vic.directory import Directory, role_names
from imagepipe.sandbox.vic.inside import Inside
from imagepipe.sandbox.vic.parts import Vic
from imagepipe.sandbox.vic.registry import Registry
from imagepipe.sandbox.vic.sessions import Sessions
from imagepipe.sandbox.vic.standalone import LocalDirectory
from imagepipe.sandbox.vic.tokens import serve_token

_SCHEMA = Path(__file__).with_name("schema.sql")
_log = logging.getLogger(__name__)


def create_app(config: HarborConfig, *, admiral_url: str = "") -> Starlette:
    """Returns the stand-in; `app.state.vic` holds its parts, and with Admiral `app.state.admiral` those of Admiral.

    Args:
        config: What to imitate: flavour `vic` is with Admiral, any other one is stand-alone.
        admiral_url: Where Admiral listens, for `/api/systeminfo`.
    """

    def now() -> float:
        return time.time() + config.now_offset_s

    store = Store(config.state_file)
    first_rows(store, config.admin_password, now())
    for statement in _SCHEMA.read_text("utf-8").split(";"):
        store.run(statement)
    with_admiral = config.flavour == "vic"
    state, sessions = AdmiralState(store, now), Sessions(now)
    directory: Directory
    if with_admiral:
        state.adopt()
        directory = AdmiralDirectory(state, sessions.holder)
    else:
        directory = LocalDirectory(store, lambda: timestamp(now()), config.lock_s, tuple(role_names(config.release)))
    vic = Vic(
        config=config,
        store=store,
        faults=Faults(dict(config.faults), config.faults_file),
        tokens=TokenMaker(store, config.token_minutes, now),
        directory=directory,
        backend=Backend(config.backend_url, config.external_scheme),
        inside=Inside(config.backend_url),
        now=now,
        with_admiral=with_admiral,
        admiral_url=admiral_url,
    )

    @asynccontextmanager
    async def lifespan(app: Starlette) -> AsyncIterator[None]:  # noqa: ARG001 - Starlette passes it
        await vic.inside.adopt(store)
        yield
        await vic.backend.close()
        await vic.inside.close()
        store.close()

    app = Starlette(routes=[Route("/{path:path}", Harbor1(vic))], lifespan=lifespan)
    app.state.vic, app.state.admiral, app.state.sessions = vic, state, sessions
    return app


class Harbor1(Front):
    """Harbor 1.x round its own answers."""

    cookies = ("/api", "/service")

    def __init__(self, vic: Vic) -> None:
        super().__init__(vic.faults)
        self._vic = vic
        self._registry = Registry(vic)

    async def _answered(self, request: Request) -> Response:
        try:
            return await self._switched(request)
        except RefusalError as error:
            return error.response(formatted=self._vic.config.release >= FORMATTED_SINCE)
        except (RegistryError, PolicyError) as error:
            return error.response()
        except httpx.TransportError:
            return gateway_response(502)
        except ClientDisconnect:
            raise
        except Exception:  # noqa: BLE001 - a server answers 500 to what nobody foresaw
            _log.exception("%s %s", request.method, request.url.path)
            return server_error()

    def _fault(self, rule: Rule) -> Response:
        return gateway_response(rule.status) if rule.status in {502, 504} else RefusalError(rule.status).response()

    async def _serve(self, request: Request) -> Response:
        path = request.url.path
        if path.startswith("/v2"):
            return await self._registry.serve(request)
        caller = await self._vic.identify(request)
        if path == "/service/token":
            return serve_token(self._vic.directory, self._vic.tokens, caller, request.method, query_of(request))
        return await serve_api(self._vic, request, caller)
