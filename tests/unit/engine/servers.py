"""Hosts that answer what a test tells them to, on a loopback port or a socket."""

import socket
import ssl
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path


class Host:
    """Takes connections one after the other and gives each the next answer; the last one is repeated.

    Attributes:
        address: As a Docker host.
        requests: The heads of the requests that came, as text.
    """

    def __init__(
        self, listener: socket.socket, answers: list[bytes | None], tls: ssl.SSLContext | None, drip_s: float = 0.0
    ) -> None:
        self.requests: list[str] = []
        self._listener = listener
        self._answers = answers
        self._tls = tls
        self._drip_s = drip_s
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._serve, daemon=True)
        self._thread.start()
        name = listener.getsockname()
        self.address = f"unix://{name}" if isinstance(name, str) else f"tcp://127.0.0.1:{name[1]}"

    def close(self) -> None:
        self._stop.set()
        with suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        self._thread.join(10)

    def _serve(self) -> None:
        while not self._stop.is_set():
            try:
                connection, _ = self._listener.accept()
            except OSError:
                return
            with connection, suppress(OSError):
                self._talk(connection)

    def _talk(self, plain: socket.socket) -> None:
        plain.settimeout(10)
        with self._tls.wrap_socket(plain, server_side=True) if self._tls else plain as connection:
            self._answer(connection)

    def _answer(self, connection: socket.socket) -> None:
        head = b""
        while b"\r\n\r\n" not in head:
            piece = connection.recv(65536)
            if not piece:
                return
            head += piece
            if head[0] == 0x16:  # a TLS hello to a host without TLS
                break
        self.requests.append(head.decode("latin-1"))
        answer = self._answers.pop(0) if len(self._answers) > 1 else self._answers[0]
        if answer is None:
            self._stop.wait(10)
            return
        if self._drip_s:
            for byte in answer:
                connection.sendall(bytes([byte]))
                if self._stop.wait(self._drip_s):
                    return
        connection.sendall(b"" if self._drip_s else answer)
        with suppress(OSError):
            connection.shutdown(socket.SHUT_RDWR)


@contextmanager
def host(
    *answers: bytes | None, path: Path | None = None, tls: ssl.SSLContext | None = None, drip_s: float = 0.0
) -> Iterator[Host]:
    """Yields a host with these answers, sent at once or with so many seconds between two bytes; None is silence."""
    listener = socket.socket(socket.AF_UNIX if path else socket.AF_INET)
    listener.bind(str(path) if path else ("127.0.0.1", 0))
    listener.listen()
    serving = Host(listener, list(answers), tls, drip_s)
    try:
        yield serving
    finally:
        serving.close()


def answer(body: bytes, status: str = "200 OK", kind: str = "application/json") -> bytes:
    """Returns a whole HTTP answer."""
    head = f"HTTP/1.1 {status}\r\nContent-Type: {kind}\r\nContent-Length: {len(body)}\r\nConnection: close\r\n\r\n"
    return head.encode() + body


def chunked(*pieces: bytes, whole: bool = True) -> bytes:
    """Returns a chunked answer; without its end if it is not whole."""
    head = b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nTransfer-Encoding: chunked\r\n\r\n"
    body = b"".join(b"%x\r\n%s\r\n" % (len(piece), piece) for piece in pieces)
    return head + body + (b"0\r\n\r\n" if whole else b"")
