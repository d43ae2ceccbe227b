"""Starting processes that outlive us, and ending exactly those: by pid and start time, never by name alone.

Every process carries the sandbox's id in its environment, and every container runs below the sandbox's control
group; so also what was never recorded (a crash between start and record, containerd, shims) is found, and is ours.
"""

import os
import select
import signal
import subprocess
import threading
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path

from imagepipe.errors import UnavailableError
from imagepipe.sandbox.state import ProcessRecord

__all__ = ["ENVIRONMENT_MARK", "Starter", "alive", "end_all", "end_containers", "end_one", "run", "start_time"]

ENVIRONMENT_MARK = "IMAGEPIPE_SANDBOX_WORLD_PROCESS"
_PROC = Path("/proc")
_CHILDREN: dict[int, "subprocess.Popen[bytes]"] = {}  # ours to reap: a zombie would keep its pid while we live
_CHILDREN_LOCK = threading.Lock()


def run(argv: Sequence[str], *, timeout_s: float = 20.0) -> str:
    """Runs a short command and returns what it printed.

    Raises:
        UnavailableError: It is missing, failed or took too long.
    """
    try:
        done = subprocess.run(argv, capture_output=True, text=True, timeout=timeout_s, check=False)
    except (OSError, subprocess.TimeoutExpired) as error:
        raise UnavailableError(f"{' '.join(argv)}: {error}") from None
    if done.returncode != 0:
        said = (done.stderr or done.stdout).strip()[:500]
        raise UnavailableError(f"{' '.join(argv)}: exit {done.returncode}: {said}")
    return done.stdout


class Starter:
    """Starts the processes of one sandbox.

    Args:
        world_id: Written into the environment of each process.
        directory: Their working directory.
    """

    def __init__(self, *, world_id: str, directory: Path) -> None:
        self._world_id, self._directory = world_id, directory
        self._lock, self._closed = threading.Lock(), False

    def close(self) -> None:
        """Makes every later start fail, so that a thread that is still under way starts nothing behind our back."""
        with self._lock:
            self._closed = True

    def start(self, name: str, argv: Sequence[str], log: Path) -> ProcessRecord:
        """Starts a process in a session of its own, its output going to `log`.

        Raises:
            UnavailableError: The program could not be started, or the starter is closed.
        """
        with self._lock:
            if self._closed:
                raise UnavailableError(f"start {name}: the sandbox is being taken down")
            return self._spawn(name, argv, log)

    def _spawn(self, name: str, argv: Sequence[str], log: Path) -> ProcessRecord:
        log.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        environment = {**_clean(os.environ), ENVIRONMENT_MARK: self._world_id, "PYTHONUNBUFFERED": "1"}
        try:
            with log.open("ab") as output:
                # Not waited for here: it outlives us by design, and `end_all` reaps what is still our child.
                child = subprocess.Popen(
                    argv,
                    stdin=subprocess.DEVNULL,
                    stdout=output,
                    stderr=subprocess.STDOUT,
                    cwd=self._directory,
                    env=environment,
                    start_new_session=True,
                )
        except OSError as error:
            raise UnavailableError(f"start {name}: {argv[0]}: {error.strerror}") from None
        with _CHILDREN_LOCK:
            _CHILDREN[child.pid] = child
        return ProcessRecord(name, child.pid, start_time(child.pid) or 0, tuple(argv), str(log))


def _clean(environ: Mapping[str, str]) -> dict[str, str]:
    """Returns the environment without what would lead engines and stand-ins out of the sandbox."""
    lowered = ("http_proxy", "https_proxy", "all_proxy", "no_proxy")
    return {
        name: value
        for name, value in environ.items()
        if name.lower() not in lowered
        and not name.startswith(("DOCKER_", "HARBOR_", "REGISTRY_", "IMAGEPIPE_", "COV_"))
    }


