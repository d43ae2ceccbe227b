import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from imagepipe.errors import VerificationError
from imagepipe.model.digest import Digest
from imagepipe.model.ledger import Entry, Hold, Link, Previous, RecordKind, head_tag

ONE, TWO, RECORD = Digest.of(b"one"), Digest.of(b"two"), Digest.of(b"record")
digests = st.binary(max_size=8).map(Digest.of)
holds = st.builds(Hold, digests, digests, st.text(), st.text(), st.text())
links = st.builds(
    Link,
    st.integers(0, 9),
    st.one_of(st.none(), st.builds(Previous, digests, digests)),
    st.lists(holds).map(tuple),
    st.lists(digests).map(tuple),
)
HOLD = Hold(ONE, TWO, "2026-01-02T03:04:05Z", "ci", "it burns")


@given(links)
def test_a_place_is_read_as_it_was_written(link: Link) -> None:
    assert Link.parse(link.to_json()) == link


def test_an_entry_without_a_place_stands_before_all_others() -> None:
    assert Link.parse({}) == Link(0, None, ())


@pytest.mark.parametrize(
    "data", [{"sequence": "x"}, {"previous": {"record": "x"}}, {"previous": 1}, {"held": [{}]}, {"held": 1}]
)
def test_a_malformed_place_proves_nothing(data: dict[str, object]) -> None:
    with pytest.raises(VerificationError, match="malformed place"):
        Link.parse(data)


def test_a_hold_covers_the_image_and_its_platform() -> None:
    assert HOLD.covers(ONE)
    assert HOLD.covers(RECORD, TWO)
    assert not HOLD.covers(RECORD)


def test_a_hold_says_since_when_by_whom_and_why() -> None:
    assert str(HOLD) == "held since 2026-01-02T03:04:05Z by ci: it burns"
    assert str(Hold(ONE, ONE, "2026", "ci", "")) == "held since 2026 by ci"


@given(st.text(), st.text())
def test_other_targets_have_other_tags_and_every_one_is_a_tag(one: str, two: str) -> None:
    assert re.fullmatch(r"[A-Za-z0-9_][A-Za-z0-9._-]{0,127}", head_tag(one))
    assert (head_tag(one) == head_tag(two)) == (one == two)


def test_a_name_that_is_a_tag_stays_readable() -> None:
    assert head_tag("vch-a") == "imagepipe-head.vch-a"


def parsed(predicate: dict[str, object]) -> Entry | None:
    return Entry.parse("vch-a", predicate, record=RECORD, image=ONE, signed_by="ci")


def test_a_record_is_read_for_one_target() -> None:
    named = {"target": "vch-a", "outcome": "promoted", "digest": str(TWO), "sequence": 2}
    entry = parsed({"kind": "rollback", "plan": "p", "reason": "r", "finishedOn": "2026", "targets": [{}, named]})
    assert entry is not None
    assert (entry.kind, entry.good, entry.digest, entry.order) == (RecordKind.ROLLBACK, True, TWO, (2, "2026", RECORD))


def test_a_record_that_does_not_name_the_target_says_nothing_of_it() -> None:
    assert parsed({"targets": [{"target": "vch-b"}]}) is None
    assert parsed({}) is None


@pytest.mark.parametrize(
    "predicate",
    [
        {"targets": [{"target": "vch-a"}]},
        {"targets": [{"target": "vch-a", "outcome": "promoted", "digest": "x"}]},
        {"targets": [{"target": "vch-a", "outcome": "promoted", "digest": str(TWO), "sequence": "x"}]},
        {"targets": [1]},
        {"kind": "odd", "targets": [{"target": "vch-a", "outcome": "promoted", "digest": str(TWO)}]},
    ],
)
def test_a_malformed_record_proves_nothing(predicate: dict[str, object]) -> None:
    with pytest.raises(VerificationError, match="malformed"):
        parsed(predicate)
