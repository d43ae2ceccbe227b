"""One way to ask a Harbor something: who we are is proven, locks are waited out, answers are judged by status.

>>> nothing = httpx.MockTransport(lambda request: httpx.Response(200, json=[]))
>>> http = open_client("https://vic.example", transport=nothing)
>>> HarborClient(http, base="/api/v2.0").json(Call("GET", "/projects", "list projects"))
[]
"""

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Final

import httpx

from imagepipe.errors import UnavailableError
from imagepipe.http.client import open_client
from imagepipe.http.failure import asking, refusal
from imagepipe.http.retry import settle
from imagepipe.model.received import json_in

__all__ = ["LOCK_S", "Call", "HarborClient", "decoded", "open_client"]

# A wrong password locks the name for 1.5 s, and the right one fails too. Source: Harbor v2.15.2
# src/core/auth/authenticator.go (frozenTime)
LOCK_S: Final = 1.6
_SAFE: Final = ("GET", "HEAD")
_READS: Final = 4  # a 500 on a read passes within three tries, or stays


@dataclass(frozen=True, slots=True)
class Call:
    """A request.

    Attributes:
        method: The HTTP method.
        path: Below the API's base, its segments encoded.
        what: What we are doing, to what; errors begin with it.
        params: The query.
        body: What goes along as JSON.
        accept: Statuses besides 2xx that are answers; every other one becomes an error.
    """

    method: str
    path: str
    what: str
    params: Mapping[str, str | int | bool] = field(default_factory=dict)
    body: object = field(default=None, repr=False)
    accept: tuple[int, ...] = ()


class HarborClient:
    """Asks one Harbor; may be shared by threads.

    Reads are repeated after a 500; writes are sent once, for `Change` to find out what became of them.

    Args:
        http: A client with Basic credentials, or none.
        base: What every path begins with (`/api/v2.0`).
        sleep: Waits that many seconds.
        clock: A clock that never goes back, in seconds.
    """

    def __init__(
        self,
        http: httpx.Client,
        *,
        base: str,
        sleep: Callable[[float], None] = time.sleep,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._http = http
        self._base = base
        self.sleep = sleep
        self._clock = clock
        self._locked_until = float("-inf")
        self._proven_at: float | None = None

    def call(self, call: Call) -> httpx.Response:
        """Returns an answer of 2xx, or of a status that the call accepts.

        Raises:
            CredentialsError: Harbor does not know us.
            PermissionRefusedError: It does and says no; of projects it also says so when there are none.
            UnavailableError: It broke or is away. A write may have happened all the same.
        """
        response = self._read(call) if call.method in _SAFE else self._send(call)
        if response.is_success or response.status_code in call.accept:
            return response
        if response.status_code == 403 and self._proven_at is None:
            # A right that is missing and a password that is wrong may look alike; this tells.
            self.prove()
        raise refusal(response, call.what)

    def json(self, call: Call) -> Any:
        """Returns what the answer holds.

        Raises:
            UnavailableError: It is no JSON, besides what `call` raises.
        """
        return decoded(self.call(call), call.what)

    def prove(self) -> httpx.Response:
        """Asks who we are: wrong credentials are silently anonymous everywhere else.

        Source: Harbor v2.15.2 src/server/middleware/security/security.go; 412 says that we are a robot.

        Raises:
            CredentialsError: Harbor does not know us.
        """
        response = self.call(Call("GET", "/users/current", "log in to Harbor", accept=(412,)))
        self._proven_at = self._clock()
        return response

    def still_known(self, *, after_s: float = 0.0) -> bool:
        """Tells whether we were known all the time; asks only when the last proof is older than `after_s`.

        False means that answers since then may be those of an anonymous caller, and that we are known again.

        Raises:
            CredentialsError: Harbor does not know us any more.
        """
        if self._proven_at is not None and self._clock() - self._proven_at < after_s:
            return True
        probe = self._request(Call("GET", "/users/current", "log in to Harbor"))
        if probe.status_code != 401:
            self._proven_at = self._clock()
            return True
        self._proven_at = None
        self._locked_until = self._clock() + LOCK_S
        self.prove()
        return False

    def _read(self, call: Call) -> httpx.Response:
        broken: list[httpx.Response] = []

        def attempt() -> httpx.Response | None:
            response = self._send(call)
            if response.status_code != 500:
                return response
            broken.append(response)
            return None

        try:
            return settle(attempt, call.what, attempts=_READS, sleep=self.sleep)
        except UnavailableError:
            if len(broken) < _READS:
                raise
            return broken[-1]

    def _send(self, call: Call) -> httpx.Response:
        response = self._request(call)
        if response.status_code != 401:
            return response
        self._locked_until = self._clock() + LOCK_S
        if self._proven_at is None:
            return response
        # Known before: somebody else's wrong password has locked our name. 401 means that nothing was done.
        response = self._request(call)
        if response.status_code == 401:
            self._locked_until = self._clock() + LOCK_S
        return response

    def _request(self, call: Call) -> httpx.Response:
        left_s = self._locked_until - self._clock()
        if left_s > 0:
            self.sleep(left_s)
        with asking(call.what):
            return self._http.request(
                call.method,
                f"{self._base}{call.path}",
                params={name: _text(value) for name, value in call.params.items()} or None,
                json=call.body,
                headers={"X-Is-Resource-Name": "true", "Accept": "application/json"},
            )


def decoded(response: httpx.Response, what: str) -> Any:
    """Returns the JSON of an answer.

    Raises:
        UnavailableError: It is none.
    """
    try:
        return json_in(response.content)
    except ValueError as error:
        raise UnavailableError(f"{what}: the answer is not JSON", hint="check that harbor.url is Harbor's") from error


def _text(value: str | int | bool) -> str:
    return str(value).lower() if isinstance(value, bool) else str(value)
