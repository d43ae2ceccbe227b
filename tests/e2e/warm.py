"""Runs commands in processes of their own that find their imports done: half of a short command's time is imports.

A parent imports what commands import and does nothing else; each command is a fork of it, with the environment, working
directory, output and arguments that it would have been started with, and ends as any process does.
"""

import json
import os
import select
import socket
import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

from imagepipe.__main__ import main as program

__all__ = ["Warm"]

# What takes long and what nearly every command needs; the rest is imported where it is needed, as always.
_IMPORTS = (
    "imagepipe.cli.main",
    "imagepipe.wiring.adapters",
    "imagepipe.wiring.explaining",
    "imagepipe.harbor.detect",
    "imagepipe.promote.saved",
    "imagepipe.promote.record",
    "imagepipe.engine.runner",
    "imagepipe.engine.puller",
    "imagepipe.engine.lock",
    "imagepipe.registry.referrers",
    "imagepipe.signing.keyless",
    "imagepipe.signing.sealed",
)
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


def serve(address: str) -> Mapping[str, Any] | None:
    """Forks a process per order until nobody is there any more; returns the order in a command's process, else None."""
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(address)
        listener.listen(32)
        sys.stdout.write("ready\n")
        sys.stdout.flush()
        while True:
            # Nothing is ever written to stdin: it is ready when the one who asks is gone.
            if sys.stdin in select.select([listener, sys.stdin], [], [])[0]:
                return None
            asking, _ = listener.accept()
            with asking:
                # A keeper waits for the command and tells how it ended, so that many can be on their way.
                if os.fork() == 0:
                    listener.close()
                    return _keep(asking)
            with suppress(ChildProcessError):
                while os.waitpid(-1, os.WNOHANG)[0]:
                    pass


def _keep(asking: socket.socket) -> Mapping[str, Any]:
    head, files, _, _ = socket.recv_fds(asking, 16, 2)
    size, order = int(head), b""
    while len(order) < size:
        order += asking.recv(65536)
    command = os.fork()
    if command == 0:
        asking.close()
        with Path(os.devnull).open("rb") as nothing:
            os.dup2(nothing.fileno(), 0)
        for here, there in zip(files, (1, 2), strict=True):
            os.dup2(here, there)
            os.close(here)
        return dict(json.loads(order))
    asking.sendall(b"%d\n" % command)
    code = os.waitstatus_to_exitcode(os.waitpid(command, 0)[1])
    with suppress(OSError):
        asking.sendall(b"%d\n" % code)
    os._exit(0)


def main() -> None:
    """Serves; in a command's process, becomes that command."""
    sys.modules.setdefault("httpx._main", None)  # type: ignore[arg-type] # as the program does
    for name in _IMPORTS:
        __import__(name)
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
