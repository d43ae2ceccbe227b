"""A process of our own in which sigstore is at hand while this one still gets ready: each has a processor to itself.

Importing sigstore-python is half of what a promotion does before it may touch a host, and all of it is computing. Where
there is no such process, or it has died, the same is done here: nothing depends on it but time.

>>> begun() is None  # only the command line begins one, as the first thing it does
True
"""

import os
import pickle
import signal
import socket
import struct
import sys
import threading
from collections.abc import Sequence
from contextlib import suppress
from time import monotonic
from typing import TYPE_CHECKING, Any, Final

from imagepipe.errors import IdentityError, ImagepipeError

if TYPE_CHECKING:
    from imagepipe.model.evidence import Identity
    from imagepipe.signing.claims import Signed
    from imagepipe.signing.identity import IdentityToken
    from imagepipe.signing.sealed import Certified, KeylessProver
    from imagepipe.signing.trust import SigstoreTrust

__all__ = ["Certificate", "Prover", "Worker", "begin", "begun", "detect_credential", "end", "serve"]

# Longer than all deadlines of one question together: whoever does not answer then is stopped, and has to go.
_ANSWER_S: Final = 300.0
_LENGTH: Final = struct.Struct("!Q")
_STOPPING: Final = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


class Gone(Exception):  # noqa: N818 - no error that anybody is told: the same is done here then
    """There is no worker, or it died before it answered."""


class Worker:
    """The other process, from this one; threads may share it, and are answered one after the other.

    Args:
        channel: What it is asked through; it ends when this closes, however we end.
        pid: Its process id; None where it is no process that has to be ended.
    """

    def __init__(self, channel: socket.socket, pid: int | None = None) -> None:
        channel.settimeout(_ANSWER_S)
        self._channel = channel
        self._pid = pid
        self._turn, self._ending = threading.Lock(), threading.Lock()

    def ask(self, door: str, *arguments: Any) -> Any:
        """Returns what a door of `_Desk` returns there.

        Raises:
            ImagepipeError: What it raises.
            Gone: There is nobody any more.
        """
        with self._turn:
            try:
                _send(self._channel, (door, arguments))
                answer = _received(self._channel)
            except OSError as error:
                self.end()
                raise Gone from error
            except BaseException:
                self.end()  # Ctrl-C: an answer may still come, and would be taken for the next one's
                raise
        if answer is None:
            self.end()
            raise Gone
        refused, value = answer
        if refused is not None:
            raise refused
        return value

    def end(self) -> None:
        """Ends the process at once."""
        self._channel.close()
        with self._ending:
            if self._pid is not None:
                os.kill(self._pid, signal.SIGKILL)
                os.waitpid(self._pid, 0)
                self._pid = None


class Prover:
    """`sealed.KeylessProver`, wherever that is.

    Args:
        trust: The root of trust.

    Raises:
        SettingsError: The trust file does not hold what its type promises.
        UnavailableError: The public Sigstore's keys cannot be refreshed.
    """

    def __init__(self, trust: "SigstoreTrust") -> None:
        self._trust = trust
        self._here: KeylessProver | None = None
        self._turn = threading.Lock()
        try:
            _ask("load", trust)
        except Gone:
            self._ours()

    def prove(self, raw: bytes, trusted: Sequence["Identity"]) -> "Signed":
        """Returns what one of the trusted identities signed.

        Raises:
            VerificationError: The bundle is broken, incomplete, or signed by somebody else.
        """
        if self._here is None:
            with suppress(Gone):
                signed: Signed = _ask("prove", self._trust, raw, tuple(trusted))
                return signed
        return self._ours().prove(raw, trusted)

    def _ours(self) -> "KeylessProver":
        with self._turn:
            if self._here is None:
                self._here = _Desk().prover(self._trust)
            return self._here


class Certificate:
    """`sealed.Certified`, wherever that is: a fresh key that an authority has certified.

    Args:
        trust: The Sigstore that certifies and logs.
        token: Tells the authority who asks.
        timeout_s: Longest wait for one answer of the authority or the log, in seconds.

    Raises:
        IdentityError: The certificate authority does not accept the token, or it expired meanwhile.
        UnavailableError: The certificate authority is away or breaks.
        SettingsError: The trust file cannot be used for signing, or the certificate does not lead back to it.
    """

    def __init__(self, trust: "SigstoreTrust", token: "IdentityToken", timeout_s: float) -> None:
        self.signatory = token.signatory
        self._asked = (trust, token, timeout_s)
        self._here: Certified | None = None
        self._number, left_s = 0, 0.0
        try:
            self._number, left_s = _ask("certify", *self._asked)
        except Gone:
            left_s = self._ours().left_s()
        self._ends: float = monotonic() + left_s

    def left_s(self) -> float:
        """Returns how long the certificate lives still, in seconds."""
        return self._ends - monotonic()

    def sign(self, payloads: Sequence[bytes]) -> tuple[bytes, ...]:
        """Returns one bundle as JSON per payload.

        The key of a worker that has died is gone with it: another one is certified then.

        Raises:
            IdentityError: The certificate has expired.
            UnavailableError: The log is away or breaks.
        """
        if self._here is None:
            with suppress(Gone):
                bundles: tuple[bytes, ...] = _ask("sign", self._number, tuple(payloads))
                return bundles
        return self._ours().sign(payloads)

    def _ours(self) -> "Certified":
        if self._here is None:
            from imagepipe.signing.sealed import Certified  # late: sigstore takes 0.4 s to import

            self._here = Certified(*self._asked)
        return self._here


