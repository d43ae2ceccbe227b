"""Commands that die of SIGKILL at a moment that is chosen beforehand, in processes of their own that start at once.

A moment is an event that the command tells of, or a request by which it changes something, just answered. Between two
of these nothing changes outside of the process, so that whoever survives all of them survives whenever he is killed.
"""

import gc
import multiprocessing
import os
import re
import signal
import threading
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from multiprocessing import forkserver
from pathlib import Path
from typing import Any

import httpx
import requests

from imagepipe.cli import progress
from imagepipe.cli.main import leave, run
from tests.e2e.warm import everything
from tests.measuring import unmeasured

_CHANGING = ("POST", "PUT", "PATCH", "DELETE")
_DEADLINE_S = 60.0


@dataclass(frozen=True, slots=True)
class Death:
    """The moment to die at: what happens, for the n-th time."""

    moment: str
    number: int = 1


@dataclass(frozen=True, slots=True)
class Life:
    """One command: how it ended, what it printed, and the moments that it came to."""

    code: int
    out: str
    err: str
    moments: tuple[str, ...]


class Mortals:
    """Runs commands as `imagepipe` does, in a clean environment.

    Args:
        folder: Where output goes; also the working directory.
        environ: Their whole environment.
    """

    def __init__(self, folder: Path, environ: Mapping[str, str]) -> None:
        self._folder, self._environ = folder, dict(environ)
        self._context = multiprocessing.get_context("forkserver")
        self._context.set_forkserver_preload([*everything(), __name__])
        with unmeasured():  # a process that ends as these do could not tell what it measured
            forkserver.ensure_running()

    def live(self, *argv: str, death: Death | None = None, cwd: Path | None = None) -> Life:
        """Runs a command to its end, or to its death."""
        files = [self._folder / name for name in ("out", "err", "moments")]
        for file in files:
            file.write_text("")
        wanted = (argv, self._environ, str(cwd or self._folder), [str(file) for file in files], death)
        process = self._context.Process(target=_live, args=wanted)
        process.start()
        process.join(_DEADLINE_S)
        assert process.exitcode is not None, f"{argv} does not end"
        out, err, moments = (file.read_text() for file in files)
        return Life(process.exitcode, out, err, tuple(moments.splitlines()))


def _live(argv: Sequence[str], environ: Mapping[str, str], cwd: str, files: Sequence[str], death: Death | None) -> None:
    os.environ.clear()
    os.environ.update(environ)
    os.chdir(cwd)
    for number, file in enumerate((os.devnull, *files[:2])):
        os.dup2(os.open(file, os.O_RDONLY if number == 0 else os.O_WRONLY), number)
    gc.freeze()  # what was imported is no garbage
    _watch(_Fate(files[2], death))
    leave(run(list(argv)))


class _Fate:
    def __init__(self, file: str, death: Death | None) -> None:
        self._file, self._death = os.open(file, os.O_WRONLY), death
        self._seen: Counter[str] = Counter()
        self._lock = threading.Lock()

    def __call__(self, moment: str) -> None:
        with self._lock:
            self._seen[moment] += 1
            os.write(self._file, f"{moment}\n".encode())
            if self._death == Death(moment, self._seen[moment]):
                os.kill(os.getpid(), signal.SIGKILL)


def _watch(fate: _Fate) -> None:
    def after(kind: Any) -> None:
        send = kind.send

        def sent(self: Any, request: Any, *args: Any, **kwargs: Any) -> Any:
            response = send(self, request, *args, **kwargs)
            if request.method in _CHANGING:
                fate(f"{request.method} {_path(str(request.url))}")
            return response

        kind.send = sent

    after(httpx.Client)
    after(requests.Session)
    plain_line = progress.plain_line

    def told(event: Any, **kwargs: Any) -> str | None:
        line = plain_line(event, **kwargs)
        if line is not None:
            fate("event " + re.sub(r"\([\d.]+ s\).*", "", _named(line)).strip())
        return line

    progress.plain_line = told


def _path(url: str) -> str:
    """Returns a path without what differs from run to run."""
    path = re.sub(r"^https?(\+docker)?://[^/]+", "", url).partition("?")[0]
    return _named(re.sub(r"(uploads/)[0-9a-f-]{30,}|((?:members|robots)/)\d+$", r"\1\2*", path))


def _named(text: str) -> str:
    # Digests, in hexadecimal or, as tags of attachments hold them, in base 32.
    return re.sub(r"\b[a-z2-7]{52}\b|[0-9a-f]{12,}", "*", text)
