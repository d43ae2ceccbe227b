"""The only place that starts threads: one function over many items, bounded, in order.

>>> [outcome.result for outcome in each([1, 2, 3], lambda n: n * n, jobs=2)]
[1, 4, 9]
"""

from collections.abc import Callable, Hashable, Iterable, Mapping
from concurrent.futures import Future, ThreadPoolExecutor, wait
from dataclasses import dataclass
from typing import Generic, TypeVar, cast

from imagepipe.errors import DeadlineError, ImagepipeError

__all__ = ["Outcome", "begin", "begin_each", "each", "within"]

Item = TypeVar("Item")
Key = TypeVar("Key", bound=Hashable)
Result = TypeVar("Result")


@dataclass(frozen=True, slots=True)
class Outcome(Generic[Item, Result]):
    """What became of one item: exactly one of `result` and `error` speaks.

    Attributes:
        item: What the function was called with.
        result: What it returned, or None.
        error: The `ImagepipeError` that it raised, or None.
    """

    item: Item
    result: Result | None = None
    error: ImagepipeError | None = None

    def unwrap(self) -> Result:
        """Returns the result.

        Raises:
            ImagepipeError: The error, when there is one.
        """
        if self.error is not None:
            raise self.error
        return cast("Result", self.result)


def each(items: Iterable[Item], function: Callable[[Item], Result], *, jobs: int) -> tuple[Outcome[Item, Result], ...]:
    """Calls the function on every item in at most `jobs` threads.

    Our own errors become outcomes, so that one target cannot stop another; any other exception is a bug
    and is raised once all started calls have ended. Ctrl-C cancels what has not started.

    Returns:
        One outcome per item, in the order of the items.
    """
    pool = ThreadPoolExecutor(max_workers=max(1, jobs), thread_name_prefix="fanout")
    try:
        futures = [(item, pool.submit(_guarded, function, item)) for item in items]
        wait([future for _, future in futures])
        return tuple(future.result() for _, future in futures)
    finally:
        pool.shutdown(wait=False, cancel_futures=True)


def begin(function: Callable[[], Result]) -> Callable[[], Result]:
    """Begins a call whose result is wanted later, and returns what waits for it; deadlines are the function's own.

    Whoever waits is told what the function returns or raises, again and again; nobody has to.
    """
    return begin_each([None], lambda _: function(), jobs=1)[None]


def begin_each(
    items: Iterable[Key], function: Callable[[Key], Result], *, jobs: int
) -> Mapping[Key, Callable[[], Result]]:
    """Begins a call for every item in at most `jobs` threads, and returns what waits for each; see `begin`."""
    pool = ThreadPoolExecutor(max_workers=max(1, jobs), thread_name_prefix="ahead")
    try:
        return {item: pool.submit(function, item).result for item in items}
    finally:
        pool.shutdown(wait=False)


def within(timeout_s: float, what: str, function: Callable[[], Result]) -> Result:
    """Calls a function that has no deadline of its own, and stops waiting after `timeout_s` seconds.

    The abandoned call may still end later; nothing is read from it then.

    Raises:
        DeadlineError: The function did not return in time.
    """
    pool = ThreadPoolExecutor(max_workers=1, thread_name_prefix="deadline")
    try:
        future: Future[Result] = pool.submit(function)
        done, _ = wait([future], timeout=timeout_s)
        if not done:
            raise DeadlineError(f"{what}: no answer within {timeout_s:g} s", hint="check that it is reachable")
        return future.result()
    finally:
        pool.shutdown(wait=False, cancel_futures=True)


def _guarded(function: Callable[[Item], Result], item: Item) -> Outcome[Item, Result]:
    try:
        return Outcome(item, result=function(item))
    except ImagepipeError as error:
        return Outcome(item, error=error)
