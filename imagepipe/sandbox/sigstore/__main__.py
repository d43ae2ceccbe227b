"""Serves the stand-in: `python -m imagepipe.sandbox.sigstore --config sigstore.json`."""

import argparse
import signal
from pathlib import Path
from types import FrameType

import uvicorn

from imagepipe.sandbox.sigstore.app import create_app
from imagepipe.sandbox.sigstore.config import SigstoreConfig

_GRACE_S = 1


def _stopped(_signal: int, _frame: FrameType | None) -> None:
    """Does nothing: uvicorn raises the signal once more after it has stopped, which would look like a crash."""


def main() -> None:
    """Serves until SIGTERM or SIGINT, then ends with status 0."""
    parser = argparse.ArgumentParser(prog="python -m imagepipe.sandbox.sigstore", description=__doc__)
    parser.add_argument("--config", type=Path, required=True, help="JSON file; see SigstoreConfig")
    config = SigstoreConfig.read(parser.parse_args().config)
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, _stopped)
    uvicorn.run(
        create_app(config),
        host=config.host,
        port=config.port,
        lifespan="off",
        ws="none",
        timeout_graceful_shutdown=_GRACE_S,
    )


if __name__ == "__main__":
    main()
