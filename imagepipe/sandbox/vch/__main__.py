"""`python -m imagepipe.sandbox.vch --config vch.json`: serves one facade until SIGTERM."""

import argparse
import asyncio
import signal
from typing import Any

import uvicorn

from imagepipe.sandbox.vch.app import create_app
from imagepipe.sandbox.vch.config import Config
from imagepipe.sandbox.vch.engine import Engine
from imagepipe.sandbox.vch.faults import Faults
from imagepipe.sandbox.vch.hijack import protocol
from imagepipe.sandbox.vch.tables import Tables
from imagepipe.sandbox.vch.tls import server_context


async def serve(config: Config) -> None:
    """Serves the facade of `config` until it is told to stop."""
    engine = Engine(config.engine_socket)
    faults = Faults(config.faults, config.faults_file)
    await asyncio.sleep(faults.seconds("slow_start_s"))
    # uvicorn repeats the signal after its clean stop; the process then ends with status 0
    signal.signal(signal.SIGTERM, lambda *_: None)
    tables = Tables(config.state_file)
    http: Any = protocol(
        server_context(config), engine, tables
    )  # a factory serves where uvicorn's types ask for a class
    settings = uvicorn.Config(
        create_app(config, faults=faults, engine=engine, tables=tables),
        host=config.host,
        port=config.port,
        http=http,
        ws="none",
        loop="asyncio",
        lifespan="on",
        log_level="warning",
        access_log=False,
        server_header=False,
        timeout_keep_alive=60,
        timeout_graceful_shutdown=0,
    )
    await uvicorn.Server(settings).serve()


def main() -> None:
    """Reads the command line and serves."""
    parser = argparse.ArgumentParser(prog="imagepipe.sandbox.vch", description="A stand-in of a Virtual Container Host")
    parser.add_argument("--config", required=True, help="JSON file with the facade's settings")
    config = Config.load(parser.parse_args().config)
    asyncio.run(serve(config))


if __name__ == "__main__":
    main()
