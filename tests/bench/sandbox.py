"""How long the sandbox takes to come up, to be found up, and to go."""

import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from imagepipe.sandbox.world import Options, World
from tests.bench.measure import report


def main() -> int:
    """Takes one sandbox up and down."""
    with tempfile.TemporaryDirectory(prefix="ip-bench-", dir="/tmp") as folder:
        options = Options(Path(folder) / "box")
        world = World.load(options.directory)
        try:
            rows = [
                _row("sandbox up", lambda: world.start(options), limit_s=20.0),
                _row("sandbox up, up already", lambda: world.start(options), limit_s=1.0),
                _row("sandbox down", world.down, limit_s=20.0),
            ]
        finally:
            world.down()
    return report(rows)


def _row(name: str, action: Callable[[], object], *, limit_s: float) -> dict[str, Any]:
    started = time.perf_counter()
    action()
    seconds = time.perf_counter() - started
    return {"name": name, "ours_s": round(seconds, 4), "target": f"<= {limit_s:g} s", "ok": seconds <= limit_s}


if __name__ == "__main__":
    sys.exit(main())
