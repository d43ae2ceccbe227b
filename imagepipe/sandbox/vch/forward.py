"""Passing a request on to dockerd and its answer back, streaming both ways."""

from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import AsyncExitStack

from starlette.requests import Request
from starlette.responses import Response, StreamingResponse

from imagepipe.sandbox.vch.answers import RefusalError
from imagepipe.sandbox.vch.engine import Answer
from imagepipe.sandbox.vch.facade import Facade

_PASSED_UP = ("content-type", "x-docker-container-path-stat")
_PASSED_DOWN = ("content-type", "content-encoding", "x-registry-auth")

Filter = Callable[[AsyncIterator[bytes]], AsyncIterator[bytes]]


async def forward(
    facade: Facade, request: Request, *, through: Filter | None = None, query: Mapping[str, str] | None = None
) -> Response:
    """Returns the engine's answer to the same request; errors become the VCH's, a success streams.

    Args:
        facade: the VCH.
        request: what the client sent, its path without a version.
        through: changes the bytes of a successful answer on their way.
        query: what to ask the engine for instead of what the client did.
    """
    stack = AsyncExitStack()
    below = await stack.enter_async_context(
        facade.engine.stream(
            request.method,
            request.url.path,
            query=request.url.query if query is None else query,
            content=request.stream() if _has_body(request) else None,
            headers={name: request.headers[name] for name in _PASSED_DOWN if name in request.headers},
            endless=True,
        )
    )
    if below.status_code >= 400:
        async with stack:
            raise RefusalError(Answer(below.status_code, await below.aread()).message, below.status_code)
    headers = {name: below.headers[name] for name in _PASSED_UP if name in below.headers}
    if below.status_code in {204, 304} or request.method == "HEAD":
        await stack.aclose()
        return Response(status_code=below.status_code, headers=headers)

    async def body() -> AsyncIterator[bytes]:
        async with stack:
            chunks = below.aiter_raw()
            async for chunk in chunks if through is None else through(chunks):
                yield chunk

    return StreamingResponse(body(), below.status_code, headers)


def _has_body(request: Request) -> bool:
    return "transfer-encoding" in request.headers or request.headers.get("content-length", "0") != "0"
