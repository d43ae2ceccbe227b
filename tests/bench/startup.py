"""How long `imagepipe --version` and `--help` take, against an interpreter that does nothing or only imports typer."""

import os
import subprocess
import sys
from typing import Any, Final

from tests.bench.measure import Comparison, report, timed

ROUNDS: Final = 21
# --version answers before any of them is imported; each alone takes longer than all of --version.
HEAVY: Final = ("docker", "sigstore", "httpx", "pydantic")


def main() -> int:
    """Runs every command in turn, round after round."""
    version = Comparison("imagepipe --version / python -c pass", factor=3.0, by="median")
    manual = Comparison("imagepipe --help / python -c 'import typer'", factor=2.0, by="median")
    for _ in range(ROUNDS):
        version.theirs.append(_python("-c", "pass"))
        version.ours.append(_python("-m", "imagepipe", "--version"))
        manual.theirs.append(_python("-c", "import typer"))
        manual.ours.append(_python("-m", "imagepipe", "--help"))
    return report([version.document(), manual.document(), _imports("--version"), _imports("--help")])


def _python(*words: str) -> Any:
    # Where nothing may be kept of what was compiled, whoever was edited last would be measured.
    kept = {name: value for name, value in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"}
    return timed([sys.executable, *words], kept)


def _imports(flag: str) -> dict[str, Any]:
    """Returns which of the heavy packages a command imports. Source: CPython `-X importtime`, last column."""
    command = [sys.executable, "-X", "importtime", "-m", "imagepipe", flag]
    done = subprocess.run(command, capture_output=True, text=True, check=True, timeout=60)
    modules = {line.rpartition("|")[2].strip().partition(".")[0] for line in done.stderr.splitlines()}
    found = sorted(modules.intersection(HEAVY))
    return {
        "name": f"imagepipe {flag} imports",
        "found": found,
        "target": "none of " + ", ".join(HEAVY),
        "ok": not found,
    }


if __name__ == "__main__":
    sys.exit(main())
