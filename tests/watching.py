"""Takes sandboxes of tests down when whoever runs the tests is ended before he could."""

import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Final

__all__ = ["watched"]

# It waits for a line; the end of its input without one is our end.
_SCRIPT: Final = 'read -r _ && exit; "$0" -m imagepipe sandbox down --dir "$1/box" && rm -rf -- "$1"'
_PATIENCE_S: Final = 10.0
_DOWN_S: Final = 120.0


@contextmanager
def watched(folder: Path) -> Iterator[None]:
    """Lets nothing stay of the sandbox in `folder`/box, and of the folder, should this process die meanwhile.

    Nor where whoever should have taken it down was interrupted: Ctrl-C and a lost terminal do not reach who watches.
    """
    with subprocess.Popen(
        ["/bin/sh", "-c", _SCRIPT, sys.executable, str(folder)],
        stdin=subprocess.PIPE,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    ) as watcher:
        try:
            yield
        finally:
            left = (folder / "box").exists()
            with suppress(BrokenPipeError):
                watcher.communicate(b"" if left else b"all is taken down\n", timeout=_DOWN_S if left else _PATIENCE_S)
