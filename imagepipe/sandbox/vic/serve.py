"""Harbor 1.x on its socket, and with it Admiral on a second one of the same host: they share one state.

Source: vic-product v1.5.8 installer: Harbor at 443 and Admiral at 8282 of one appliance.
"""

from __future__ import annotations

import asyncio
import contextlib
import socket
from collections.abc import Iterator
from typing import Final
from urllib.parse import urlsplit

import uvicorn
from starlette.applications import Starlette

from imagepipe.sandbox.harbor.config import HarborConfig
from imagepipe.sandbox.vic.admiral import create_admiral
from imagepipe.sandbox.vic.app import create_app

ADMIRAL_PORT: Final = 8282
STOP_S: Final = 0.3
"""Seconds that open requests get at SIGTERM; a client that keeps its connection must not hold us longer."""
KEEP_ALIVE_S: Final = 75
"""Seconds an idle connection stays open, as nginx keeps it (keepalive_timeout)."""


class _Beside(uvicorn.Server):
    """A server that leaves signals to the one it runs beside."""

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Takes no signal."""
        yield


def serve(config: HarborConfig) -> None:
    """Serves until SIGTERM."""
    if config.flavour != "vic":
        uvicorn.Server(_settings(config, create_app(config))).run()
        return
    with _listening(config.listen_host) as held:
        host = urlsplit(config.external_url).hostname
        url = f"{config.external_scheme}://{host}:{held.getsockname()[1]}"
        app = create_app(config, admiral_url=url)
        asyncio.run(_both(config, app, held))


async def _both(config: HarborConfig, app: Starlette, held: socket.socket) -> None:
    harbor = uvicorn.Server(_settings(config, app))
    admiral = _Beside(_settings(config, create_admiral(app.state.admiral, app.state.sessions)))
    beside = asyncio.create_task(admiral.serve(sockets=[held]))
    try:
        await harbor.serve()
    finally:
        admiral.should_exit = True
        await beside


def _settings(config: HarborConfig, app: Starlette) -> uvicorn.Config:
    return uvicorn.Config(
        app,
        host=config.listen_host,
        port=config.listen_port,
        ssl_certfile=config.cert_file,
        ssl_keyfile=config.key_file,
        access_log=False,
        log_level="warning",
        server_header=False,
        timeout_keep_alive=KEEP_ALIVE_S,
        timeout_graceful_shutdown=STOP_S,  # type: ignore[arg-type] # asyncio waits so long, and takes fractions
    )


def _listening(host: str) -> socket.socket:
    """Returns a listening socket on Admiral's own port, or on any where another sandbox has that one."""
    try:
        return socket.create_server((host, ADMIRAL_PORT))
    except OSError:
        return socket.create_server((host, 0))
