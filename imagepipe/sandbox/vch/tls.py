"""Mutual TLS 1.2 that can be closed in one direction only.

docker closes its half of a hijacked connection when stdin ends and goes on reading. asyncio's own TLS ends both halves
at once, which would cut the output off, so the records are made here, over plain transports.
"""

import asyncio
import ssl
from collections.abc import Callable
from contextlib import suppress
from typing import Any

from imagepipe.sandbox.vch.config import Config

HANDSHAKE_S = 10.0
"""Seconds a client may take for its handshake."""

_CHUNK = 1 << 16


def server_context(config: Config) -> ssl.SSLContext:
    """Returns the listener's context: TLS 1.2 exactly, client certificates required if a CA is named.

    Source: VIC v1.5.8 cmd/docker/main.go:240-268; Go 1.8 knows no TLS 1.3.
    """
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = context.maximum_version = ssl.TLSVersion.TLSv1_2
    context.load_cert_chain(config.cert_file, config.key_file)
    if config.client_ca_file:
        context.verify_mode = ssl.CERT_REQUIRED
        context.load_verify_locations(config.client_ca_file)
    return context


class TlsTransport(asyncio.Transport):
    """What the HTTP protocol writes to: encrypts, and passes everything else to the plain transport."""

    def __init__(self, plain: asyncio.Transport, channel: "Channel") -> None:
        super().__init__()
        self._plain = plain
        self._channel = channel

    def write(self, data: "bytes | bytearray | memoryview[Any]") -> None:
        """Sends `data` encrypted."""
        if data and not self._plain.is_closing():
            self._plain.write(self._channel.encrypt(bytes(data)))

    def close(self) -> None:
        """Says goodbye in TLS, then closes when everything is written."""
        if not self._plain.is_closing():
            self._plain.write(self._channel.goodbye())
            self._plain.close()

    def abort(self) -> None:
        """Closes at once."""
        self._plain.abort()

    def is_closing(self) -> bool:
        """Returns whether the connection is closed or closing."""
        return self._plain.is_closing()

    def pause_reading(self) -> None:
        """Stops the peer's bytes."""
        if self._plain.is_reading():
            self._plain.pause_reading()

    def resume_reading(self) -> None:
        """Lets the peer's bytes in again."""
        if not self._plain.is_closing() and not self._plain.is_reading():
            self._plain.resume_reading()

    def get_extra_info(self, name: str, default: Any = None) -> Any:
        """Returns the plain transport's facts, and that this is TLS."""
        if name == "sslcontext":
            return self._channel.context
        return self._plain.get_extra_info(name, default)


class Channel:
    """One TLS session between memory buffers."""

    def __init__(self, context: ssl.SSLContext) -> None:
        self.context = context
        self.established = False
        self._incoming, self._outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
        self._session = context.wrap_bio(self._incoming, self._outgoing, server_side=True)

    def decrypt(self, data: bytes, received: Callable[[bytes], None]) -> bool:
        """Feeds records; hands plain bytes to `received`; returns whether the peer closed its half.

        Raises:
            ssl.SSLError: the records are no TLS, or the client's certificate is refused; see `pending` for the alert.
        """
        self._incoming.write(data)
        try:
            if not self.established:
                self._session.do_handshake()
                self.established = True
            while chunk := self._session.read(_CHUNK):
                received(chunk)
        except (ssl.SSLWantReadError, ssl.SSLWantWriteError):
            return False
        except ssl.SSLZeroReturnError:
            return True
        return True

    def pending(self) -> bytes:
        """Returns the records that the session wants to send."""
        return self._outgoing.read()

    def encrypt(self, data: bytes) -> bytes:
        """Returns `data` as records."""
        self._session.write(data)
        return self.pending()

    def goodbye(self) -> bytes:
        """Returns the closing alert."""
        with suppress(ssl.SSLError):  # the peer need not have answered
            self._session.unwrap()
        return self.pending()
