"""How a VCH refuses to start an exec: as an error, or inside of a stream that it has already opened.

Source: docker 1.13 api/server/router/container/exec.go:61-122; VIC v1.5.8 backends/container.go:504-560.
"""

import json
import re
import struct
from dataclasses import dataclass

from imagepipe.sandbox.vch.answers import RefusalError
from imagepipe.sandbox.vch.bodies import EXEC_START, decoded
from imagepipe.sandbox.vch.tables import Tables
from imagepipe.sandbox.vch.verbs import stopped
from imagepipe.sandbox.vch.versions import API_VERSION

_START = re.compile(r"^/exec/([^/?]+)/start")
_REASONS = {400: "Bad Request", 404: "Not Found", 409: "Conflict", 500: "Internal Server Error"}
OURS = f"Api-Version: {API_VERSION}\r\nServer: Docker/{API_VERSION} (linux)\r\n".encode()
"""The headers that every routed answer carries."""


@dataclass(frozen=True, slots=True)
class ExecStart:
    """One request to start an exec, and how its caller wants to be answered."""

    name: str
    detached: bool
    terminal: bool
    upgraded: bool

    @classmethod
    def of(cls, path: str, head: bytes, body: bytes) -> "ExecStart | None":
        """Returns the request in a path without version, the head's other lines and the body; None if it is another.

        Raises:
            RefusalError: 500: the body is no JSON object of the right kinds.
        """
        found = _START.match(path)
        if found is None:
            return None
        asked = decoded(body, EXEC_START)
        upgraded = re.search(rb"(?im)^upgrade:", head) is not None
        return cls(found[1], bool(asked.get("Detach")), bool(asked.get("Tty")), upgraded)

    def check_known(self, tables: Tables) -> None:
        """Checks that a container owns this exec.

        Raises:
            RefusalError: 404.
        """
        if self.name not in tables.execs:
            raise RefusalError(f"No such container: {self.name}", 404)

    def refused(self, tables: Tables, error: RefusalError) -> bytes:
        """Returns the whole answer where the engine refused: it forgets an exec when its container stops."""
        owner = tables.execs.get(self.name, "")
        if not (error.status == 404 or "is not running" in error.message):
            return refusal(error)
        if self.detached:
            return refusal(stopped(owner))
        text = f"{stopped(owner).message}\r\n".encode()
        frame = text if self.terminal else struct.pack(">BxxxI", 1, len(text)) + text
        return self._stream_head() + frame

    def _stream_head(self) -> bytes:
        kind = b"Content-Type: application/vnd.docker.raw-stream\r\n"
        if self.upgraded:
            return b"HTTP/1.1 101 UPGRADED\r\n" + kind + b"Connection: Upgrade\r\nUpgrade: tcp\r\n" + OURS + b"\r\n"
        return b"HTTP/1.1 200 OK\r\n" + kind + OURS + b"\r\n"


def refusal(error: RefusalError) -> bytes:
    """Returns an error as a whole answer; the connection ends with it."""
    body = json.dumps({"message": error.message}).encode() + b"\n"
    head = f"HTTP/1.1 {error.status} {_REASONS.get(error.status, 'Error')}\r\nContent-Type: application/json\r\n"
    return head.encode() + OURS + f"Content-Length: {len(body)}\r\nConnection: close\r\n\r\n".encode() + body
