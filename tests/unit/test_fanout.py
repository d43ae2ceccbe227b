import threading
from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from imagepipe.errors import DeadlineError, NotFoundError, UnavailableError
from imagepipe.fanout import Outcome, begin, begin_each, each, within


@given(st.lists(st.integers(), max_size=8), st.integers(min_value=-1, max_value=4))
def test_outcomes_come_in_the_order_of_the_items_whatever_the_number_of_jobs(items: list[int], jobs: int) -> None:
    outcomes = each(items, lambda number: number + 1, jobs=jobs)
    assert [(outcome.item, outcome.unwrap()) for outcome in outcomes] == [(item, item + 1) for item in items]


def test_one_target_that_is_away_does_not_stop_another() -> None:
    def visit(name: str) -> str:
        if name == "b":
            raise UnavailableError(f"{name} is away")
        return name.upper()

    first, second, third = each("abc", visit, jobs=1)
    assert (first.result, third.result) == ("A", "C")
    with pytest.raises(UnavailableError, match="b is away"):
        second.unwrap()


def test_a_bug_in_one_call_is_raised_once_the_others_have_ended() -> None:
    ended: list[str] = []

    def visit(name: str) -> None:
        if name == "a":
            raise ZeroDivisionError
        ended.append(name)

    with pytest.raises(ZeroDivisionError):
        each("abc", visit, jobs=1)
    assert ended == ["b", "c"]


def test_no_more_than_jobs_run_at_once_and_they_do_run_together() -> None:
    both = threading.Barrier(2, timeout=10)
    assert [outcome.unwrap() >= 0 for outcome in each(range(2), lambda _: both.wait(), jobs=2)] == [True, True]


def test_an_outcome_with_an_error_is_no_result() -> None:
    error = NotFoundError("gone")
    with pytest.raises(NotFoundError, match="gone"):
        Outcome("a", error=error).unwrap()


def test_a_call_that_returns_nothing_is_a_result_too() -> None:
    outcomes: list[Outcome[str, None]] = list(each("ab", lambda _: None, jobs=1))
    assert [outcome.error for outcome in outcomes] == [None, None]
    for outcome in outcomes:
        outcome.unwrap()


def test_what_was_begun_goes_on_meanwhile_and_is_waited_for() -> None:
    asked, go_on = threading.Event(), threading.Event()

    def answer() -> int:
        asked.set()
        return 42 if go_on.wait(10) else 0

    result = begin(answer)
    assert asked.wait(10)
    go_on.set()
    assert (result(), result()) == (42, 42)


def test_how_it_failed_is_told_to_everybody_who_waits() -> None:
    def refuse() -> None:
        raise NotFoundError("gone")

    result = begin(refuse)
    for _ in range(2):
        with pytest.raises(NotFoundError, match="gone"):
            result()


def test_of_several_that_were_begun_a_slow_one_keeps_nobody_waiting_for_the_others() -> None:
    go_on = threading.Event()

    def answer(name: str) -> str:
        if name == "slow":
            go_on.wait(10)
        return name.upper()

    told = begin_each(["slow", "quick"], answer, jobs=2)
    assert told["quick"]() == "QUICK"
    go_on.set()
    assert told["slow"]() == "SLOW"


def test_an_answer_in_time_is_returned() -> None:
    assert within(10, "ask", lambda: 42) == 42


def test_an_error_in_time_is_raised() -> None:
    def refuse() -> None:
        raise NotFoundError("gone")

    with pytest.raises(NotFoundError, match="gone"):
        within(10, "ask", refuse)


def test_no_answer_in_time_is_a_deadline_error_that_names_the_question() -> None:
    release = threading.Event()
    wait: Callable[[], object] = lambda: release.wait(10)  # noqa: E731  # typed, so that `within` knows its result
    try:
        with pytest.raises(DeadlineError, match=r"ask vch-a: no answer within 0\.01 s"):
            within(0.01, "ask vch-a", wait)
    finally:
        release.set()
