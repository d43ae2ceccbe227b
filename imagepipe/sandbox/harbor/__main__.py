"""`python -m imagepipe.sandbox.harbor --config harbor.json`: the stand-in on a TLS socket."""

from __future__ import annotations

import argparse
from pathlib import Path

import uvicorn

from imagepipe.sandbox.harbor.app import create_app
from imagepipe.sandbox.harbor.config import HarborConfig
from imagepipe.sandbox.vic.serve import serve as serve_old

_API_2 = (2, 0)

STOP_S = 0.3
"""Seconds that open requests get at SIGTERM; a client that keeps its connection must not hold us longer."""
KEEP_ALIVE_S = 75
"""Seconds an idle connection stays open, as nginx keeps it (keepalive_timeout)."""


def main() -> None:
    """Serves until SIGTERM."""
    parser = argparse.ArgumentParser(prog="imagepipe.sandbox.harbor", description=__doc__)
    parser.add_argument("--config", type=Path, required=True, help="harbor.json")
    config = HarborConfig.from_file(parser.parse_args().config)
    if config.flavour == "vic" or config.release < _API_2:
        serve_old(config)
        return
    uvicorn.run(
        create_app(config),
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


if __name__ == "__main__":
    main()
