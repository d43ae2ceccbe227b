"""The facade's connections: TLS, HTTP by uvicorn, and attach/exec streams that pass through raw.

A client that attaches takes the connection over ("hijacks" it) after the answer's head; such a request is taken out
before uvicorn sees it and its bytes are piped to dockerd's socket in both directions, each closed on its own.
"""

import asyncio
import re
import ssl
from collections.abc import Callable
from typing import Any

import h11
from uvicorn.protocols.http.h11_impl import H11Protocol

from imagepipe.sandbox.vch.answers import RefusalError, from_portlayer
from imagepipe.sandbox.vch.engine import Answer, Engine
from imagepipe.sandbox.vch.execs import OURS, ExecStart, refusal
from imagepipe.sandbox.vch.tables import Tables
from imagepipe.sandbox.vch.tls import HANDSHAKE_S, Channel, TlsTransport
from imagepipe.sandbox.vch.versions import MINIMUM, split

_HIJACKED = re.compile(
    rb"^POST (/(?:v[0-9.]+/)?(?:containers/[^/ ]+/attach|exec/[^/ ]+/start)(?:\?[^ ]*)?) HTTP/1\.1\r\n"
)
_LONGEST_HEAD = 1 << 16
_CHUNK = 1 << 16


class FacadeProtocol(H11Protocol):
    """One connection of a client."""

    def __init__(self, *args: Any, tls: ssl.SSLContext, engine: Engine, tables: Tables, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._engine, self._tables = engine, tables
        self._channel = Channel(tls)
        self._plain: asyncio.Transport | None = None
        self._deadline: asyncio.TimerHandle | None = None
        self._begun = False
        self._head = b""
        self._tunnel: asyncio.Task[None] | None = None
        self._from_client: asyncio.StreamReader | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override] # as uvicorn narrows it
        """Waits for the handshake before HTTP begins."""
        self._plain = transport
        self._deadline = self.loop.call_later(HANDSHAKE_S, transport.abort)

    def data_received(self, data: bytes) -> None:
        """Decrypts; a client without the right certificate gets a TLS alert and no HTTP."""
        plain = self._plain
        if plain is None or plain.is_closing():
            return
        established = self._channel.established
        try:
            closed = self._channel.decrypt(data, self._decrypted)
        except ssl.SSLError:
            plain.write(self._channel.pending())
            plain.close()
            return
        plain.write(self._channel.pending())
        if self._channel.established and not established:
            self._begin(plain)
        if closed:
            self._half_closed()

    def _begin(self, plain: asyncio.Transport) -> None:
        if not self._begun:
            self._begun = True
            if self._deadline is not None:
                self._deadline.cancel()
            super().connection_made(TlsTransport(plain, self._channel))

    def _decrypted(self, data: bytes) -> None:
        if self._plain is not None:
            self._begin(self._plain)
        if self._from_client is not None:
            self._from_client.feed_data(data)
        elif self.conn.their_state is h11.IDLE and self.conn.our_state is h11.IDLE:
            self._head += data
            self._sort()
        else:
            super().data_received(data)

    def _sort(self) -> None:
        end = self._head.find(b"\r\n\r\n")
        if end < 0 and len(self._head) < _LONGEST_HEAD:
            return
        data, self._head = self._head, b""
        match = _HIJACKED.match(data)
        version, path = split(match[1].decode()) if match else (None, "")
        if match is None or (version is not None and version < MINIMUM):
            super().data_received(data)
            return
        self._unset_keepalive_if_required()
        self._from_client = asyncio.StreamReader(limit=_CHUNK, loop=self.loop)
        self._from_client.set_transport(self.transport)
        self._from_client.feed_data(data[end + 4 :])
        rest = data[match.end() : end + 4]
        self._tunnel = self.loop.create_task(self._pipe(path, rest, self._from_client))

    def _half_closed(self) -> None:
        if self._from_client is not None:
            self._from_client.feed_eof()
        elif self._begun:
            self.transport.close()
        elif self._plain is not None:
            self._plain.close()

    def eof_received(self) -> bool:  # type: ignore[override] # uvicorn never keeps its half open
        """Ends the client's half; a stream that was hijacked goes on in the other direction."""
        self._half_closed()
        return self._from_client is not None

    def connection_lost(self, exc: Exception | None) -> None:
        """Ends everything of the connection."""
        if self._deadline is not None:
            self._deadline.cancel()
        if self._tunnel is not None:
            self._tunnel.cancel()
        if self._begun:
            super().connection_lost(exc)

    def shutdown(self) -> None:
        """Ends the connection because the server stops."""
        if self._tunnel is not None:
            self._tunnel.cancel()
            self.transport.close()
        else:
            super().shutdown()

    async def _pipe(self, path: str, rest: bytes, client: asyncio.StreamReader) -> None:
        body = await client.readexactly(min(_plain_length(b"\r\n" + rest) or 0, _LONGEST_HEAD))
        try:
            asked = ExecStart.of(path, rest, body)
            if asked is not None:
                asked.check_known(self._tables)
            version = await self._engine.version()
            reader, writer = await asyncio.open_unix_connection(self._engine.socket_path)
        except (OSError, RefusalError) as exc:
            away = from_portlayer("the engine does not answer")
            self.transport.write(refusal(exc if isinstance(exc, RefusalError) else away))
            self.transport.close()
            return
        writer.write(f"POST /v{version}{path} HTTP/1.1\r\n".encode() + rest + body)
        up = self.loop.create_task(_copy(client, writer))
        try:
            await self._down(reader, asked)
        finally:
            up.cancel()
            writer.close()
            self.transport.close()

    async def _down(self, reader: asyncio.StreamReader, asked: ExecStart | None) -> None:
        try:
            head = await reader.readuntil(b"\r\n\r\n")
        except (asyncio.IncompleteReadError, ConnectionError):
            return
        length, status = _plain_length(head), int(head.split(b" ", 2)[1])
        if asked is not None and length is not None and status >= 400:
            answer = Answer(status, await reader.readexactly(length))
            self.transport.write(asked.refused(self._tables, RefusalError(answer.message, status)))
            return
        self.transport.write(_as_a_vchs(head, final=length is not None))
        while length is None or length > 0:
            chunk = await reader.read(_CHUNK if length is None else min(length, _CHUNK))
            if not chunk or self.transport.is_closing():
                return
            self.transport.write(chunk)
            await self.flow.drain()
            length = None if length is None else length - len(chunk)


