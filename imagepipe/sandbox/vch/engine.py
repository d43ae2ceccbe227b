"""dockerd below: HTTP over its unix socket, at an API version that it still speaks."""

import json
from collections.abc import AsyncIterable, AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any
from urllib.parse import quote

import httpx

from imagepipe.sandbox.plain import trusting_nobody
from imagepipe.sandbox.vch.answers import RefusalError, from_portlayer

SPOKEN = (1, 25)
"""The version to speak below, unless the engine's own minimum is higher."""

DEADLINE_S = 60.0
"""Seconds for one short call; streams (logs, events, wait, pull) end when the engine ends them."""


@dataclass(frozen=True, slots=True)
class Answer:
    """A short answer of the engine."""

    status: int
    body: bytes

    def json(self) -> Any:
        """Returns the decoded body."""
        return json.loads(self.body)

    def checked(self) -> Any:
        """Returns the decoded body; an error of the engine is passed on as the VCH's refusal."""
        if self.status >= 400:
            raise RefusalError(self.message, self.status)
        return json.loads(self.body) if self.body else None

    @property
    def message(self) -> str:
        """The engine's error text."""
        try:
            return str(json.loads(self.body)["message"])
        except (ValueError, KeyError, TypeError):
            return self.body.decode(errors="replace").strip()


class Engine:
    """One dockerd."""

    def __init__(self, socket_path: str, transport: httpx.AsyncBaseTransport | None = None) -> None:
        self.socket_path = socket_path
        self._version = ""
        self._client = httpx.AsyncClient(
            transport=transport or httpx.AsyncHTTPTransport(uds=socket_path, verify=trusting_nobody()),
            base_url="http://engine",
            headers={"accept-encoding": "identity"},  # bodies are passed on as they are
            timeout=httpx.Timeout(DEADLINE_S, connect=5.0, pool=None),
        )

    async def close(self) -> None:
        """Closes all connections."""
        await self._client.aclose()

    async def version(self) -> str:
        """Returns the API version to speak: 1.25, or the engine's own minimum if that is higher."""
        if not self._version:
            try:
                found = (await self._client.get("/version")).json().get("MinAPIVersion", "1.12")
            except httpx.TransportError as exc:
                raise from_portlayer("the engine does not answer") from exc
            major, _, minor = found.partition(".")
            spoken = max(SPOKEN, (int(major), int(minor)))
            self._version = f"{spoken[0]}.{spoken[1]}"
        return self._version

    async def call(
        self, method: str, path: str, *, query: Mapping[str, str] | None = None, body: object = None
    ) -> Answer:
        """Returns the answer to one short call with an optional JSON body."""
        headers = {"content-type": "application/json"}
        content = b"" if body is None else json.dumps(body).encode()
        async with self.stream(method, path, query=query, content=content, headers=headers) as response:
            return Answer(response.status_code, await response.aread())

    async def get(self, path: str, **query: str) -> Any:
        """Returns the JSON at `path`; an error of the engine becomes a RefusalError."""
        return (await self.call("GET", path, query=query)).checked()

    @asynccontextmanager
    async def stream(
        self,
        method: str,
        path: str,
        *,
        query: Mapping[str, str] | str | None = None,
        content: bytes | AsyncIterable[bytes] | None = None,
        headers: Mapping[str, str] | None = None,
        endless: bool = False,
    ) -> AsyncIterator[httpx.Response]:
        """Yields an answer whose body is still to be read; `endless` lifts the deadline between bytes."""
        url = f"/v{await self.version()}{quote(path, safe='/:@')}"
        timeout = httpx.Timeout(None if endless else DEADLINE_S, connect=5.0, pool=None)
        request = self._client.build_request(
            method, url, params=query or None, content=content, headers=headers, timeout=timeout
        )
        try:
            response = await self._client.send(request, stream=True)
        except httpx.TransportError as exc:
            raise from_portlayer("the engine does not answer") from exc
        try:
            yield response
        finally:
            await response.aclose()
