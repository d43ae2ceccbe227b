"""The facade as an ASGI application: one table of routes, everything else is 404 `page not found`."""

from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager

import httpx
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route
from starlette.types import ASGIApp

from imagepipe.sandbox.vch import containers, events, images, refusals, resources, system, verbs
from imagepipe.sandbox.vch.answers import RefusalError, error_response, not_implemented, version_of
from imagepipe.sandbox.vch.config import Config
from imagepipe.sandbox.vch.engine import Engine
from imagepipe.sandbox.vch.facade import Facade
from imagepipe.sandbox.vch.faults import Faults
from imagepipe.sandbox.vch.forward import forward
from imagepipe.sandbox.vch.pull import create_image
from imagepipe.sandbox.vch.tables import Tables
from imagepipe.sandbox.vch.versions import UNROUTED, VersionGate

Handler = Callable[[Facade, Request], Awaitable[Response]]

_PASSED = (
    *(("POST", f"/containers/{{id}}/{verb}") for verb in ("restart", "resize")),
    *(("GET", f"/containers/{{id}}/{view}") for view in ("stats", "changes")),
    ("POST", "/containers/{id}/attach"),
    ("POST", "/exec/{id}/start"),
)

_HANDLED: tuple[tuple[str, str, Handler], ...] = (
    ("GET", "/_ping", system.ping),
    ("GET", "/version", system.version),
    ("GET", "/info", system.info),
    ("POST", "/auth", system.login),
    ("GET", "/events", events.events),
    ("GET", "/images/json", images.list_images),
    ("POST", "/images/create", create_image),
    ("POST", "/images/load", refusals.load_image),
    ("GET", "/images/{name:path}/json", images.inspect_image),
    ("POST", "/images/{name:path}/tag", images.tag_image),
    ("POST", "/images/{name:path}/push", refusals.push_image),
    ("DELETE", "/images/{name:path}", images.remove_image),
    ("POST", "/commit", containers.commit),
    ("GET", "/containers/json", containers.list_containers),
    ("POST", "/containers/create", containers.create_container),
    ("GET", "/containers/{id}/json", containers.inspect_container),
    ("GET", "/containers/{id}/logs", containers.container_logs),
    ("POST", "/containers/{id}/start", verbs.start_container),
    ("POST", "/containers/{id}/stop", verbs.stop_container),
    ("POST", "/containers/{id}/wait", verbs.wait_container),
    ("POST", "/containers/{id}/kill", verbs.kill_container),
    ("POST", "/containers/{id}/rename", verbs.rename_container),
    ("POST", "/containers/{id}/exec", verbs.create_exec),
    *((method, "/containers/{id}/archive", verbs.archive) for method in ("HEAD", "GET", "PUT")),
    ("POST", "/exec/{id}/resize", verbs.resize_exec),
    ("GET", "/exec/{id}/json", verbs.inspect_exec),
    ("DELETE", "/containers/{id}", containers.remove_container),
    ("GET", "/networks", resources.list_networks),
    ("POST", "/networks/create", resources.create_network),
    ("GET", "/networks/{id}", resources.inspect_network),
    ("DELETE", "/networks/{id}", resources.remove_network),
    ("POST", "/networks/{id}/connect", resources.connect_network),
    ("GET", "/volumes", resources.list_volumes),
    ("POST", "/volumes/create", resources.create_volume),
    ("GET", "/volumes/{name}", resources.inspect_volume),
    ("DELETE", "/volumes/{name}", resources.remove_volume),
    ("GET", "/plugins/{name:path}/json", refusals.inspect_plugin),
    *(
        (method, f"/plugins{rest}", refusals.plugins)
        for method in ("GET", "POST", "DELETE")
        for rest in ("", "/{p:path}")
    ),
    *(
        (method, f"/{root}{rest}", refusals.swarm)
        for method in refusals.SWARM_METHODS
        for root in refusals.SWARM_ROOTS
        for rest in ("", "/{p:path}")
    ),
)


def create_app(
    config: Config,
    *,
    faults: Faults | None = None,
    engine: Engine | None = None,
    tables: Tables | None = None,
    registry_transport: httpx.AsyncBaseTransport | None = None,
) -> ASGIApp:
    """Returns the facade.

    Args:
        config: its settings.
        faults: the switches, if a test holds them; otherwise from the configuration.
        engine: dockerd below; otherwise the one at `config.engine_socket`.
        tables: the VCH's books; otherwise those in `config.state_file`.
        registry_transport: replaces the network towards registries.
    """
    facade = Facade(
        config=config,
        engine=engine or Engine(config.engine_socket),
        tables=Tables(config.state_file) if tables is None else tables,
        faults=faults or Faults(config.faults, config.faults_file),
        registry_transport=registry_transport,
    )

    @asynccontextmanager
    async def lifespan(_app: Starlette) -> AsyncIterator[None]:
        yield
        await facade.engine.close()

    refused = [_route(facade, method, path, _refuser(what)) for method, path, what in refusals.NOT_IMPLEMENTED]
    handled = [_route(facade, method, path, handler) for method, path, handler in _HANDLED]
    passed = [_route(facade, method, path, forward) for method, path in _PASSED]
    handlers = {404: _page_not_found, 405: _page_not_found, RefusalError: _refused}
    app = Starlette(routes=[*refused, *handled, *passed], exception_handlers=handlers, lifespan=lifespan)
    app.router.redirect_slashes = False
    return VersionGate(app)


def _route(facade: Facade, method: str, path: str, handler: Handler) -> Route:
    async def endpoint(request: Request) -> Response:
        return await handler(facade, request)

    route = Route(path, endpoint, methods=[method])
    route.methods = {method}  # a VCH answers 404 to HEAD where only GET is registered
    return route


def _refuser(what: str) -> Handler:
    async def refuse(_facade: Facade, _request: Request) -> Response:
        raise not_implemented(what)

    return refuse


async def _page_not_found(request: Request, _exc: Exception) -> Response:
    # Source: docker 1.13 api/server/server.go:175-178; such an answer never meets the version middleware
    response = error_response(version_of(request), 404, "page not found")
    response.raw_headers.append((UNROUTED, b"1"))
    return response


async def _refused(request: Request, exc: Exception) -> Response:
    if not isinstance(exc, RefusalError):
        raise exc
    return error_response(version_of(request), exc.status, exc.message)
