"""One promotion per target host at a time on this machine; a lock ends with the process that holds it.

>>> from imagepipe.promote.locking import TargetLocks
>>> TargetLocks.__name__
'TargetLocks'
"""

import fcntl
import json
import os
import pwd
import socket
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager, suppress
from datetime import UTC, datetime
from pathlib import Path
from secrets import token_hex
from typing import IO, Any, Final

from imagepipe.errors import UnavailableError
from imagepipe.model.digest import Digest
from imagepipe.model.host import Target
from imagepipe.settings import state_folder

__all__ = ["TargetLocks", "age_of"]

# Short beside any pull, and long beside the system call.
_STEP_S: Final = 0.25
_HOLDER_BYTES: Final = 4096
# Source: machine-id(5): drawn when the system was installed; not every container has one.
_MACHINE_ID: Final = Path("/etc/machine-id")


class TargetLocks:
    """Advisory locks in files, one per host; who holds one stands in it.

    The system takes a lock back when its holder ends, however it ends, so that none is ever to be broken by hand.

    Args:
        folder: Where the files are; made when it is not there.
        wait_s: How long to wait for another promotion, in seconds.
        pause: Sleeps for a number of seconds.
        machine_id: The file that tells machines apart; it need not be there.
    """

    def __init__(
        self,
        folder: Path,
        *,
        wait_s: float,
        pause: Callable[[float], None] = time.sleep,
        machine_id: Path = _MACHINE_ID,
    ) -> None:
        self._folder = folder
        self._machine_id = machine_id
        self.wait_s = wait_s
        self.pause = pause

    @classmethod
    def of(cls, environ: Mapping[str, str], wait_s: float) -> "TargetLocks":
        """Returns the locks of this user on this machine."""
        return cls(state_folder(environ) / "locks", wait_s=wait_s)

    @property
    def who(self) -> str:
        """Who would hold a lock: user, machine and process."""
        return _name(_ourselves())

    def place(self, host: str) -> str:
        """Returns what names the lock of a host for good: this machine, its folder of locks, and the file in it.

        Nobody else can hold what bears this name while we hold the file. A folder that two machines share, and a
        machine that is a copy of another, make two names all the same.

        Raises:
            UnavailableError: The files cannot be written.
        """
        try:
            self._folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            machine = f"{_once(self._folder / 'id')} {_read(self._machine_id)} {socket.gethostname()}"
        except OSError as error:
            raise _unwritable(host, self._folder, error) from error
        return f"{Digest.of(machine.encode()).short}/{_file_name(host)}"

    @contextmanager
    def holding(self, targets: Sequence[Target]) -> Iterator[None]:
        """Holds the locks of all targets' hosts meanwhile.

        Raises:
            UnavailableError: Another promotion holds one for too long, or the files cannot be written.
        """
        hosts = {target.host: target.name for target in reversed(targets)}
        with ExitStack() as held:
            # In one order everywhere, or two promotions could wait for each other.
            for host in sorted(hosts):
                held.enter_context(self._lock(host, hosts[host]))
            yield

    @contextmanager
    def _lock(self, host: str, name: str) -> Iterator[None]:
        with self._open(host, name) as file:
            self._take(file, name)
            try:
                _write(file, json.dumps(_ourselves()))
            except OSError as error:
                raise _unwritable(name, self._folder / _file_name(host), error) from error
            try:
                yield
            finally:
                # Nobody is named once nobody holds it; closing the file lets go.
                _write(file, "")

    def _open(self, host: str, name: str) -> IO[bytes]:
        path = self._folder / _file_name(host)
        try:
            self._folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            return os.fdopen(os.open(path, os.O_RDWR | os.O_CREAT, 0o600), "r+b", buffering=0)
        except OSError as error:
            raise _unwritable(name, path, error) from error

    def _take(self, file: IO[bytes], name: str) -> None:
        waited_s = 0.0
        while not _taken(file):
            if waited_s >= self.wait_s:
                raise UnavailableError(
                    f"lock target {name}: {_told(file)}; waited {waited_s:g} s",
                    hint="wait until it is done, or end that process: its lock goes with it",
                )
            self.pause(_STEP_S)
            waited_s += _STEP_S


def _taken(file: IO[bytes]) -> bool:
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def _write(file: IO[bytes], text: str) -> None:
    file.seek(0)
    file.truncate()
    file.write(text.encode())


def _ourselves() -> dict[str, Any]:
    since = datetime.now(UTC).isoformat(timespec="seconds")
    return {"pid": os.getpid(), "user": _user(os.getuid()), "host": socket.gethostname(), "since": since}


def _user(uid: int) -> str:
    try:
        return pwd.getpwuid(uid).pw_name
    except KeyError:
        return str(uid)  # a container's user need not have a name


def _told(file: IO[bytes]) -> str:
    """Returns who holds a lock and since when, as its file says."""
    file.seek(0)
    try:
        holder = json.loads(file.read(_HOLDER_BYTES))
        age, who = age_of(holder["since"]), _name(holder)
    except (ValueError, KeyError, TypeError):
        return "another promotion holds it, and does not say which"
    return f"another promotion holds it for {age}: {who}, since {holder['since']}"


def age_of(since: str) -> str:
    """Returns how long ago that was, for people.

    Raises:
        ValueError, TypeError: It is no time with a zone.
    """
    age_s = max(0, round((datetime.now(UTC) - datetime.fromisoformat(since)).total_seconds()))
    units = (("d", 86400), ("h", 3600), ("min", 60))
    unit, size = next(((unit, size) for unit, size in units if age_s >= 3 * size), ("s", 1))
    return f"{age_s // size} {unit}"


def _name(holder: Mapping[str, Any]) -> str:
    return f"{holder['user']}@{holder['host']}, process {holder['pid']}"


def _file_name(host: str) -> str:
    return f"{Digest.of(host.encode()).short}.lock"


def _once(path: Path) -> str:
    """Returns what the file holds for good; whoever comes first draws it."""
    if not path.exists():
        drawn = path.with_name(f"{path.name}.{token_hex(8)}")
        drawn.write_text(token_hex(16), encoding="ascii")
        with suppress(FileExistsError):
            os.link(drawn, path)  # so that it is never seen half written, and never replaced
        drawn.unlink()
    return path.read_text(encoding="ascii")


def _read(path: Path) -> str:
    try:
        return path.read_text(encoding="ascii").strip()
    except OSError:
        return ""


def _unwritable(name: str, path: Path, error: OSError) -> UnavailableError:
    return UnavailableError(
        f"lock target {name}: {path}: {error.strerror}",
        hint="let XDG_STATE_HOME name a folder that can be written",
    )
