"""What takes every request at a stand-in of Harbor, old or new."""

from __future__ import annotations

import asyncio
import re
import secrets
from abc import ABC, abstractmethod
from typing import ClassVar

from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response, StreamingResponse
from starlette.types import Receive, Scope, Send

from imagepipe.sandbox.harbor.faults import Faults, Rule


class Front(ABC):
    """An ASGI app that merges slashes, hands out cookies, and lets fault switches have their way.

    Attributes:
        cookies: What the paths begin with whose answers set a cookie.
    """

    cookies: ClassVar[tuple[str, ...]]

    def __init__(self, faults: Faults) -> None:
        self._faults = faults

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serves one request."""
        if "//" in scope["path"]:
            scope = {**scope, "path": re.sub("/{2,}", "/", scope["path"])}
            scope["raw_path"] = re.sub(b"/{2,}", b"/", scope.get("raw_path", scope["path"].encode()))
        request = Request(scope, receive)
        try:
            response = await self._answered(request)
        except ClientDisconnect:
            return
        if request.url.path.startswith(self.cookies):
            response.headers.append("Set-Cookie", f"sid={secrets.token_hex(16)}; Path=/; HttpOnly")
        await response(scope, receive, send)

    @abstractmethod
    async def _answered(self, request: Request) -> Response:
        """Returns what `_switched` does, or the answer that an error becomes."""

    @abstractmethod
    async def _serve(self, request: Request) -> Response:
        """Returns the answer that nobody switched off."""

    @abstractmethod
    def _fault(self, rule: Rule) -> Response:
        """Returns what a fault switch puts in an answer's place."""

    async def _switched(self, request: Request) -> Response:
        """Returns the answer, or what a fault switch puts in its place."""
        self._faults.refresh()
        rule = self._faults.rule(request.method, request.url.path)
        if rule is not None:
            await asyncio.sleep(rule.delay_s)
        if rule is None or not rule.status:
            return await self._serve(request)
        if rule.after:
            await _drained(await self._serve(request))
        return self._fault(rule)


async def _drained(response: Response) -> None:
    """Reads a streamed answer to its end, so that its connection is free again."""
    if isinstance(response, StreamingResponse):
        async for _ in response.body_iterator:
            pass