async def _copy(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    try:
        while chunk := await reader.read(_CHUNK):
            writer.write(chunk)
            await writer.drain()
        writer.write_eof()
    except (ConnectionError, RuntimeError):
        return  # the engine ended the stream first


def _plain_length(head: bytes) -> int | None:
    """Returns the body's length if this is an ordinary answer, None if the bytes after it are the stream."""
    match = re.search(rb"\r\ncontent-length: *(\d+)\r\n", head, re.IGNORECASE)
    return int(match[1]) if match else None


def _as_a_vchs(head: bytes, *, final: bool) -> bytes:
    """Returns the head of an answer with a VCH's own headers; with a `final` one the connection ends."""
    lines = head.rstrip(b"\r\n").split(b"\r\n")
    dropped = (b"server:", b"api-version:", b"ostype:", b"docker-experimental:", *((b"connection:",) if final else ()))
    kept = [text for text in lines if not text.lower().startswith(dropped)]
    last = b"Connection: close\r\n" if final else b""
    return b"\r\n".join(kept) + b"\r\n" + OURS + last + b"\r\n"


def protocol(tls: ssl.SSLContext, engine: Engine, tables: Tables) -> Callable[..., FacadeProtocol]:
    """Returns the factory that uvicorn calls for each connection."""

    def make(*args: Any, **kwargs: Any) -> FacadeProtocol:
        return FacadeProtocol(*args, tls=tls, engine=engine, tables=tables, **kwargs)

    return make
