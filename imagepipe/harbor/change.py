"""Carries one change through: looks, writes what is missing, and looks again, whatever became of the answer."""

from collections.abc import Callable, Sequence
from typing import Final, TypeVar

import httpx

from imagepipe.errors import ImagepipeError, RefusedError, UnavailableError
from imagepipe.harbor.client import Call, HarborClient
from imagepipe.http.retry import settle
from imagepipe.model.access import Member

__all__ = ["Change", "one_of", "unchanged"]

_ATTEMPTS: Final = 6  # two seconds or so of waiting at random

Result = TypeVar("Result")


class Change:
    """One change of Harbor's state.

    Law: a write is sent again only after a look that shows that it has not happened.

    Args:
        client: The Harbor.
        what: What we are doing, to what.
    """

    def __init__(self, client: HarborClient, what: str) -> None:
        self._client = client
        self._what = what
        self._failure: ImagepipeError | None = None

    @property
    def in_doubt(self) -> bool:
        """Whether some write got no answer, and may have happened."""
        return self._failure is not None

    def write(self, call: Call) -> httpx.Response | None:
        """Returns the answer of a write, or None when only a look can tell whether it happened."""
        try:
            return self._client.call(call)
        except UnavailableError as error:
            self._failure = error
            return None

    def until(self, attempt: Callable[[], Result | None]) -> Result:
        """Calls `attempt`, which looks and then writes what is missing, until it returns something.

        Raises:
            UnavailableError: Harbor kept failing.
            RefusedError: Every write was answered well, and nothing came of it.
        """
        looks: list[ImagepipeError] = []

        def guarded() -> Result | None:
            try:
                return attempt()
            except UnavailableError as error:
                looks.append(error)
                raise

        try:
            return settle(guarded, self._what, attempts=_ATTEMPTS, sleep=self._client.sleep)
        except UnavailableError as error:
            if looks:
                raise
            if self._failure is not None:
                raise self._failure from error
            raise RefusedError(
                f"{self._what}: Harbor took it {_ATTEMPTS} times and did not keep it",
                hint="look in the audit log for somebody else who changes it too",
            ) from error


def one_of(found: Sequence[Member], handle: str, what: str) -> Member | None:
    """Returns the only one, or the one with that handle.

    Raises:
        RefusedError: There are more, and it is none of them.
    """
    if len(found) < 2:
        return found[0] if found else None
    mine = [member for member in found if member.handle == handle]
    if not mine:
        raise RefusedError(f"{what}: {len(found)} members have that name", hint="list the members again")
    return mine[0]


def unchanged(there: Member, known: Member, what: str) -> Member:
    """Returns a member as it is, whose role is what the caller knows: another one was given for a reason.

    Raises:
        RefusedError: It is another by now.
    """
    if there.role is not known.role:
        raise RefusedError(
            f"{what}: it was {known.role}, and somebody has made it {there.role} meanwhile", hint="look at it again"
        )
    return there
