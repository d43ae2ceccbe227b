"""The other process, as the one that asks it sees it: answers, refusals, and its end at any moment."""

import os
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from imagepipe.errors import IdentityError, SettingsError
from imagepipe.signing import sealed, worker
from imagepipe.signing.trust import SigstoreTrust
from imagepipe.signing.worker import Prover, Worker, serve
from tests.contract.signing_worlds import worked_for
from tests.unit.promote.test_ledger import eventually

BROKEN = SigstoreTrust("trust.json", {"trustedRoot": {"mediaType": "odd"}})


@contextmanager
def asking(monkeypatch: pytest.MonkeyPatch, asked: Any) -> Iterator[None]:
    with monkeypatch.context() as patch:
        patch.setattr(worker, "_BEGUN", [asked])
        yield


def test_a_refusal_is_the_same_wherever_it_is_made() -> None:
    with pytest.raises(SettingsError) as here:
        Prover(BROKEN)
    with worked_for(), pytest.raises(SettingsError) as there:
        Prover(BROKEN)
    assert (here.value.message, here.value.hint) == (there.value.message, there.value.hint)


def test_a_ci_system_is_asked_for_a_token_by_the_worker(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sealed, "detect_credential", lambda: threading.current_thread().name)
    assert worker.detect_credential() == "MainThread"
    with worked_for():
        assert worker.detect_credential() not in (None, "MainThread")

    def refused() -> str:
        raise RuntimeError("no permission")

    monkeypatch.setattr(sealed, "detect_credential", refused)
    with worked_for(), pytest.raises(IdentityError, match=r"^no permission$"):
        worker.detect_credential()
    with pytest.raises(IdentityError, match=r"^no permission$"):
        worker.detect_credential()


def test_what_nobody_expected_happens_again_here_where_it_can_be_told(monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(trust: SigstoreTrust) -> None:
        raise ZeroDivisionError(f"in {threading.current_thread().name}, of {trust.name}")

    monkeypatch.setattr(sealed, "KeylessProver", broken)
    ours, theirs = socket.socketpair()
    ended = list[str]()

    def serving() -> None:
        with theirs, pytest.raises(ZeroDivisionError, match=r"trust\.json") as raised:
            serve(theirs)
        ended.append(str(raised.value))

    other = threading.Thread(target=serving)
    other.start()
    with asking(monkeypatch, Worker(ours)), pytest.raises(ZeroDivisionError, match="in MainThread, of"):
        Prover(BROKEN)
    other.join(timeout=10)
    assert len(ended) == 1


def test_an_answer_that_was_not_waited_for_is_nobody_elses() -> None:
    class Stopped:
        """A channel on which somebody presses Ctrl-C."""

        closed = 0

        def settimeout(self, seconds: float) -> None:
            assert seconds > 60

        def sendall(self, data: bytes) -> None:
            assert data

        def recv(self, size: int) -> bytes:
            raise KeyboardInterrupt(size)

        def close(self) -> None:
            self.closed += 1

    channel: Any = Stopped()
    asked = Worker(channel)
    with pytest.raises(KeyboardInterrupt):
        asked.ask("detect")
    assert channel.closed == 1


def test_one_that_stops_in_the_middle_of_an_answer_is_gone(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sealed, "detect_credential", lambda: "token")
    for sent in (b"", b"\0" * 7 + b"\x09", b"\0" * 7 + b"\x09half"):
        ours, theirs = socket.socketpair()
        theirs.sendall(sent)
        theirs.shutdown(socket.SHUT_WR)
        with theirs, asking(monkeypatch, Worker(ours)):
            assert worker.detect_credential() == "token"
    ours, theirs = socket.socketpair()
    theirs.close()
    with asking(monkeypatch, Worker(ours)):
        assert worker.detect_credential() == "token"


@pytest.mark.parametrize("why", ["one processor", "another system", "no more processes", "no more files"])
def test_where_there_can_be_none_there_is_none(why: str, monkeypatch: pytest.MonkeyPatch) -> None:
    def fork() -> int:
        raise BlockingIOError("Resource temporarily unavailable")

    def pair() -> tuple[socket.socket, socket.socket]:
        raise OSError("Too many open files")

    monkeypatch.setattr(os, "fork", fork)
    if why == "no more files":
        monkeypatch.setattr(socket, "socketpair", pair)
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: {0} if why == "one processor" else {0, 1})
    monkeypatch.setattr(sys, "platform", "darwin" if why == "another system" else "linux")
    assert not worker.begin()
    assert worker.begun() is None


