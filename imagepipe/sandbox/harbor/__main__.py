"""`python -m imagepipe.sandbox.harbor --config harbor.json`: the stand-in on a TLS socket."""

from __future__ import annotations

import argparse
from pathlib import Path

import uvicorn

from imagepipe.sandbox.harbor.app import create_app
from imagepipe.sandbox.harbor.config import HarborConfig
from imagepipe.sandbox.harbor.serving import settings
from imagepipe.sandbox.vic.serve import serve as serve_old

_API_2 = (2, 0)


def main() -> None:
    """Serves until SIGTERM."""
    parser = argparse.ArgumentParser(prog="imagepipe.sandbox.harbor", description=__doc__)
    parser.add_argument("--config", type=Path, required=True, help="harbor.json")
    config = HarborConfig.from_file(parser.parse_args().config)
    if config.flavour == "vic" or config.release < _API_2:
        serve_old(config)
        return
    uvicorn.Server(settings(config, create_app(config))).run()


if __name__ == "__main__":
    main()
