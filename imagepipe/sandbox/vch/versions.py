"""The API version in the path, and the headers that every routed answer carries."""

import re
from typing import Any

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from imagepipe.sandbox.vch.answers import error_response

# Source: VIC v1.5.8 pkg/version/version.go:39-43
API_VERSION = "1.25"
MINIMUM = (1, 19)
MINIMUM_VERSION = "1.19"

_HEADERS = [(b"server", f"Docker/{API_VERSION} (linux)".encode()), (b"api-version", API_VERSION.encode())]
_VERSIONED = re.compile(r"^/v(\d+)\.(\d+)(/.*)$")

UNROUTED = b"x-unrouted"
"""Marks the answer of a path that no router knows: it leaves without the version headers."""


def split(path: str) -> tuple[tuple[int, int] | None, str]:
    """Returns the API version of a path (None if there is none) and the path without it."""
    match = _VERSIONED.match(path)
    if match is None:
        return None, path
    return (int(match[1]), int(match[2])), match[3]


class VersionGate:
    """Takes the version off the path; refuses what is too old, lets through what is too new."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Runs the app behind the gate."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        version, path = split(scope["path"])
        state: dict[str, Any] = {**scope.get("state", {}), "api_version": version}
        scope = {**scope, "path": path, "raw_path": path.encode(), "state": state}
        if version is not None and version < MINIMUM:
            # Source: docker 1.13 api/server/middleware/version.go:39; the headers are set only after this check
            text = (
                f"client version {version[0]}.{version[1]} is too old. Minimum supported API version is "
                f"{MINIMUM_VERSION}, please upgrade your client to a newer version"
            )
            await error_response(version, 400, text)(scope, receive, send)
            return

        async def send_marked(message: Message) -> None:
            if message["type"] == "http.response.start":
                message["headers"] = marked(list(message["headers"]))
            await send(message)

        await self._app(scope, receive, send_marked)


def marked(headers: list[tuple[bytes, bytes]]) -> list[tuple[bytes, bytes]]:
    """Returns the headers of an answer as a VCH sends them."""
    if any(name == UNROUTED for name, _ in headers):
        return [pair for pair in headers if pair[0] != UNROUTED]
    return [pair for pair in headers if pair[0] not in {b"server", b"api-version"}] + _HEADERS