def start_time(pid: int) -> int | None:
    """Returns when a process started, in clock ticks since boot, or None when it is gone or a zombie.

    Source: proc_pid_stat(5), fields 3 (state) and 22 (starttime); the name in field 2 may hold spaces and brackets.
    """
    try:
        fields = (_PROC / str(pid) / "stat").read_text().rpartition(")")[2].split()
    except (OSError, IndexError):
        return None
    return None if fields[0] in "ZX" else int(fields[19])


def alive(record: ProcessRecord) -> bool:
    """Returns whether this very process still runs, not another one with its pid."""
    with _CHILDREN_LOCK:
        child = _CHILDREN.get(record.pid)
    if child is not None and child.poll() is not None:
        return False
    return start_time(record.pid) == record.start_time


def end_one(record: ProcessRecord, *, grace_s: float = 4.0) -> None:
    """Ends one recorded process: TERM, then KILL."""

    def same(pid: int) -> bool:
        return start_time(pid) == record.start_time

    _signal(record.pid, signal.SIGTERM, same)
    _wait(lambda: alive(record), grace_s)
    _signal(record.pid, signal.SIGKILL, same)


def end_containers(cgroup: str) -> None:
    """Kills every process below the sandbox's control group: its containers, which need no graceful end."""
    for pid in _pids():
        if _in_cgroup(pid, cgroup):
            _signal(pid, signal.SIGKILL, lambda pid: _in_cgroup(pid, cgroup))


def end_all(records: Iterable[ProcessRecord], *, world_id: str, grace_s: float = 4.0) -> None:
    """Ends the recorded processes and everything that carries the sandbox's mark: TERM, then KILL.

    Raises:
        UnavailableError: Something of ours does not end even so.
    """
    recorded = {record.pid: record for record in records if alive(record)}

    def same(pid: int) -> bool:
        return start_time(pid) == recorded[pid].start_time

    for pid in recorded:
        _signal(pid, signal.SIGTERM, same)
    _wait(lambda: any(alive(record) for record in recorded.values()), grace_s)
    for pid in recorded:
        _signal(pid, signal.SIGKILL, same)
    for _ in range(3):  # a shim that is being started may appear between the look and the signal
        for pid in marked(world_id):
            _signal(pid, signal.SIGKILL, lambda pid: _is_marked(pid, world_id))
        _wait(lambda: bool(marked(world_id)), grace_s)
    _reap()
    if left := marked(world_id):
        raise UnavailableError(f"sandbox processes {left} do not end", hint="look at them with ps, then run down again")


def marked(world_id: str) -> list[int]:
    """Returns the living processes that carry the sandbox's mark in their environment."""
    return [pid for pid in _pids() if _is_marked(pid, world_id)]


def _pids() -> list[int]:
    return [int(entry.name) for entry in _PROC.iterdir() if entry.name.isdigit()]


def _is_marked(pid: int, world_id: str) -> bool:
    try:
        environment = (_PROC / str(pid) / "environ").read_bytes().split(b"\0")
    except OSError:
        return False
    return f"{ENVIRONMENT_MARK}={world_id}".encode() in environment and start_time(pid) is not None


def _in_cgroup(pid: int, cgroup: str) -> bool:
    try:
        return f":/{cgroup}/" in (_PROC / str(pid) / "cgroup").read_text()
    except OSError:
        return False


def _signal(pid: int, number: signal.Signals, still_ours: Callable[[int], bool]) -> None:
    """Signals a process through a descriptor taken before the check, so that a reused pid is never hit."""
    try:
        descriptor = os.pidfd_open(pid)
    except OSError:
        return
    try:
        if still_ours(pid):
            signal.pidfd_send_signal(descriptor, number)
            if number is signal.SIGKILL:
                select.select([descriptor], [], [], 2.0)
    except ProcessLookupError:
        return
    finally:
        os.close(descriptor)


def _wait(busy: Callable[[], bool], timeout_s: float) -> None:
    deadline = time.monotonic() + timeout_s
    while busy() and time.monotonic() < deadline:
        time.sleep(0.05)


def _reap() -> None:
    with _CHILDREN_LOCK:
        for pid in [pid for pid, child in _CHILDREN.items() if child.poll() is not None]:
            del _CHILDREN[pid]
