from collections.abc import Iterator, Mapping
from contextlib import contextmanager

import pytest

from imagepipe.errors import RefusedError
from imagepipe.events import Warned
from imagepipe.model.digest import Digest
from imagepipe.model.evidence import REJECTION_PREDICATE, Artifact, Statement
from imagepipe.model.ledger import Previous
from imagepipe.model.manifest import Descriptor, Manifest
from imagepipe.model.reference import Pinned, Reference
from imagepipe.promote.history import Happening, decisions
from imagepipe.promote.reject import Rejection, reject
from imagepipe.promote.rejections import Rank
from tests.contract.signing_memory import MemorySigner
from tests.unit.promote.test_ledger import BARE, Yard
from tests.unit.promote.world import CI, STRANGER, SteppingClock

NEWEST = (BARE, "imagepipe-rejections")


class Board:
    """A yard whose images were rejected, never promoted."""

    def __init__(self) -> None:
        self.yard = Yard()
        self.registry = self.yard.small.registry

    def say(self, manifest: Manifest, reason: str) -> Rejection:
        return reject(Reference(BARE, digest=manifest.digest), reason, self.yard.small.world())

    def reject(self, reason: str) -> Digest:
        """Rejects a fresh image, and returns the statement."""
        return self.say(self.yard.image(), reason).records[-1][1]

    def told(self, *images: Digest) -> tuple[list[tuple[str, str]], str]:
        """Returns reason and standing of every rejection, and what is wrong with them."""
        found, breaks = decisions(BARE, images, [CI], self.yard.small.world())
        return [(one.reason, one.standing.value) for one in found], "; ".join(breaks)

    def attach(self, predicate: Mapping[str, object], who: MemorySigner, *, tagged: bool = True) -> Digest:
        """Attaches a rejection of any content to a fresh image, and tags it."""
        manifest = self.yard.image()
        image = BARE.pin(manifest.digest)
        (bundle,) = who.sign([Statement.about(image, REJECTION_PREDICATE, dict(predicate))])
        artifact = bundle.as_artifact(REJECTION_PREDICATE, SteppingClock().now())
        record = self.registry.attach(image, manifest.descriptor, artifact).digest
        if tagged:
            self.registry.tags[BARE, f"imagepipe-rejection.{record.short}"] = record
        return record

    def at(self, record: Digest) -> Digest:
        """Returns the image that a rejection is attached to."""
        attached = self.registry._attached.items()
        return next(image.digest for image, listed in attached if record in [one.digest for one in listed])


@pytest.fixture
def board() -> Board:
    return Board()


def test_rejections_of_images_that_went_nowhere_are_told_in_their_order(board: Board) -> None:
    for reason in ("one", "two", "three"):
        board.reject(reason)
    assert board.told() == ([("one", "verified"), ("two", "verified"), ("three", "verified")], "")


def test_a_place_is_read_as_it_was_written() -> None:
    rank = Rank(3, (Previous(Digest.of(b"r"), Digest.of(b"i")),))
    assert Rank.parse(rank.to_json()) == rank


def test_a_rejected_index_has_two_places(board: Board) -> None:
    index = board.registry.add_index(BARE)
    done = reject(Reference(BARE, digest=index.digest), "leaks keys", board.yard.small.world())
    board.reject("later")
    assert len(done.records) == 2
    assert board.told() == ([("leaks keys", "verified")] * 2 + [("later", "verified")], "")


def test_two_who_reject_at_once_are_both_told_and_the_next_one_names_both(board: Board) -> None:
    board.reject("first")
    attach = board.registry.attach

    def meanwhile(image: Pinned, subject: Descriptor, artifact: Artifact) -> Descriptor:
        board.registry.attach = attach  # type: ignore[method-assign]  # once
        board.reject("theirs")
        return attach(image, subject, artifact)

    board.registry.attach = meanwhile  # type: ignore[method-assign]  # a rival comes between a look and a record
    board.reject("ours")
    told, breaks = board.told()
    assert (sorted(told), breaks) == ([("first", "verified"), ("ours", "verified"), ("theirs", "verified")], "")
    board.reject("last")
    lost = next(one.record for one in decisions(BARE, [], [CI], board.yard.small.world())[0] if one.reason == "theirs")
    board.yard.delete(lost)
    assert board.told()[1] == f"rejection 2 is MISSING: {lost}"


@pytest.mark.parametrize("number", [0, 1])
def test_a_rejection_that_is_gone_shows(board: Board, number: int) -> None:
    records = [board.reject(reason) for reason in ("one", "two", "three")]
    board.yard.delete(records[number])
    told, breaks = board.told()
    assert told[number] == ("", "MISSING")
    times = [one.at for one in decisions(BARE, [], [CI], board.yard.small.world())[0]]
    assert times == sorted(times)
    assert [standing for _, standing in told].count("verified") == 2
    assert breaks == f"rejection {number + 1} is MISSING: {records[number]}"
    board.reject("four")
    assert board.told()[1] == breaks


