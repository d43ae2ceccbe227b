"""Ends an answer that does not end: a host that sends a byte a minute is never silent, and never done.

>>> Until().left_s()
inf
"""

import io
import socket
from collections.abc import Callable
from time import monotonic
from typing import Any, Final, cast

from urllib3.connection import HTTPConnection, HTTPSConnection
from urllib3.connectionpool import HTTPConnectionPool, HTTPSConnectionPool

__all__ = ["TOO_LONG", "Until", "pools"]

TOO_LONG: Final = "the answer did not end in time"
_NEVER: Final = float("inf")


class Until:
    """The moment up to which answers are read; whoever asks next sets it anew."""

    def __init__(self) -> None:
        self._at = _NEVER

    def within(self, seconds: float | None) -> None:
        """Sets it so many seconds from now; None: there is no such moment."""
        self._at = _NEVER if seconds is None else monotonic() + seconds

    def left_s(self) -> float:
        """Returns how many seconds are left."""
        return self._at - monotonic()


def pools(until: Until, check: Callable[[socket.socket], None] | None = None) -> dict[str, Any]:
    """Returns the classes of urllib3's pools, by scheme, whose connections read up to that moment.

    Args:
        until: The moment, as it is when something is read.
        check: Raises where a connection over TLS may not be used, before it carries anything.
    """

    class Connection(HTTPConnection):
        def connect(self) -> None:
            super().connect()
            self.sock = _clocked(self.sock, until)

    class SecuredConnection(HTTPSConnection):
        def connect(self) -> None:
            super().connect()
            try:
                if check is not None:
                    check(cast("socket.socket", self.sock))
            except BaseException:
                self.close()
                raise
            self.sock = _clocked(self.sock, until)

    class Pool(HTTPConnectionPool):
        ConnectionCls = Connection

    class SecuredPool(HTTPSConnectionPool):
        ConnectionCls = SecuredConnection

    return {"http": Pool, "https": SecuredPool}


def _clocked(plain: socket.socket | None, until: Until) -> socket.socket:
    return cast("socket.socket", _Socket(plain, until))


class _Socket:
    """A socket but for what is made of it to read answers from. Source: http.client.HTTPResponse.__init__."""

    def __init__(self, inner: Any, until: Until) -> None:
        self._inner = inner
        self._until = until

    def __getattr__(self, name: str) -> Any:
        return getattr(self._inner, name)

    def makefile(self, mode: str) -> io.BufferedReader:
        return io.BufferedReader(_Reads(self._inner.makefile(mode, buffering=0), self._inner, self._until))


class _Reads(io.RawIOBase):
    """What a socket receives: no single wait is longer than what is left, nor than the socket's own."""

    def __init__(self, received: io.RawIOBase, inner: socket.socket, until: Until) -> None:
        self._received = received
        self._inner = inner
        self._until = until

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int | None:
        left_s, silence_s = self._until.left_s(), self._inner.gettimeout()
        last = silence_s is None or left_s < silence_s
        if last and left_s <= 0:
            raise TimeoutError(TOO_LONG)
        self._inner.settimeout(left_s if last else silence_s)
        try:
            return cast("int | None", self._received.readinto(buffer))
        except TimeoutError as error:
            raise TimeoutError(TOO_LONG if last else str(error)) from error
        finally:
            self._inner.settimeout(silence_s)

    def close(self) -> None:
        self._received.close()
        super().close()
