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
from imagepipe.sandbox.harbor.serving import settings
from imagepipe.sandbox.vic.admiral import create_admiral
from imagepipe.sandbox.vic.app import create_app

ADMIRAL_PORT: Final = 8282


class _Beside(uvicorn.Server):
    """A server that leaves signals to the one it runs beside."""

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Takes no signal."""
        yield


def serve(config: HarborConfig) -> None:
    """Serves until SIGTERM."""
    if config.flavour != "vic":
        uvicorn.Server(settings(config, create_app(config))).run()
        return
    with _listening(config.listen_host) as held:
        host = urlsplit(config.external_url).hostname
        url = f"{config.external_scheme}://{host}:{held.getsockname()[1]}"
        app = create_app(config, admiral_url=url)
        asyncio.run(_both(config, app, held))


async def _both(config: HarborConfig, app: Starlette, held: socket.socket) -> None:
    harbor = uvicorn.Server(settings(config, app))
    admiral = _Beside(settings(config, create_admiral(app.state.admiral, app.state.sessions)))
    beside = asyncio.create_task(admiral.serve(sockets=[held]))
    try:
        await harbor.serve()
    finally:
        admiral.should_exit = True
        await beside


def _listening(host: str) -> socket.socket:
    """Returns a socket that listens at Admiral's own port, or at any where another sandbox has that one."""
    try:
        return _bound(host, ADMIRAL_PORT)
    except OSError:
        return _bound(host, 0)


def _bound(host: str, port: int) -> socket.socket:
    # Named as TCP, so that asyncio turns off the delay of small packets: 40 ms for every answer.
    held = socket.socket(proto=socket.IPPROTO_TCP)
    held.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        held.bind((host, port))
        # At once: until then another sandbox could bind the same address too.
        held.listen()
    except OSError:
        held.close()
        raise
    return held
