"""The network: by the proxies that the environment names, and with an end to heads that are sent byte by byte.

>>> Network.__name__
'Network'
"""

import re
import ssl
import threading
import time
from typing import Any, Final

import httpcore
import httpx

from imagepipe.errors import SettingsError

__all__ = ["Network"]

# What of an operating system's words tells people nothing.
_NUMBER: Final = re.compile(r"^\[Errno -?\d+\] ")


class Network(httpx.BaseTransport):
    """Sends requests once, through a client of its own: httpx chooses proxies in clients only, not in transports.

    Args:
        context: Whom to trust.
        timeout: Longest waits for a connection and between two bytes, in seconds.
        head_s: Longest time from the first byte to the end of an answer's head, in seconds.
        sending_s: Longest time that a request may take to be sent, in seconds.

    Raises:
        SettingsError: The environment names a proxy that cannot be used.
    """

    def __init__(self, context: ssl.SSLContext, timeout: httpx.Timeout, *, head_s: float, sending_s: float) -> None:
        try:
            self._client = httpx.Client(verify=context, trust_env=True, timeout=timeout)
        except (ImportError, ValueError, httpx.InvalidURL):
            # `from None`, and no word of it: the address may hold a password.
            raise SettingsError(
                "the environment names a proxy that cannot be used: in HTTPS_PROXY, HTTP_PROXY or ALL_PROXY"
                " stands no http:// or https:// address, or NO_PROXY is odd",
                hint="write http://host:port there, or unset it; SOCKS proxies are not spoken to",
            ) from None
        self._turn = _Turn(head_s, sending_s)
        for transport in (self._client._transport, *self._client._mounts.values()):  # noqa: SLF001 -- has no public door
            if isinstance(transport, httpx.HTTPTransport):
                pool: Any = transport._pool  # noqa: SLF001 -- as above
                pool._network_backend = _Backend(self._turn)  # noqa: SLF001 -- as above

    def handle_request(self, request: httpx.Request) -> httpx.Response:
        """Returns the answer, its body not read yet."""
        self._turn.begin()
        try:
            return self._client.send(request, stream=True, auth=None, follow_redirects=False)
        finally:
            self._turn.end()

    def close(self) -> None:
        """Closes every connection."""
        self._client.close()


class _Turn(threading.local):
    """How long a request of this thread may still be sent, and the head of its answer be received."""

    def __init__(self, head_s: float, sending_s: float) -> None:
        self._longest_s = {"head": head_s, "sending": sending_s}
        self._ends: dict[str, float] | None = None

    def begin(self) -> None:
        self._ends = {}

    def end(self) -> None:
        """Leaves bodies to whoever reads them."""
        self._ends = None

    def left_s(self, part: str, timeout: float | None) -> float | None:
        """Returns the longest wait for one piece; what is over leaves next to none."""
        if self._ends is None:
            return timeout
        end = self._ends.setdefault(part, time.monotonic() + self._longest_s[part])
        left_s = max(end - time.monotonic(), 0.001)
        return left_s if timeout is None else min(timeout, left_s)


class _Backend(httpcore.SyncBackend):
    def __init__(self, turn: _Turn) -> None:
        self._turn = turn

    def connect_tcp(self, host: str, port: int, *args: Any, **kwargs: Any) -> httpcore.NetworkStream:
        try:
            return _Stream(super().connect_tcp(host, port, *args, **kwargs), self._turn)
        except (httpcore.ConnectError, httpcore.ConnectTimeout) as error:
            # It may be a proxy's address, or one that we were sent on to.
            place = f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
            raise type(error)(f"{place}: {_NUMBER.sub('', str(error))}") from error


class _Stream(httpcore.NetworkStream):
    def __init__(self, inner: httpcore.NetworkStream, turn: _Turn) -> None:
        self._inner = inner
        self._turn = turn

    def read(self, max_bytes: int, timeout: float | None = None) -> bytes:
        return self._inner.read(max_bytes, self._turn.left_s("head", timeout))

    def write(self, buffer: bytes, timeout: float | None = None) -> None:
        self._inner.write(buffer, self._turn.left_s("sending", timeout))

    def close(self) -> None:
        self._inner.close()

    def start_tls(
        self, ssl_context: ssl.SSLContext, server_hostname: str | None = None, timeout: float | None = None
    ) -> httpcore.NetworkStream:
        return _Stream(self._inner.start_tls(ssl_context, server_hostname, timeout), self._turn)

    def get_extra_info(self, info: str) -> Any:
        return self._inner.get_extra_info(info)
