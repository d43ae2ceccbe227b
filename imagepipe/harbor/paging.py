"""Reads a list to its end while others change it: complete, each once.

A list is read from the newest id down, so that what is added meanwhile only repeats items at the edges of pages, and
what is deleted shows: then fewer items are found than the first page promised, and the list is read again.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from itertools import count, pairwise
from typing import Any, Final

from imagepipe.errors import UnavailableError
from imagepipe.harbor.client import Call, HarborClient, decoded

__all__ = ["Listing", "every", "rows"]

# The largest that Harbor takes. Source: Harbor v2.15.2 api/v2.0/swagger.yaml (pageSize)
PAGE_SIZE: Final = 100
_PASSES: Final = 6
_STUCK_PAGES: Final = 3  # so many pages with nothing new in a row: the other side does not page
_PROOF_S: Final = 1.0  # a lock of our name lasts 1.5 s, so that asking so often does not miss one
Json = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Listing:
    """A list.

    Attributes:
        path: Below the API's base.
        what: What we are doing, for errors.
        params: Filters, and the order if it can be asked for: newest id first.
        key: The field that holds an item's id.
        open_to_all: Whether an anonymous caller gets a shorter list in place of a refusal.
    """

    path: str
    what: str
    params: Mapping[str, str | int | bool] = field(default_factory=dict)
    key: str = "id"
    open_to_all: bool = False


@dataclass(slots=True)
class _Pass:
    """One reading of a list from its first page to its last."""

    items: dict[int, Json] = field(default_factory=dict)
    complete: bool = False


def every(client: HarborClient, listing: Listing) -> tuple[Json, ...]:
    """Returns every item that was there all the while, each once.

    Raises:
        UnavailableError: The list changes faster than it can be read.
        CredentialsError: Harbor stopped knowing us meanwhile.
    """
    before: set[int] | None = None
    for _ in range(_PASSES):
        found = _read(client, listing)
        if found is None:
            before = None
            continue
        if found.complete or found.items.keys() == before:
            return tuple(found.items.values())
        before = set(found.items)
    raise UnavailableError(f"{listing.what}: the list changes faster than it can be read", hint="try again later")


def rows(client: HarborClient, listing: Listing) -> Iterator[Json]:
    """Yields items as pages come, each once; for lists that only grow, at their front."""
    seen = set[int]()
    for page in count(1):
        found, _ = _page(client, listing, page)
        fresh = [row for row in found if row.get(listing.key) not in seen]
        seen.update(int(row.get(listing.key) or 0) for row in fresh)
        yield from fresh
        if len(found) < PAGE_SIZE or not fresh:
            return


def _read(client: HarborClient, listing: Listing) -> _Pass | None:
    """Returns one reading, or None when part of it may have been answered to an anonymous caller."""
    reading, promised, newest, ordered, stuck = _Pass(), -1, 0, True, 0
    for page in count(1):
        found, total = _page(client, listing, page)
        numbers = [int(row.get(listing.key) or 0) for row in found]
        if page == 1:
            promised, newest = total, max(numbers, default=0)
        ordered = ordered and all(high > low for high, low in pairwise(numbers))
        stuck = 0 if set(numbers) - reading.items.keys() else stuck + 1
        reading.items.update(zip(numbers, found, strict=True))
        short = len(found) < PAGE_SIZE
        if listing.open_to_all and not client.still_known(after_s=0.0 if short else _PROOF_S):
            return None
        if short:
            # One page is one answer: nothing can change within it. What came later was promised by nobody.
            kept = sum(number <= newest for number in reading.items)
            reading.complete = page == 1 or (ordered and kept == promised)
            return reading
        if stuck == _STUCK_PAGES:
            raise UnavailableError(
                f"{listing.what}: page {page} repeats earlier ones", hint="look for a proxy that drops queries"
            )
    raise AssertionError("pages do not end")  # pragma: no cover - count() does not


def _page(client: HarborClient, listing: Listing, page: int) -> tuple[list[Json], int]:
    params = {**listing.params, "page": page, "page_size": PAGE_SIZE}
    response = client.call(Call("GET", listing.path, listing.what, params))
    found = decoded(response, listing.what)
    # Go writes an empty list as null. Source: goharbor/harbor tools/swagger/templates/server/responses.gotmpl
    if not isinstance(found or [], list):
        raise UnavailableError(f"{listing.what}: the answer is no list", hint="check that harbor.url is Harbor's")
    total = response.headers.get("x-total-count", "")
    return [row for row in found or [] if isinstance(row, dict)], int(total) if total.isdecimal() else -1
