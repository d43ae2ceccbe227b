"""Sends requests again that may be sent again: a transport round a transport, and a bounded wait for a state.

Law: a POST or PATCH is sent once, but for the POST by which an upload begins; so is a body that cannot be read twice.

>>> RetryTransport(httpx.MockTransport(lambda request: httpx.Response(200))).handle_request(
...     httpx.Request("GET", "https://vic.example/v2/")
... ).status_code
200
"""

import re
import time
from collections.abc import Callable
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from threading import Lock
from typing import Final, TypeVar

import httpx
from tenacity import RetryCallState, RetryError, Retrying
from tenacity.retry import retry_if_result
from tenacity.stop import stop_after_attempt, stop_after_delay
from tenacity.wait import wait_exponential, wait_random, wait_random_exponential

from imagepipe.errors import DeadlineError, UnavailableError
from imagepipe.events import EventSink, Retried, silent
from imagepipe.http.failure import is_unknown_type
from imagepipe.http.redact import redact

__all__ = ["RetryTransport", "settle"]

# Source: RFC 9110 section 9.2.2 "Idempotent Methods"
_IDEMPOTENT: Final = frozenset({"GET", "HEAD", "OPTIONS", "PUT", "DELETE"})
# Where an upload begins or a blob is mounted: one that was begun twice ends by itself, and a mount is there or is not.
# Source: OCI distribution-spec v1.1 "Pushing blobs"; distribution v2.8.2 docs/configuration.md uploadpurging
_UPLOADS: Final = re.compile(r"/v2/.+/blobs/uploads/$")
# Source: RFC 9110 section 15.6; RFC 6585 section 4; Harbor's proxy answers 502 and 504 while a part restarts.
_PASSING: Final = frozenset({429, 502, 503, 504})
# Harbor answers 500 when two clients put the same manifest at once (goharbor/harbor#15048), and the registry does to
# who reads a tag while somebody moves it, or a blob that two of them send: it finds the file empty. The second try
# succeeds.
# Source: distribution v2.8.2 registry/storage/driver/filesystem/driver.go PutContent (written in place).
_RACE: Final = 500
_ATTEMPTS: Final = 4  # 0.5 + 1 + 2 s of waiting outlast a hiccup; a longer outage is the caller's to know
_FIRST_DELAY_S: Final = 0.5
_LONGEST_DELAY_S: Final = 30.0  # also the most that a Retry-After may ask for
_LONGEST_TOTAL_S: Final = 120.0
# Two requests that hang through all their attempts, wherever they are in a row of many.
_LONGEST_IN_VAIN_S: Final = 240.0
_ASKED_AGAIN_S: Final = 30.0  # whoever comes later may find it well again
_BACK_OFF: Final = wait_exponential(multiplier=_FIRST_DELAY_S, max=_LONGEST_DELAY_S) + wait_random(0, _FIRST_DELAY_S)

Result = TypeVar("Result")


class _NotAsked(httpx.ReadTimeout):
    """The host has kept us waiting for too long already."""


