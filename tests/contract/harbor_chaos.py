"""A network that loses things: answers 500 and resets, before and after the other side has acted, at random."""

import random
from collections import Counter

import httpx

UNKNOWN = {"errors": [{"code": "UNKNOWN", "message": "internal server error"}]}


class ChaosTransport(httpx.BaseTransport):
    """Spoils a share of requests, the same ones for the same seed.

    Args:
        inner: The network.
        share: Which part of requests is spoilt, 0 … 1.
        seed: Where chance starts.

    Attributes:
        spoilt: How often what happened.
        requests: How many requests came.
    """

    def __init__(self, inner: httpx.BaseTransport, *, share: float, seed: int = 1) -> None:
        self._inner = inner
        self.share = share
        self._random = random.Random(seed)  # noqa: S311 - chance, not secrecy
        self.spoilt: Counter[str] = Counter()
        self.requests = 0

    def handle_request(self, request: httpx.Request) -> httpx.Response:
        self.requests += 1
        if self._random.random() >= self.share:
            return self._inner.handle_request(request)
        fate = self._random.choice(("500 before", "500 after", "reset before", "reset after"))
        self.spoilt[f"{fate} {request.method}"] += 1
        if fate.endswith("after"):
            self._inner.handle_request(request).read()
        if fate.startswith("reset"):
            raise httpx.ReadError("[Errno 104] Connection reset by peer", request=request)
        return httpx.Response(500, json=UNKNOWN, request=request)

    def close(self) -> None:
        self._inner.close()
