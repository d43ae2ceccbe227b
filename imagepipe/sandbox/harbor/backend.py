"""The real docker-registry behind Harbor: streamed both ways, never buffered."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping
from typing import TypeVar
from urllib.parse import urlsplit, urlunsplit

import httpx
from starlette.requests import Request
from starlette.responses import Response, StreamingResponse

from imagepipe.sandbox.plain import trusting_nobody

CONNECT_S = 5.0
# nginx gives /v2 this long. Source: goharbor/harbor v2.15.2 make/photon/prepare/templates/nginx.
READ_S = 900.0
CHUNK = 256 * 1024
_HOP_BY_HOP = frozenset(
    {"connection", "keep-alive", "proxy-connection", "te", "trailer", "transfer-encoding", "upgrade"}
)
# The caller's credentials and cookies are Harbor's business; the registry trusts its proxy.
_NOT_RETURNED = _HOP_BY_HOP | {"date"}
_NOT_FORWARDED = _HOP_BY_HOP | {"authorization", "cookie", "expect"}


ResponseT = TypeVar("ResponseT", bound=Response)


class Backend:
    """Requests to one registry over kept connections."""

    def __init__(self, url: str, scheme: str) -> None:
        self._url = url.rstrip("/")
        self._scheme = scheme
        timeout = httpx.Timeout(READ_S, connect=CONNECT_S)
        self._client = httpx.AsyncClient(
            verify=trusting_nobody(),
            timeout=timeout,
            limits=httpx.Limits(max_connections=None),
            trust_env=False,
        )
        # The client's own headers only: an Accept of ours could change which manifest is served.
        self._client.headers.clear()

    async def close(self) -> None:
        """Closes all connections."""
        await self._client.aclose()

    async def forward(self, request: Request, *, path: str | None = None) -> Response:
        """Returns the registry's answer to `request`, its body and the answer's both streamed.

        Args:
            request: The client's request; its Host goes along, so that Locations stay on the external URL.
            path: Another path, already percent-encoded, instead of the request's.
        """
        answer = await self._send(request, path, None)
        return self._dressed(request, answer, StreamingResponse(_chunks(answer), status_code=answer.status_code))

    async def fetch(self, request: Request, path: str, body: bytes = b"") -> Response:
        """Returns the registry's answer, read in full, to a request whose body is at hand: manifests only."""
        answer = await self._send(request, path, body)
        return self._dressed(request, answer, Response(await answer.aread(), status_code=answer.status_code))

    async def write(self, method: str, path: str, content: bytes, kind: str) -> int:
        """Returns the status of a request of Harbor's own, whose body is at hand; `kind` is its media type."""
        headers = {"Content-Type": kind}
        return (await self._client.request(method, self._url + path, content=content, headers=headers)).status_code

    async def read(self, path: str, limit: int, accept: str = "") -> bytes:
        """Returns at most `limit` bytes of something small, empty when the registry does not have it."""
        data, headers = b"", {"Accept": accept} if accept else {}
        async with self._client.stream("GET", self._url + path, headers=headers) as answer:
            if answer.status_code != 200:
                return b""
            async for chunk in answer.aiter_raw():
                data += chunk
                if len(data) >= limit:
                    break
        return data[:limit]

    async def _send(self, request: Request, path: str | None, body: bytes | None) -> httpx.Response:
        raw_path = path or request.scope.get("raw_path", request.url.path.encode()).decode().partition("?")[0]
        query = request.scope["query_string"].decode()
        headers = [(k, v) for k, v in request.headers.raw if k.decode() not in _NOT_FORWARDED]
        headers.append((b"x-forwarded-proto", self._scheme.encode()))
        content: bytes | AsyncIterator[bytes] | None = body
        if body is not None:
            headers = [(k, v) for k, v in headers if k != b"content-length"]
        elif _has_body(request.headers):
            content = _joined(request.stream())
        url = httpx.URL(self._url + raw_path + (f"?{query}" if query else ""))
        sent = self._client.build_request(request.method, url, headers=headers, content=content)
        return await self._client.send(sent, stream=True)

    def _dressed(self, request: Request, answer: httpx.Response, response: ResponseT) -> ResponseT:
        """Returns `response` with the registry's own headers."""
        response.raw_headers = [
            (name.lower(), self._external(request, name, value))
            for name, value in answer.headers.raw
            if name.decode().lower() not in _NOT_RETURNED
        ]
        return response

    def _external(self, request: Request, name: bytes, value: bytes) -> bytes:
        """Returns a header's value with a Location on the URL that the client uses; its query stays."""
        if name.lower() != b"location":
            return value
        parts = urlsplit(value.decode())
        host = request.headers.get("host", "") or urlsplit(str(request.url)).netloc
        return urlunsplit((self._scheme, host, parts.path, parts.query, "")).encode()


def _has_body(headers: Mapping[str, str]) -> bool:
    return "transfer-encoding" in headers or headers.get("content-length", "0") != "0"


async def _chunks(answer: httpx.Response) -> AsyncIterator[bytes]:
    try:
        async for chunk in _joined(answer.aiter_raw()):
            yield chunk
    finally:
        await answer.aclose()


async def _joined(stream: AsyncIterator[bytes]) -> AsyncIterator[bytes]:
    """Yields a stream's bytes in pieces of at least CHUNK: fewer, larger writes cost less than many small ones."""
    parts: list[bytes] = []
    size = 0
    async for part in stream:
        parts.append(part)
        size += len(part)
        if size >= CHUNK:
            yield b"".join(parts)
            parts, size = [], 0
    if parts:
        yield b"".join(parts)
