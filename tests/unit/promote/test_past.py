from datetime import UTC, datetime, timedelta

from imagepipe.model.host import Target
from imagepipe.model.ledger import head_tag
from imagepipe.promote.past import Past, look_back
from tests.unit.promote.test_ledger import BARE, Yard

START = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)


class Calendar:
    """A yard, and what it says of other times."""

    def __init__(self) -> None:
        self.yard = Yard()

    def at(self, moment: datetime, target: Target | None = None) -> Past:
        targets = [target or self.yard.target]
        (past,) = look_back(targets, [BARE], moment, self.yard.small.world())
        return past

    def times(self) -> list[datetime]:
        return [entry.finished or START for entry in self.yard.chain().entries]


def test_before_the_first_record_there_is_nothing() -> None:
    calendar = Calendar()
    calendar.yard.promoted(1)
    past = calendar.at(START)
    assert (past.images, past.breaks) == ((), ())
    assert past.to_json() == {"target": "vch-a", "kind": "vch", "images": [], "intact": True, "breaks": []}


def test_a_target_was_at_what_its_last_good_record_until_then_says_without_being_asked() -> None:
    calendar = Calendar()
    one, two = calendar.yard.promoted(2)
    calendar.yard.rollback()
    calendar.yard.small.hosts["vch-a"].faults.down = True
    third = calendar.times()[-1]
    (image,) = calendar.at(third + timedelta(minutes=1)).images
    assert (image.entry.image, image.entry.kind.value, image.age_s) == (one.digest, "rollback", 60)
    assert [str(BARE.pin(two.digest)) in told for told in image.holds] == [True]
    shown = image.to_json()
    assert (shown["image"], shown["sequence"], shown["reason"]) == (str(BARE.pin(one.digest)), 3, "it burns")


def test_a_failure_changes_nothing_and_a_later_record_does_not_count_yet() -> None:
    calendar = Calendar()
    yard = calendar.yard
    (one,) = yard.promoted(1)
    yard.small.hosts["vch-a"].faults.down = True
    yard.promote(yard.image())
    (image,) = calendar.at(START + timedelta(days=1)).images
    assert image.entry.image == one.digest
    assert calendar.at(calendar.times()[0] - timedelta(seconds=1)).images == ()


def test_somebody_who_sets_back_the_tag_of_the_newest_record_changes_nothing_that_was() -> None:
    calendar = Calendar()
    yard = calendar.yard
    made = [yard.small.image(tag) for tag in ("1.0", "1.1", "1.2")]
    for manifest in made:
        yard.promote(manifest)
    yard.small.registry.tags[BARE, head_tag("vch-a")] = yard.chain().entries[0].record
    (image,) = calendar.at(calendar.times()[-1]).images
    assert image.entry.image == made[-1].digest


def test_what_is_told_from_a_broken_chain_is_told_as_such() -> None:
    calendar = Calendar()
    calendar.yard.promoted(3)
    calendar.yard.delete(calendar.yard.chain().entries[1].record)
    past = calendar.at(START + timedelta(days=1))
    assert len(past.images) == 1
    assert not past.to_json()["intact"]
    assert "sequence 2 is MISSING" in past.breaks[0]
