"""Kills `promote`, `rollback` and `run` once at every event and after every request that changes something.

The suite does so at the telling moments only; see `tests/e2e/sweeping.py` for what is proven after each death.

    .venv/bin/python -m tests.bench.sweep [COMMAND]...
"""

import shlex
import shutil
import signal
import sys
import tempfile
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

from tests.bench.measure import report
from tests.e2e.box import Box
from tests.e2e.cli import Cli, cool
from tests.e2e.mortal import Death
from tests.e2e.sweeping import Sweep, deaths
from tests.e2e.workspace import Workspace

_UP_S = 120.0


def main(commands: list[str]) -> int:
    """Sweeps the commands, one row each; a death that is not survived ends it all."""
    with _opened() as (box, cli, folder):
        rows = [_row(command, _SWEEPS[command](box, cli, folder)) for command in commands]
    return report(rows)


def _row(command: str, swept: list[Death]) -> dict[str, Any]:
    return {"name": f"deaths of {command} survived", "swept": len(swept), "healed": len(swept), "ok": bool(swept)}


def _promote(box: Box, cli: Cli, folder: Path) -> list[Death]:
    with closing(Sweep.of(box, cli, folder, "es-sandbox/sweep-promote")) as sweep:
        swept = deaths(sweep.promoted(None))
        for death in swept:
            sweep.promoted(death)
        sweep.whole()
    return swept


def _rollback(box: Box, cli: Cli, folder: Path) -> list[Death]:
    with closing(Sweep.of(box, cli, folder, "es-sandbox/sweep-rollback")) as sweep:
        sweep.promoted(None)
        swept = deaths(sweep.returned(None))
        for death in swept:
            sweep.returned(death)
        sweep.whole()
    return swept


def _run(box: Box, cli: Cli, folder: Path) -> list[Death]:
    with closing(Sweep.of(box, cli, folder, "es-sandbox/sweep-run")) as sweep:
        made = Workspace.make(folder / "sweep-run", "sweep-run")
        run = ("run", made.name, "--progress", "plain")
        sweep.mortals.live(*run, cwd=made.folder)  # fetches the base, once for all
        (made.context / "index.html").write_text("another page\n")
        swept = deaths(sweep.mortals.live(*run, cwd=made.folder))
        for number, death in enumerate(swept):
            (made.context / "index.html").write_text(f"page {number}\n")
            made.commit()
            killed = sweep.mortals.live(*run, death=death, cwd=made.folder)
            assert killed.code == -signal.SIGKILL, (death, killed)
            healed = sweep.mortals.live(*run, cwd=made.folder)
            assert healed.code == 0, (death, healed)
            digest = healed.out.strip().partition("@")[2]
            assert box.registry.digest(made.repository, "1.0") == digest, death
            kinds = [one["predicateType"] for one in box.registry.statements(made.repository, digest)]
            assert len(kinds) == len(set(kinds)) == 2, (death, kinds)
            cli.run("verify", f"{made.repository}@{digest}").ok()
            assert box.build_host.containers() == [], death
    return swept


_SWEEPS: dict[str, Callable[[Box, Cli, Path], list[Death]]] = {
    "promote": _promote,
    "rollback": _rollback,
    "run": _run,
}


@contextmanager
def _opened() -> Iterator[tuple[Box, Cli, Path]]:
    folder = Path(tempfile.mkdtemp(prefix="ip-bench-", dir="/tmp"))
    for name in ("home", "tests", "work"):
        (folder / name).mkdir()
    cli, where = Cli(folder / "home"), ("--dir", str(folder / "box"))
    try:
        document = cli.run("sandbox", "up", *where, "--json", deadline_s=_UP_S).ok().json()
        exports = cli.run("sandbox", "env", *where).ok().out.splitlines()
        cli.environ = dict(shlex.split(line)[1].split("=", 1) for line in exports)
        yield Box(document, folder / "tests"), cli, folder / "work"
    finally:
        cli.environ = {}
        cli.run("sandbox", "down", *where, deadline_s=_UP_S).ok()
        cool()
        shutil.rmtree(folder)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:] or list(_SWEEPS)))