def detect_credential() -> str | None:
    """Returns `sealed.detect_credential()`, wherever that is; raises IdentityError where the CI system gives none."""
    with suppress(Gone):
        token: str | None = _ask("detect")
        return token
    return _Desk().detect()


def begin() -> bool:
    """Begins a worker that all of this process asks from now on, where that saves time; else nothing.

    Only to be called while there is one thread. On macOS the system's own libraries do not live on in a fork.

    Returns:
        Whether this is the worker, which has nothing left to do.
    """
    if sys.platform != "linux" or len(os.sched_getaffinity(0)) < 2:
        return False
    try:
        ours, theirs = socket.socketpair()
    except OSError:  # as many files are open as may be
        return False
    # Ctrl-C waits until it is clear whose it is: else both of us would tell of it.
    unblocked = signal.pthread_sigmask(signal.SIG_BLOCK, _STOPPING)
    try:
        pid = os.fork()
        if pid != 0:
            theirs.close()
            _BEGUN.append(Worker(ours, pid))
            return False
        for number in _STOPPING:
            signal.signal(number, signal.SIG_IGN)  # when to stop is for the other one to decide
    except OSError:  # there are as many processes as may be
        ours.close()
        theirs.close()
        return False
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, unblocked)
    ours.close()
    _work(theirs)
    return True


def begun() -> Worker | None:
    """Returns the worker of this process, or None."""
    return _BEGUN[-1] if _BEGUN else None


def end() -> None:
    """Ends the worker of this process, if there is one."""
    while _BEGUN:
        _BEGUN.pop().end()


_BEGUN: Final[list[Worker]] = []


def serve(channel: socket.socket) -> None:
    """Answers what comes through the channel until that closes.

    Only what we raise ourselves is answered. Whatever else goes wrong ends this, and happens again where it was asked.
    """
    desk = _Desk()
    while (asked := _received(channel)) is not None:
        door, arguments = asked
        answer: tuple[ImagepipeError | None, Any]
        try:
            answer = None, getattr(desk, door)(*arguments)
        except ImagepipeError as error:
            answer = error, None
        _send(channel, answer)


class _Desk:
    """What is asked for, done in this process: by values that can go from one process to another."""

    def __init__(self) -> None:
        from imagepipe.signing import sealed  # late: sigstore takes 0.4 s to import

        self._sealed = sealed
        self._provers: dict[SigstoreTrust, KeylessProver] = {}
        self._certified: list[Certified] = []

    def prover(self, trust: "SigstoreTrust") -> "KeylessProver":
        if trust not in self._provers:
            self._provers[trust] = self._sealed.KeylessProver(trust)
        return self._provers[trust]

    def load(self, trust: "SigstoreTrust") -> None:
        self.prover(trust)

    def prove(self, trust: "SigstoreTrust", raw: bytes, trusted: Sequence["Identity"]) -> "Signed":
        return self.prover(trust).prove(raw, trusted)

    def certify(self, trust: "SigstoreTrust", token: "IdentityToken", timeout_s: float) -> tuple[int, float]:
        """Returns the number under which to sign, and how long that goes, in seconds."""
        self._certified.append(self._sealed.Certified(trust, token, timeout_s))
        return len(self._certified) - 1, self._certified[-1].left_s()

    def sign(self, number: int, payloads: Sequence[bytes]) -> tuple[bytes, ...]:
        return self._certified[number].sign(payloads)

    def detect(self) -> str | None:
        try:
            return self._sealed.detect_credential()
        except Exception as error:
            raise IdentityError(str(error)) from error


def _work(channel: socket.socket) -> None:
    """Answers until the channel closes."""
    nowhere = os.open(os.devnull, os.O_RDWR)
    for stream in range(3):
        os.dup2(nowhere, stream)  # who reads what the other one writes waits for everybody who could still write
    with channel:
        serve(channel)


def _ask(door: str, *arguments: Any) -> Any:
    worker = begun()
    if worker is None:
        raise Gone
    return worker.ask(door, *arguments)


def _send(channel: socket.socket, what: Any) -> None:
    data = pickle.dumps(what)
    channel.sendall(_LENGTH.pack(len(data)) + data)


def _received(channel: socket.socket) -> Any:
    """Returns what the other side sent, or None where it is gone."""
    length = _all_of(channel, _LENGTH.size)
    data = _all_of(channel, *_LENGTH.unpack(length)) if length else b""
    return pickle.loads(data) if data else None  # noqa: S301 - our own process, through a socket without a name


def _all_of(channel: socket.socket, size: int) -> bytes:
    """Returns so many bytes, or none where the other side is gone before."""
    data = bytearray()
    while len(data) < size:
        piece = channel.recv(size - len(data))
        if not piece:
            return b""
        data += piece
    return bytes(data)
