"""What a sandbox consists of, written down before it is made, so that any later process can take it down.

The file is rewritten atomically; a lock on the directory itself keeps two owners apart and ends with its owner.
"""

import dataclasses
import fcntl
import json
import os
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from imagepipe.errors import InputError, UnavailableError

__all__ = ["ProcessRecord", "Record", "State", "locked", "write_private"]

# Longer than any fork takes to become another program.
_LOCK_PATIENCE_S: Final = 3.0

SCHEMA = "imagepipe.sandbox.state/v1"


@dataclass(frozen=True, slots=True)
class ProcessRecord:
    """A process that the sandbox started.

    Attributes:
        name: Its name in the sandbox (`vch-a`, `vch-a-engine`, `harbor`, …).
        pid: Its process id.
        start_time: Field 22 of `/proc/<pid>/stat`, in clock ticks since boot; with the pid it names one process.
        argv: How it was started.
        log: Where its output goes.
    """

    name: str
    pid: int
    start_time: int
    argv: tuple[str, ...]
    log: str


@dataclass(frozen=True, slots=True)
class State:
    """The whole record of one sandbox; `phase` is `starting`, `up` or `stopping`.

    `State.of(state.plain()) == state`.

    Attributes:
        endpoints: URLs and sockets of the parts, by name, once they are chosen.
        made_directories: Folders outside of the sandbox that it had to make, removed again when empty.
        engine_networks: Networks made in an engine that the sandbox does not own.
    """

    world_id: str
    flavour: str
    engine: str
    phase: str
    third_octet: int | None = None
    namespaces: tuple[str, ...] = ()
    links: tuple[str, ...] = ()
    processes: tuple[ProcessRecord, ...] = ()
    endpoints: Mapping[str, str] = dataclasses.field(default_factory=dict)
    users: Mapping[str, str] = dataclasses.field(default_factory=dict)
    made_directories: tuple[str, ...] = ()
    engine_networks: tuple[str, ...] = ()

    def plain(self) -> dict[str, Any]:
        """Returns the state as JSON-able data."""
        return {"schema": SCHEMA, **dataclasses.asdict(self)}

    @classmethod
    def of(cls, data: Mapping[str, Any]) -> "State":
        """Returns the state that was written as `data`.

        Raises:
            InputError: The data is not a state of this version.
        """
        if data.get("schema") != SCHEMA:
            raise InputError(f"sandbox state: schema {data.get('schema')!r} is not {SCHEMA}")
        fields = {name: value for name, value in data.items() if name != "schema"}
        try:
            processes = tuple(ProcessRecord(**{**row, "argv": tuple(row["argv"])}) for row in fields.pop("processes"))
            lists = {name: tuple(value) for name, value in fields.items() if isinstance(value, list)}
            return cls(**{**fields, **lists}, processes=processes)
        except (KeyError, TypeError) as error:
            raise InputError(f"sandbox state: {error}") from None


class Record:
    """The state file of a running `up`: every change is on disk before the call returns; threads may share it."""

    def __init__(self, path: Path, state: State) -> None:
        self._path, self._state, self._lock = path, state, threading.Lock()
        self.change(lambda state: state)

    @property
    def state(self) -> State:
        """Returns what was written last."""
        return self._state

    def change(self, make: Callable[[State], State]) -> State:
        """Replaces the state by what `make` returns for it, and returns that."""
        with self._lock:
            self._state = make(self._state)
            write_private(self._path, json.dumps(self._state.plain(), indent=1))
            return self._state

    def add_process(self, record: ProcessRecord) -> None:
        """Adds a process that has just been started, in place of an earlier one of that name."""

        def added(state: State) -> State:
            others = tuple(process for process in state.processes if process.name != record.name)
            return dataclasses.replace(state, processes=(*others, record))

        self.change(added)

    @staticmethod
    def read(path: Path) -> State | None:
        """Returns the state in a file, or None when there is none.

        Raises:
            InputError: The file is not a state.
        """
        try:
            return State.of(json.loads(path.read_text()))
        except (FileNotFoundError, NotADirectoryError):
            return None
        except ValueError as error:
            raise InputError(f"{path}: {error}") from None


def write_private(path: Path, text: str) -> None:
    """Writes a file that only its owner may read, atomically: a reader sees the old text or the new, never a part."""
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    beside = path.with_name(f".{path.name}.{os.getpid()}.{threading.get_ident()}")
    descriptor = os.open(beside, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    with os.fdopen(descriptor, "w") as file:
        file.write(text)
        file.flush()
        os.fsync(file.fileno())
    beside.replace(path)


@contextmanager
def locked(directory: Path) -> Iterator[None]:
    """Holds the directory's lock; the kernel lets go of it when the holder dies.

    Raises:
        UnavailableError: Another process is changing this sandbox.
    """
    descriptor = _open_locked(directory)
    try:
        yield
    finally:
        os.close(descriptor)


def _open_locked(directory: Path) -> int:
    """Returns the held lock. Waits a little: a child of a killed owner holds on to it until it runs its own program."""
    deadline = time.monotonic() + _LOCK_PATIENCE_S
    while True:
        directory.mkdir(mode=0o700, parents=True, exist_ok=True)
        descriptor = os.open(directory, os.O_RDONLY | os.O_DIRECTORY)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            os.close(descriptor)
            if time.monotonic() < deadline:
                time.sleep(0.05)
                continue
            raise UnavailableError(
                f"sandbox in {directory}: another process is starting it or taking it down",
                hint="wait for it to end, or give another directory",
            ) from None
        if _same_directory(descriptor, directory):
            return descriptor
        os.close(descriptor)  # `down` of another process removed it between our open and our lock


def _same_directory(descriptor: int, directory: Path) -> bool:
    try:
        return os.path.samestat(os.fstat(descriptor), directory.stat())
    except FileNotFoundError:
        return False