def test_a_rejection_that_is_gone_and_still_listed_shows(board: Board) -> None:
    record = board.reject("one")
    board.reject("two")
    del board.registry.blobs[BARE, record]  # the list is an index at a tag, and nobody took it out there
    del board.registry.tags[BARE, f"imagepipe-rejection.{record.short}"]
    assert board.told()[1] == f"rejection 1 is MISSING: {record}"


def test_that_the_newest_is_gone_shows_until_there_is_another(board: Board) -> None:
    board.reject("one")
    board.yard.delete(board.reject("two"))
    assert board.told() == ([("one", "verified")], "the tag of the newest rejection is gone: rejections may be, too")
    board.reject("three")
    assert board.told() == ([("one", "verified"), ("three", "verified")], "")


def test_a_tag_at_something_else_or_at_the_word_of_a_stranger_is_told(board: Board) -> None:
    board.registry.tags[NEWEST] = board.yard.image().digest
    assert "points at something else" in board.told()[1]
    board.reject("mine")
    board.attach({"reason": "theirs", "sequence": 1}, MemorySigner(STRANGER))
    told, breaks = board.told()
    assert sorted(standing for _, standing in told) == ["UNVERIFIED", "verified"]
    assert "a rejection is UNVERIFIED" in breaks
    assert len(board.say(board.yard.image(), "more").records) == 1


def test_a_tag_that_is_gone_when_it_is_looked_at_is_none(board: Board) -> None:
    board.registry.tags[BARE, "imagepipe-rejection.gone"] = Digest.of(b"gone")
    assert board.told() == ([], "")


def test_places_that_make_no_sense_are_told(board: Board) -> None:
    ours = board.yard.small.signer
    one = board.reject("one")
    third = board.attach({"reason": "x", **Rank(3, (Previous(one, board.at(one)),)).to_json()}, ours)
    assert board.told()[1] == f"rejection 3 stands where 2 belongs: {third}"
    board.attach({"reason": "x", "sequence": 1, "after": "nothing"}, ours)
    assert "malformed place among the rejections" in board.told()[1]


def test_a_rejection_stands_where_it_cannot_be_tagged_and_gets_its_tag_when_it_is_said_again(board: Board) -> None:
    board.reject("one")
    image = board.yard.image()
    with untaggable(board):
        ((_, record),) = board.say(image, "two").records
    assert isinstance(board.yard.small.events[-1], Warned)
    assert "has no tag for history to find it by: no tags here" in board.yard.warnings()
    found, breaks = decisions(BARE, [image.digest], [CI], board.yard.small.world())
    assert isinstance(found[-1], Happening)
    assert breaks == (f"a rejection has lost its tag, and no other names it: {record}",)
    assert board.say(image, "two").records[0][1] == record
    assert board.told(image.digest) == ([("one", "verified"), ("two", "verified")], "")
    assert board.say(image, "also for this").records[0][1] != record


def test_the_first_rejection_gets_both_tags_when_it_is_said_again(board: Board) -> None:
    image = board.yard.image()
    with untaggable(board):
        ((_, record),) = board.say(image, "one").records
    assert board.told() == ([], "")
    assert board.say(image, "one").records[0][1] == record
    assert board.told() == ([("one", "verified")], "")
    assert board.registry.tags[NEWEST] == record


@contextmanager
def untaggable(board: Board) -> Iterator[None]:
    """A repository whose tags cannot be written, or we are stopped before we write them."""

    def refuse(*_: object) -> None:
        raise RefusedError("no tags here")

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(board.registry, "tag", refuse)
        yield


def test_a_rejection_that_came_with_a_copy_has_its_place_elsewhere(board: Board) -> None:
    ours = MemorySigner(CI)
    here = board.attach({"reason": "x", "sequence": 2, "image": "vic.example/p/other@x"}, ours, tagged=False)
    assert "has lost its tag" in board.told(board.at(here))[1]
    manifest = board.yard.image()
    named = f"vic.example/es-sandbox/other@{manifest.digest}"
    there = board.attach({"reason": "x", "sequence": 2, "image": named}, ours, tagged=False)
    assert board.told(board.at(there)) == ([("x", "verified")], "")


def test_a_broken_registry_is_not_an_empty_one(board: Board) -> None:
    board.reject("one")
    board.registry.failure = RefusedError("no")
    with pytest.raises(RefusedError):
        board.told()
