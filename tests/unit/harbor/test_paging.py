from collections.abc import Callable, Iterator, Sequence
from itertools import count

import httpx
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from imagepipe.errors import CredentialsError, UnavailableError
from imagepipe.harbor.paging import PAGE_SIZE, Listing, every, rows
from tests.unit.harbor.fake import FakeHarbor, Json, paged, refused

LISTING = Listing("/things", "list things", {"sort": "-id"})


class Things:
    """A list that somebody changes between requests."""

    def __init__(self, size: int, changes: Sequence[Callable[["Things"], None]] = ()) -> None:
        self.harbor = FakeHarbor(answers={"GET /things": self.answer})
        self.items: list[Json] = [{"id": number} for number in range(size, 0, -1)]
        self.next_id = count(size + 1)
        self.changes = iter(changes)
        self.ordered = True
        self.totals = True

    def answer(self, request: httpx.Request) -> httpx.Response:
        response = paged(request, self.items if self.ordered else sorted(self.items, key=lambda item: str(item["id"])))
        if not self.totals:
            del response.headers["X-Total-Count"]
        for change in self.changes:
            change(self)
            break
        return response

    def read(self) -> list[int]:
        return [item["id"] for item in every(self.harbor.client(), LISTING)]


def add(things: Things) -> None:
    things.items.insert(0, {"id": next(things.next_id)})


def delete(position: int) -> Callable[[Things], None]:
    def change(things: Things) -> None:
        if things.items:
            del things.items[position % len(things.items)]

    return change


def nothing(things: Things) -> None:
    pass


@pytest.mark.parametrize("size", [0, 1, 99, 100, 101, 200, 250])
def test_a_list_that_nobody_changes_is_read_once(size: int) -> None:
    things = Things(size)
    assert things.read() == list(range(size, 0, -1))
    assert len(things.harbor.requests) == size // PAGE_SIZE + 1


def test_what_is_deleted_meanwhile_makes_nothing_else_disappear() -> None:
    things = Things(250, [delete(0)])
    assert set(range(1, 250)) <= set(things.read())
    assert len(things.harbor.requests) == 6


changes = st.one_of(st.just(add), st.just(nothing), st.integers(min_value=0, max_value=400).map(delete))


@settings(deadline=None)
@given(size=st.integers(min_value=90, max_value=320), done=st.lists(changes, max_size=9))
def test_what_was_there_all_the_while_is_found_once(size: int, done: list[Callable[[Things], None]]) -> None:
    things = Things(size, done)
    before = {item["id"] for item in things.items}
    found = things.read()
    stayed = before & {item["id"] for item in things.items}
    assert len(found) == len(set(found))
    assert stayed <= set(found)


def test_a_list_without_totals_is_read_until_it_stays_the_same() -> None:
    things = Things(150, [delete(3)])
    things.totals = False
    assert set(things.read()) == {item["id"] for item in things.items}


def test_a_list_in_another_order_is_read_until_it_stays_the_same() -> None:
    things = Things(150, [delete(3)])
    things.ordered = False
    assert set(things.read()) == {item["id"] for item in things.items}
    assert len(things.harbor.requests) > 4


def test_a_list_that_never_holds_still_is_an_error_and_not_half_a_list() -> None:
    def forever() -> Iterator[Callable[[Things], None]]:
        while True:
            yield delete(0)

    things = Things(900)
    things.changes = forever()
    with pytest.raises(UnavailableError, match="changes faster"):
        things.read()


def test_a_server_that_does_not_page_is_found_out() -> None:
    harbor = FakeHarbor()
    same = [{"id": number} for number in range(100, 0, -1)]
    harbor.always("GET /things", lambda: httpx.Response(200, json=same))
    with pytest.raises(UnavailableError, match="repeats"):
        every(harbor.client(), LISTING)


def test_an_answer_that_is_no_list_is_not_harbors() -> None:
    harbor = FakeHarbor()
    harbor.always("GET /things", lambda: httpx.Response(200, json={"a": 1}))
    with pytest.raises(UnavailableError, match="no list"):
        every(harbor.client(), LISTING)


def test_a_list_that_was_answered_to_nobody_is_read_again() -> None:
    harbor = FakeHarbor()
    client = harbor.client()
    client.prove()
    names = iter([["library"], ["es-sandbox", "library"]])

    def answer(request: httpx.Request) -> httpx.Response:
        found = [{"id": number, "name": name} for number, name in enumerate(next(names))]
        if len(found) == 1:
            harbor.once("GET /users/current", refused(401))
        return httpx.Response(200, json=found)

    harbor.answers["GET /projects"] = answer
    found = every(client, Listing("/projects", "list projects", open_to_all=True))
    assert [row["name"] for row in found] == ["es-sandbox", "library"]


def test_a_list_for_somebody_who_is_unknown_now_is_an_error() -> None:
    harbor = FakeHarbor()
    client = harbor.client()
    client.prove()
    harbor.user = None
    with pytest.raises(CredentialsError):
        every(client, Listing("/projects", "list projects", key="project_id", open_to_all=True))


def test_rows_come_page_by_page_and_each_once() -> None:
    things = Things(250, [add, add])
    found = [row["id"] for row in rows(things.harbor.client(), LISTING)]
    assert found == list(range(250, 0, -1))
    first = next(rows(Things(250).harbor.client(), LISTING))
    assert first == {"id": 250}