class RetryTransport(httpx.BaseTransport):
    """Repeats idempotent requests after connection errors, 429, 502, 503 and 504.

    Under `/v2/` also after 500, for PUT, for manifests, and where it is asked whether a blob is there.
    Waits exponentially with jitter, or as `Retry-After` says, at most 30 s; four attempts and two minutes at most.
    An answer counts once its body is there. Once a host has let us wait in vain for four minutes in all, nothing more
    is asked of it in a row: each of hundreds of requests would take two minutes to fail.

    Args:
        inner: What sends one request once.
        sink: Hears a `Retried` before every wait.
        attempts: How often a request is sent at most.
        sleep: Waits that many seconds.
        clock: A clock that never goes back, in seconds.
    """

    def __init__(
        self,
        inner: httpx.BaseTransport,
        *,
        sink: EventSink = silent,
        attempts: int = _ATTEMPTS,
        sleep: Callable[[float], None] = time.sleep,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._inner = inner
        self._sink = sink
        self._attempts = attempts
        self._sleep = sleep
        self._clock = clock
        self._lock = Lock()
        self._in_vain_s, self._in_vain_until = 0.0, float("-inf")

    def handle_request(self, request: httpx.Request) -> httpx.Response:
        """Returns the first answer that stands, or the last one."""
        if not _may_be_repeated(request):
            return self._patiently(request, self._inner.handle_request)
        return Retrying(
            sleep=self._sleep,
            stop=stop_after_attempt(self._attempts) | stop_after_delay(_LONGEST_TOTAL_S),
            retry=lambda state: _may_pass(request, state),
            wait=_delay_s,
            before_sleep=lambda state: self._before_sleep(request, state),
            retry_error_callback=_last_answer,
        )(self._patiently, request, self._whole)

    def close(self) -> None:
        """Closes the transport inside."""
        self._inner.close()

    def _whole(self, request: httpx.Request) -> httpx.Response:
        response = self._inner.handle_request(request)
        try:
            response.read()
        except BaseException:
            response.close()
            raise
        return response

    def _patiently(self, request: httpx.Request, send: Callable[[httpx.Request], httpx.Response]) -> httpx.Response:
        begun = self._clock()
        with self._lock:
            if self._in_vain_s >= _LONGEST_IN_VAIN_S and begun - self._in_vain_until < _ASKED_AGAIN_S:
                raise _NotAsked(f"it has let us wait for {self._in_vain_s:.0f} s in vain, and is not asked again now")
        try:
            return send(request)
        except (httpx.TimeoutException, DeadlineError):
            ended = self._clock()
            with self._lock:  # threads that wait at the same time lose it once
                self._in_vain_s += max(0.0, ended - max(begun, self._in_vain_until))
                self._in_vain_until = max(ended, self._in_vain_until)
            raise

    def _before_sleep(self, request: httpx.Request, state: RetryCallState) -> None:
        response = _response(state)
        if response is not None:
            response.close()
        delay_s = state.next_action.sleep if state.next_action else 0.0
        what = redact(f"{request.method} {request.url.copy_with(query=None)}")
        self._sink(Retried(what, state.attempt_number, float(delay_s), _reason(state)))


def settle(
    attempt: Callable[[], Result | None],
    what: str,
    *,
    attempts: int = 8,
    sleep: Callable[[float], None] = time.sleep,
    failure: Callable[[], UnavailableError] | None = None,
) -> Result:
    """Calls until something is returned, waiting at random between calls so that rivals fall out of step.

    For states that others change at the same time; the call itself must be safe to repeat.

    Args:
        attempt: Returns None as long as there is nothing.
        what: What we are doing, for the error.
        attempts: How often it is called.
        sleep: Waits that many seconds.
        failure: Makes the error in place of ours.

    Raises:
        UnavailableError: Nothing was returned in `attempts` calls.
    """
    repeated = Retrying(
        sleep=sleep,
        stop=stop_after_attempt(attempts),
        retry=retry_if_result(lambda result: result is None),
        wait=wait_random_exponential(multiplier=0.1, max=3.0),
    )
    try:
        result = repeated(attempt)
    except RetryError as error:
        if failure is not None:
            raise failure() from error
        raise UnavailableError(f"{what}: not done after {attempts} attempts", hint="try again") from error
    assert result is not None
    return result


def _may_be_repeated(request: httpx.Request) -> bool:
    repeatable = request.method in _IDEMPOTENT or (request.method == "POST" and bool(_UPLOADS.match(request.url.path)))
    return repeatable and isinstance(request.stream, httpx.ByteStream)


def _may_pass(request: httpx.Request, state: RetryCallState) -> bool:
    response = _response(state)
    if response is not None:
        return response.status_code in _PASSING or _is_race(request, response)
    error = state.outcome.exception() if state.outcome else None
    if not isinstance(error, httpx.TransportError) or isinstance(error, _FINAL):
        return False
    # A certificate does not become valid by asking again, nor do we become known to a proxy.
    return not any(word in str(error).upper() for word in ("CERTIFICATE", "407 PROXY AUTHENTICATION"))


# Addresses that nobody can ask, and hosts that are not asked any more.
_FINAL: Final = (_NotAsked, httpx.UnsupportedProtocol)


def _is_race(request: httpx.Request, response: httpx.Response) -> bool:
    path = request.url.path
    racing = request.method == "PUT" or "/manifests/" in path or (request.method == "HEAD" and "/blobs/" in path)
    contested = path.startswith("/v2/") and racing
    if not contested or response.status_code != _RACE:
        return False
    response.read()
    return not is_unknown_type(response)


def _delay_s(state: RetryCallState) -> float:
    response = _response(state)
    asked_s = _retry_after_s(response) if response is not None else None
    if asked_s is not None:
        return min(asked_s, _LONGEST_DELAY_S)
    return float(_BACK_OFF(state))


def _retry_after_s(response: httpx.Response) -> float | None:
    """Returns how many seconds `Retry-After` asks to wait, if it can be read. Source: RFC 9110 section 10.2.3."""
    text = response.headers.get("retry-after", "").strip()
    if text.isdecimal():
        return float(text)
    try:
        return max(0.0, (parsedate_to_datetime(text) - datetime.now(UTC)).total_seconds())
    except (ValueError, TypeError, OverflowError):
        return None


def _response(state: RetryCallState) -> httpx.Response | None:
    if state.outcome is None or state.outcome.failed:
        return None
    result: httpx.Response = state.outcome.result()
    return result


def _reason(state: RetryCallState) -> str:
    response = _response(state)
    if response is not None:
        return f"HTTP {response.status_code}"
    error = state.outcome.exception() if state.outcome else None
    return redact(str(error) or type(error).__name__)


def _last_answer(state: RetryCallState) -> httpx.Response:
    assert state.outcome is not None
    response: httpx.Response = state.outcome.result()
    return response