def test_a_worker_keeps_to_itself_until_its_channel_closes(monkeypatch: pytest.MonkeyPatch) -> None:
    ignored, led = list[int](), list[int]()
    monkeypatch.setattr(os, "fork", lambda: 0)
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: {0, 1})
    monkeypatch.setattr(os, "dup2", lambda _, stream: led.append(stream))
    monkeypatch.setattr(signal, "signal", lambda number, how: ignored.append(number) if how == signal.SIG_IGN else None)
    assert worker.begin(), "the other one's end of the channel is closed, so there is nobody to work for"
    assert (ignored, led) == ([signal.SIGINT, signal.SIGTERM, signal.SIGHUP], [0, 1, 2])


BEGUN = """
import os, sys
from imagepipe.signing import worker
os.sched_getaffinity = lambda _: {0, 1}
if worker.begin():
    sys.exit()
print(worker.begun()._pid, flush=True)
assert worker.detect_credential() is None
"""


def _gone(pid: int) -> bool:
    return not Path(f"/proc/{pid}").exists()


def _begun(then: str) -> "subprocess.Popen[str]":
    environ = {name: value for name, value in os.environ.items() if not name.startswith(("GITHUB_", "ACTIONS_", "CI"))}
    # A session of its own, so that nobody else is signalled with its group.
    return subprocess.Popen(
        [sys.executable, "-c", BEGUN + then], stdout=subprocess.PIPE, text=True, env=environ, start_new_session=True
    )


def test_a_worker_ends_with_whoever_began_it_however_that_ends() -> None:
    for then in ("os._exit(0)", "os.kill(os.getpid(), 9)", "raise SystemExit"):
        with _begun(then) as process:
            assert process.stdout is not None
            pid = int(process.stdout.readline())
            assert process.stdout.read() == "", "nobody who reads has to wait for it"
        assert eventually(partial(_gone, pid))


def test_a_worker_that_is_no_longer_wanted_is_ended_at_once_and_leaves_nothing() -> None:
    with _begun(
        "worker.end(); worker.end(); print(os.path.exists(f'/proc/{sys.argv[-1]}'), worker.begun())"
    ) as process:
        assert process.stdout is not None
        pid = int(process.stdout.readline())
        assert process.stdout.read().split() == ["False", "None"]
    assert _gone(pid)
    assert process.returncode == 0


def test_ctrl_c_in_the_moment_of_a_beginning_is_told_by_one_of_both() -> None:
    code = """
import os, signal, sys
from imagepipe.signing import worker
os.sched_getaffinity = lambda _: {0, 1}
fork = os.fork
def interrupted():
    pid = fork()
    os.kill(os.getpid(), signal.SIGINT)
    return pid
os.fork = interrupted
try:
    if worker.begin():
        sys.exit()
    print("begun", flush=True)
except KeyboardInterrupt:
    print("interrupted", worker.begun() is not None, flush=True)
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=False)
    assert (done.stdout, done.stderr) == ("interrupted True\n", "")


@pytest.mark.parametrize("command", ["verify", "digest"])
def test_who_is_started_by_somebody_who_ignores_how_children_end_ends_as_always(command: str, tmp_path: Path) -> None:
    code = """
import os, signal, sys
signal.signal(signal.SIGCHLD, signal.SIG_IGN)
os.execv(sys.executable, [sys.executable, "-m", "imagepipe", *sys.argv[1:]])
"""
    argv = [sys.executable, "-c", code, command, "p/r:1", "-c", str(tmp_path / "nowhere.toml")]
    done = subprocess.run(argv, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 4, done.stderr
    assert "Traceback" not in done.stderr


def test_ctrl_c_is_for_the_one_who_began_it() -> None:
    then = """
import signal
signal.signal(signal.SIGINT, lambda *_: None)
signal.signal(signal.SIGTERM, lambda *_: None)
print("ready", flush=True)
sys.stdin.readline()
print(worker.detect_credential(), os.path.exists(f"/proc/{worker.begun()._pid}"), flush=True)
"""
    environ = {name: value for name, value in os.environ.items() if not name.startswith(("GITHUB_", "ACTIONS_", "CI"))}
    with subprocess.Popen(
        [sys.executable, "-c", BEGUN + then],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        env=environ,
        start_new_session=True,
    ) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        pid = int(process.stdout.readline())
        assert process.stdout.readline() == "ready\n"
        for number in (signal.SIGINT, signal.SIGTERM):
            os.killpg(process.pid, number)
        process.stdin.write("go\n")
        process.stdin.close()
        assert process.stdout.readline() == "None True\n"
    assert process.returncode == 0
    assert eventually(partial(_gone, pid))
