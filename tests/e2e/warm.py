"""Runs commands in processes of their own that find their imports done: half of a short command's time is imports.

A parent imports what commands import and does nothing else; each command is a fork of it, with the environment, working
directory, output and arguments that it would have been started with, and ends as any process does.
"""

import gc
import importlib
import json
import os
import pkgutil
import select
import socket
import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import imagepipe
from imagepipe.__main__ import main as program

__all__ = ["Warm", "everything"]

_END_S = 10.0


class Warm:
    """The parent; commands may be run from several threads.

    Args:
        environ: The environment that it is started in.
    """

    def __init__(self, environ: Mapping[str, str]) -> None:
        self._folder = tempfile.TemporaryDirectory(prefix="e2e-warm-")
        self._address = str(Path(self._folder.name) / "s")
        self._parent = subprocess.Popen(
            (sys.executable, "-m", "tests.e2e.warm", self._address),
            env=dict(environ),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
        )
        assert self._parent.stdout is not None
        assert self._parent.stdout.readline() == b"ready\n", "the parent of the commands did not come up"

    def close(self) -> None:
        """Ends it; commands that still run go on."""
        with self._parent as parent:
            assert parent.stdin is not None
            parent.stdin.close()
            try:
                parent.wait(_END_S)
            except subprocess.TimeoutExpired:
                parent.kill()
        self._folder.cleanup()

    def run(
        self, argv: Sequence[str], *, cwd: Path, environ: Mapping[str, str], deadline_s: float
    ) -> tuple[int, str, str]:
        """Returns the exit code (minus the signal, for one that was killed), and what was said on stdout and stderr.

        Raises:
            subprocess.TimeoutExpired: It took longer, and was killed.
        """
        with (
            socket.socket(socket.AF_UNIX) as asking,
            tempfile.TemporaryFile() as out,
            tempfile.TemporaryFile() as err,
        ):
            asking.settimeout(deadline_s)
            asking.connect(self._address)
            order = json.dumps({"argv": list(argv), "cwd": str(cwd), "environ": dict(environ)}).encode()
            socket.send_fds(asking, [b"%016d" % len(order)], [out.fileno(), err.fileno()])
            asking.sendall(order)
            pid = int(_line(asking))
            try:
                code = int(_line(asking))
            except TimeoutError:
                with suppress(ProcessLookupError):
                    os.kill(pid, 9)
                raise subprocess.TimeoutExpired(argv, deadline_s) from None
            return code, _text(out), _text(err)


def _line(asking: socket.socket) -> bytes:
    found = b""
    while not found.endswith(b"\n"):
        piece = asking.recv(64)
        if not piece:
            raise ConnectionError("the parent of the commands hung up")
        found += piece
    return found


def _text(file: Any) -> str:
    file.seek(0)
    return str(file.read().decode().replace("\r\n", "\n"))


def everything() -> list[str]:
    """Returns the modules that commands import, those too that they import late: no fork has to."""
    found = (module.name for module in pkgutil.walk_packages(imagepipe.__path__, "imagepipe."))
    own = [name for name in found if not name.startswith("imagepipe.sandbox") and not name.endswith("__main__")]
    return [*own, "docker", "httpcore"]


@dataclass(frozen=True, slots=True)
class _Running:
    """A command on its way, and who waits for it."""

    pid: int
    asking: socket.socket

    def tell(self) -> None:
        """Tells how it ended."""
        code = os.waitstatus_to_exitcode(os.waitpid(self.pid, 0)[1])
        with self.asking, suppress(OSError):
            self.asking.sendall(b"%d\n" % code)


def serve(address: str) -> Mapping[str, Any] | None:
    """Forks a process per order until nobody is there any more; returns the order in a command's process, else None."""
    running: dict[int, _Running] = {}
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(address)
        listener.listen(32)
        sys.stdout.write("ready\n")
        sys.stdout.flush()
        while True:
            found = select.select([listener, sys.stdin, *running], [], [])[0]
            for ended in running.keys() & set(found):
                running.pop(ended).tell()
                os.close(ended)
            # Nothing is ever written to stdin: it is ready when the one who asks is gone.
            if sys.stdin in found:
                return None
            if listener in found:
                asking, _ = listener.accept()
                order, files = _order(asking)
                pid = os.fork()
                if pid == 0:
                    _become(files)
                    for one in (listener, asking, *(other.asking for other in running.values())):
                        one.close()
                    return order
                for file in files:
                    os.close(file)
                with suppress(OSError):
                    asking.sendall(b"%d\n" % pid)
                running[os.pidfd_open(pid)] = _Running(pid, asking)


def _order(asking: socket.socket) -> tuple[Mapping[str, Any], Sequence[int]]:
    """Returns what is asked for, and where its output goes."""
    head, files, _, _ = socket.recv_fds(asking, 16, 2)
    size, order = int(head), b""
    while len(order) < size:
        order += asking.recv(65536)
    return dict(json.loads(order)), files


def _become(files: Sequence[int]) -> None:
    """Takes a command's own files in place of the parent's."""
    with Path(os.devnull).open("rb") as nothing:
        os.dup2(nothing.fileno(), 0)
    for here, there in zip(files, (1, 2), strict=True):
        os.dup2(here, there)
        os.close(here)


def main() -> None:
    """Serves; in a command's process, becomes that command."""
    sys.modules.setdefault("httpx._main", None)  # type: ignore[arg-type] # as the program does
    for name in everything():
        importlib.import_module(name)
    gc.freeze()  # no fork looks through what all of them have
    order = serve(sys.argv[1])
    if order is None:
        return
    os.environ.clear()
    os.environ.update(order["environ"])
    os.chdir(order["cwd"])
    sys.argv = ["imagepipe", *order["argv"]]
    program()


if __name__ == "__main__":
    main()
