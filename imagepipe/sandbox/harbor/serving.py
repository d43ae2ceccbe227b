"""How a Harbor of the sandbox is put on its socket, old or new."""

from __future__ import annotations

import uvicorn
from starlette.applications import Starlette

from imagepipe.sandbox.harbor.config import HarborConfig

STOP_S = 0.3
"""Seconds that open requests get at SIGTERM; a client that keeps its connection must not hold us longer."""
KEEP_ALIVE_S = 75
"""Seconds an idle connection stays open, as nginx keeps it (keepalive_timeout)."""


def settings(config: HarborConfig, app: Starlette) -> uvicorn.Config:
    """Returns what uvicorn needs to serve the app."""
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
