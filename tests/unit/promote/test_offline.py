import json
from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from imagepipe.cli.history import describe_history
from imagepipe.cli.outcome import outcome_error
from imagepipe.cli.status import describe_status
from imagepipe.errors import GateError, ImagepipeError, InputError, NotFoundError, PartialError, UnavailableError
from imagepipe.model.digest import Digest
from imagepipe.model.evidence import PROMOTION_PREDICATE, REJECTION_PREDICATE, Artifact, Bundle, Statement
from imagepipe.model.host import Target
from imagepipe.model.ledger import head_tag
from imagepipe.model.manifest import Descriptor, Manifest
from imagepipe.model.promotion import Arrival, PromotionRecord, Terms
from imagepipe.model.reference import Pinned, Reference
from imagepipe.promote.delivery import deliver
from imagepipe.promote.history import chains, merged, timeline
from imagepipe.promote.offline import Offline, OfflineRollback, apply_offline, plan_offline, unverified
from imagepipe.promote.outbox import Outbox, Waiting
from imagepipe.promote.past import look_back
from imagepipe.promote.plan import make_plan
from imagepipe.promote.ports import World
from imagepipe.promote.record import apply
from imagepipe.promote.reject import reject
from imagepipe.promote.rollback import Way
from imagepipe.promote.status import survey
from tests.contract.signing_memory import MemorySigner
from tests.unit.promote.test_ledger import BARE, Yard, where
from tests.unit.promote.world import CI, STRANGER, Small

HEARD = datetime(2026, 1, 1, tzinfo=UTC)


@dataclass
class Standing:
    """A clock that stands still."""

    at: datetime

    def now(self) -> datetime:
        return self.at


# After all that was promoted here, and a day after that.
NIGHT = Standing(HEARD + timedelta(days=2))
LATER = Standing(HEARD + timedelta(days=3))


class Night:
    """A yard whose registry is away: what was kept of it is what it holds."""

    def __init__(self, folder: Path, small: Small | None = None) -> None:
        self.yard = Yard(small)
        self.yard.small.known["vch-a"] = self.yard.target
        self.outbox = Outbox(folder)
        self.failed: list[ImagepipeError] = []

    def offline(self) -> Offline:
        return Offline(self.world(), lambda _: HEARD, self.outbox)

    def world(self) -> World:
        """Returns the world as this machine sees it, with what waits in its outbox."""
        return replace(self.yard.small.world(), held_back=self.outbox.holds, clock=NIGHT)

    def promote(self, manifest: Manifest, *, release: bool = False) -> None:
        """Promotes an image from this machine, whatever waits."""
        world, reference = self.world(), Reference(BARE, digest=manifest.digest)
        apply(make_plan("x", reference, [self.yard.target], world, terms=Terms(release_hold=release)), world)

    def back(
        self, *targets: Target, to: Digest | None = None, activate: tuple[str, ...] = (), reason: str = "it burns"
    ) -> OfflineRollback:
        offline = self.offline()
        plans = plan_offline(Way(BARE, to=to, activate=activate), targets or (self.yard.target,), offline)
        (done,) = apply_offline(plans, offline, reason=reason)
        return done

    def send(self) -> Sequence[tuple[Waiting, Digest | None]]:
        """Sends what waits, and returns what was sent; what was not is in `failed`."""
        done = deliver(self.world(), self.outbox)
        self.failed = [one.error for one in done if one.error]
        return tuple((one.waiting, one.record) for one in done if one.error is None)

    @property
    def told(self) -> str:
        """Why records were not sent."""
        return "; ".join(error.message for error in self.failed)

    def later(self, manifest: Manifest) -> None:
        """Promotes an image a day later, from elsewhere."""
        world = replace(self.yard.small.world(), clock=LATER)
        reference = Reference(BARE, digest=manifest.digest)
        apply(make_plan("x", reference, [self.yard.target], world, terms=Terms(release_hold=True)), world)

    def put(self, predicate: dict[str, object]) -> None:
        """Leaves a record of any content in the outbox, signed by us."""
        image = BARE.pin(self.yard.image().digest)
        signer = self.yard.small.signer
        (bundle,) = signer.sign([Statement.about(image, PROMOTION_PREDICATE, predicate)])
        record = PromotionRecord(image, Digest.of(b"p"), "", "", "2026-01-01T00:00:00Z", (), ())
        self.outbox.put(record, bundle, str(signer.signatory()), {})


@pytest.fixture
def night(tmp_path: Path) -> Night:
    return Night(tmp_path / "outbox")


def test_the_record_of_a_rollback_waits_and_takes_its_place_once_it_is_sent(night: Night) -> None:
    one, two = night.yard.promoted(2)
    done = night.back()
    (result,) = done.promotion.targets
    assert (result.arrival, set(result.proof)) == (Arrival.PRESENT, {"inspect", "probe"})
    assert done.waiting is not None
    assert night.outbox.waiting() == (done.waiting,)
    assert done.waiting.about([BARE], ["vch-a"])
    assert not done.waiting.about([BARE], ["vch-b"])
    assert where(night.yard.chain()) == [(1, "verified"), (2, "verified")]
    ((sent, record),) = night.send()
    assert sent == done.waiting
    chain = night.yard.chain()
    entry = chain.entries[-1]
    assert (entry.record, entry.link.sequence, entry.image, entry.reason) == (record, 3, one.digest, "it burns")
    assert (entry.finished_at, night.yard.head(), chain.breaks) == (done.waiting.at, record, ())
    assert [hold.image for hold in entry.link.holds] == [two.digest]
    assert night.outbox.waiting() == ()
    with pytest.raises(GateError, match="it burns"):
        night.yard.promote(two)


def test_what_is_not_verified_is_said_and_goes_on_record(tmp_path: Path) -> None:
    night = Night(tmp_path)
    night.yard.promoted(2)
    small = night.yard.small
    small.policy = replace(small.policy, max_severity="high")
    small.scans.failure = UnavailableError("Harbor is away")
    done = night.back()
    assert [gap.partition(":")[0] for gap in done.unverified] == ["the registry was not asked", "vch-a", "vch-a"]
    assert "since 2026-01-01T00:00:00Z is not known" in done.unverified[0]
    assert "scan" in done.unverified[1]
    assert done.promotion.plan.refused == ()
    assert done.waiting is not None
    verified = small.world().reader.opened(
        done.waiting.bundle, done.waiting.image, PROMOTION_PREDICATE, small.policy.signed_by
    )
    assert verified.statement.predicate["offline"] == {"unverified": list(done.unverified)}
    night.send()
    (told,) = [one for one in merged(chains(BARE, [night.yard.target], small.world())) if one.unverified]
    assert told.to_json()["offline"] == {"unverified": list(done.unverified)}
    (same,) = [one for one in timeline(done.waiting.image, [CI], small.world()) if one.kind == "rollback"]
    assert same.unverified == told.unverified
    assert "rollback OFFLINE\t" in describe_history([told])


def test_what_was_never_heard_of_is_said_so(night: Night) -> None:
    night.yard.promoted(2)
    offline = replace(night.offline(), heard=lambda _: None)
    (plan,) = plan_offline(Way(BARE), [night.yard.target], offline)
    assert "at any time" in unverified(plan, offline)[0]


def test_what_the_target_does_not_hold_is_not_pulled_and_leaves_no_record(night: Night) -> None:
    one, _ = night.yard.promoted(2)
    host = night.yard.small.hosts["vch-a"]
    host.images.remove(BARE.pin(one.digest))
    pulled = list(host.pulled)
    done = night.back()
    (result,) = done.promotion.targets
    assert "does not hold" in str(result.error)
    assert (done.waiting, night.outbox.waiting(), host.pulled) == (None, (), pulled)


def test_the_same_rollback_again_stays_where_it_is_and_writes_nothing_new(night: Night) -> None:
    one, _, _ = night.yard.promoted(3)
    first, second = night.back(), night.back()
    assert first.waiting == second.waiting
    assert len(night.outbox.waiting()) == 1
    assert "its record waits" in night.yard.warnings()
    assert night.back(to=one.digest).promotion.plan.image.digest == one.digest
    assert len(night.outbox.waiting()) == 2
    assert night.back(to=one.digest).waiting == night.outbox.waiting()[-1]
    assert len(night.outbox.waiting()) == 2


def test_what_was_left_is_held_back_before_any_ledger_knows_of_it(night: Night) -> None:
    one, two, three = night.yard.promoted(3)
    night.back()
    with pytest.raises(GateError, match=r"hold \(vch-a\): held since .* it burns"):
        night.back(to=three.digest)
    night.back(to=one.digest)
    for left in (two, three):
        with pytest.raises(GateError, match="it burns"):
            night.promote(left)
    night.promote(two, release=True)


def test_each_step_back_names_what_the_one_before_it_came_to(night: Night) -> None:
    one, two, three = night.yard.promoted(3)
    night.back()
    (plan,) = plan_offline(Way(BARE, to=one.digest), [night.yard.target], night.offline())
    assert plan.targets[0].current == two.digest
    night.back(to=one.digest)
    night.send()
    chain = night.yard.chain()
    assert [entry.image for entry in chain.entries[3:]] == [two.digest, one.digest]
    assert [hold.image for hold in chain.entries[-1].link.holds] == [three.digest, two.digest]
    assert chain.breaks == ()


def test_containers_are_switched_too_and_a_second_try_at_them_is_a_record_of_its_own(night: Night) -> None:
    one, two = night.yard.promoted(2)
    host = night.yard.small.hosts["vch-a"]
    night.back()
    host.create("web", Reference(BARE, digest=two.digest))
    done = night.back(activate=("web",))
    (result,) = done.promotion.targets
    assert [(told.container, told.outcome.good) for told in result.activations] == [("web", True)]
    assert [container.of(BARE) for container in host.containers if container.live] == [(one.digest,)]
    assert len(night.outbox.waiting()) == 2
    assert [record for _, record in night.send()] == [entry.record for entry in night.yard.chain().entries[2:]]


def test_it_goes_only_to_what_a_record_proves_that_the_target_held(night: Night) -> None:
    night.yard.promoted(2)
    stray = night.yard.image()
    night.yard.small.hosts["vch-a"].images.add(BARE.pin(stray.digest))
    with pytest.raises(GateError, match=r"held before \(vch-a\): no record that was kept proves"):
        night.back(to=stray.digest)
    with pytest.raises(NotFoundError, match="no promotion to it is on record"):
        night.back(night.yard.small.target("vch-b"))


def test_a_rejection_that_cannot_be_read_stops_it(night: Night) -> None:
    one, _ = night.yard.promoted(2)
    night.yard.small.sign(one, STRANGER, REJECTION_PREDICATE, {"reason": "says nobody"})
    night.back()
    night.yard.small.sign(one, CI, REJECTION_PREDICATE, {"reason": "perhaps"})
    registry = night.yard.small.registry
    registry.blobs[BARE, registry.list(BARE.pin(one.digest))[-1].digest] = b"torn"
    with pytest.raises(GateError, match=r"rejections kept \(prod\): it may be rejected"):
        night.back()


def test_what_is_known_to_be_rejected_is_refused_by_its_gate(night: Night) -> None:
    one, _ = night.yard.promoted(2)
    reject(Reference(BARE, digest=one.digest), "leaks keys", night.yard.small.world())
    with pytest.raises(GateError, match="leaks keys"):
        night.back(to=one.digest)


def test_a_record_of_another_target_that_waits_decides_nothing_here(night: Night) -> None:
    beside = night.yard.small.target("vch-b")
    one, two, _ = night.yard.promoted(3, night.yard.target, beside)
    night.back(beside, to=one.digest)
    assert night.back().promotion.plan.image.digest == two.digest


def test_status_tells_what_is_held_and_run_while_the_registry_is_away(night: Night) -> None:
    (one,) = night.yard.promoted(1)
    image = BARE.pin(one.digest)
    night.yard.small.hosts["vch-a"].create("web", Reference(BARE, digest=one.digest))
    night.yard.small.registry.failure = UnavailableError("connection refused")
    (status,) = survey([night.yard.target], [BARE], night.yard.small.world(), jobs=1)
    assert [(held.image, held.state, held.running) for held in status.images] == [(image, "unknown", True)]
    assert status.info is not None
    assert "what is on record: connection refused" in str(status.error)
    (told, row) = describe_status((status,)).splitlines()
    assert told.startswith("vch-a\t-\tledger unknown\t")
    assert row.split("\t")[2:] == ["unknown", "-", "web running"]


def test_an_outbox_that_cannot_be_written_is_told_before_anything_is_done(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    night = Night(tmp_path / "file" / "outbox")
    night.yard.promoted(2)
    with pytest.raises(UnavailableError, match="records cannot be kept"):
        night.back()
    assert len(night.yard.small.hosts["vch-a"].probed) == 2


def test_a_record_that_comes_after_a_later_promotion_changes_nothing_but_what_is_held(night: Night) -> None:
    _, two = night.yard.promoted(2)
    night.back()
    three = night.yard.image()
    night.later(three)
    ((_, record),) = night.send()
    chain = night.yard.chain()
    entry = chain.entries[-1]
    assert (entry.record, entry.outcome, chain.breaks) == (record, "late", ())
    assert chain.current is not None
    assert chain.current.image == three.digest
    assert [hold.image for hold in entry.link.holds] == [two.digest]
    assert "it stays there" in night.yard.warnings()
    between, after = LATER.at - timedelta(hours=1), LATER.at + timedelta(hours=1)
    world = night.yard.small.world()
    told = [look_back([night.yard.target], [BARE], when, world)[0].images[0] for when in (between, after)]
    assert [(past.entry.image, past.entry.outcome) for past in told] == [
        (entry.image, "late"),
        (three.digest, "promoted"),
    ]


def test_two_machines_that_went_back_at_once_both_put_it_on_record(night: Night, tmp_path: Path) -> None:
    one, two = night.yard.promoted(2)
    beside = Night(tmp_path / "beside", night.yard.small)
    assert night.back().waiting is not None
    assert beside.back(reason="it burns here, too").waiting is not None
    assert (len(night.send()), len(beside.send())) == (1, 1)
    chain = night.yard.chain()
    assert [(entry.link.sequence, entry.image) for entry in chain.entries[2:]] == [(3, one.digest), (4, one.digest)]
    assert [[hold.image for hold in entry.link.holds] for entry in chain.entries[2:]] == [[two.digest]] * 2
    assert chain.breaks == ()


def test_a_late_record_of_a_target_that_was_at_nothing_known_holds_nothing(night: Night) -> None:
    one, _ = night.yard.promoted(2)
    host = night.yard.small.hosts["vch-a"]
    host.faults.down = True
    night.yard.promote(night.yard.image())
    host.faults.down = False
    night.yard.delete(night.yard.chain().entries[1].record)
    night.back(to=one.digest)
    night.later(night.yard.image())
    assert len(night.send()) == 1
    assert night.yard.chain().entries[-1].link.holds == ()


def test_a_record_that_was_sent_when_we_were_stopped_is_not_sent_twice(night: Night) -> None:
    night.yard.promoted(2)
    waiting = night.back().waiting
    assert waiting is not None
    text = waiting.file.read_text()
    ((_, record),) = night.send()
    waiting.file.write_text(text)
    night.yard.small.registry.tags[BARE, head_tag("vch-a")] = night.yard.chain().entries[1].record
    assert night.send() == ((waiting, record),)
    assert night.yard.head() == record
    assert len(night.yard.chain().places) == 3
    night.later(night.yard.image())
    newest = night.yard.head()
    waiting.file.write_text(text)
    assert night.send() == ((waiting, record),)
    assert night.yard.head() == newest


def test_only_who_signed_a_record_sends_it(night: Night) -> None:
    night.yard.promoted(2)
    night.back()
    night.yard.small.signer = MemorySigner(STRANGER)
    assert night.send() == ()
    assert "it was signed by ci@example.com" in night.told
    assert len(night.outbox.waiting()) == 1


def test_a_record_that_cannot_be_signed_or_kept_is_told_after_the_target_went_back(night: Night) -> None:
    night.yard.promoted(2)

    class Mute(MemorySigner):
        def sign(self, statements: Sequence[Statement]) -> tuple[Bundle, ...]:
            raise UnavailableError("the log is away")

    night.yard.small.signer = Mute(CI)
    done = night.back()
    assert [one.arrival for one in done.promotion.targets] == [Arrival.PRESENT]
    assert (done.waiting, night.outbox.waiting()) == (None, ())
    error = outcome_error(done.promotion)
    assert isinstance(error, PartialError)
    assert "the log is away" in error.message
    night.yard.small.signer = MemorySigner(CI)
    assert night.back().waiting is not None


def test_once_the_other_side_is_away_all_that_is_left_waits(night: Night) -> None:
    one, _, _ = night.yard.promoted(3)
    night.back()
    night.back(to=one.digest)
    night.yard.small.locked = UnavailableError("another promotion holds it")
    assert night.send() == ()
    assert night.told.count("another promotion holds it") == 1
    night.yard.small.locked = None
    assert len(night.send()) == 2


def test_a_record_finds_its_place_again_where_somebody_took_it_meanwhile(night: Night) -> None:
    _, two = night.yard.promoted(2)
    night.back()
    registry, three = night.yard.small.registry, night.yard.image()
    attach = registry.attach

    def overtaken(image: Pinned, subject: Descriptor, artifact: Artifact) -> Descriptor:
        registry.attach = attach  # type: ignore[method-assign]  # once
        night.later(three)
        return attach(image, subject, artifact)

    registry.attach = overtaken  # type: ignore[method-assign]  # a rival comes between a look and a record
    ((_, record),) = night.send()
    chain = night.yard.chain()
    assert [(entry.link.sequence, entry.outcome) for entry in chain.entries[2:]] == [(3, "promoted"), (4, "late")]
    assert (chain.entries[-1].record, chain.breaks, night.yard.head()) == (record, (), record)
    assert "stands again" in chain.notes[0]
    assert chain.current is not None
    assert chain.current.image == three.digest
    assert [hold.image for hold in chain.entries[-1].link.holds] == [two.digest]


def test_a_record_that_a_rival_has_come_after_already_stays_where_it_is(night: Night) -> None:
    _, two = night.yard.promoted(2)
    night.back()
    registry, three = night.yard.small.registry, night.yard.image()
    attach = registry.attach

    def followed(image: Pinned, subject: Descriptor, artifact: Artifact) -> Descriptor:
        registry.attach = attach  # type: ignore[method-assign]  # once
        made = attach(image, subject, artifact)
        night.later(three)
        return made

    registry.attach = followed  # type: ignore[method-assign]  # a rival comes between a record and its tag
    ((_, record),) = night.send()
    chain = night.yard.chain()
    assert [(entry.link.sequence, entry.outcome) for entry in chain.entries[2:]] == [(3, "present"), (4, "promoted")]
    assert (chain.entries[2].record, chain.breaks, chain.notes) == (record, (), ())
    assert night.yard.head() == chain.entries[3].record
    assert [hold.image for hold in chain.entries[-1].link.holds] == [two.digest]


def test_clocks_are_not_asked_where_nothing_came_between(night: Night) -> None:
    one, two = night.yard.promoted(1)[0], night.yard.image()
    night.later(two)  # by a clock that is a day ahead
    night.back()
    assert len(night.send()) == 1
    chain = night.yard.chain()
    assert chain.current is not None
    assert (chain.current.image, chain.current.outcome) == (one.digest, "present")


def test_a_target_that_did_not_go_back_is_not_said_to_have_come_late(night: Night) -> None:
    beside = night.yard.small.target("vch-b")
    night.yard.small.known["vch-b"] = beside
    one, _ = night.yard.promoted(2, night.yard.target, beside)
    night.yard.small.hosts["vch-b"].images.remove(BARE.pin(one.digest))
    night.back(night.yard.target, beside)
    world, three = replace(night.yard.small.world(), clock=LATER), night.yard.image()
    apply(make_plan("x", Reference(BARE, digest=three.digest), [night.yard.target, beside], world), world)
    night.send()
    assert [night.yard.chain(one).entries[-1].outcome for one in (night.yard.target, beside)] == ["late", "failed"]


def test_a_record_that_was_changed_or_makes_no_sense_stays_and_is_told(night: Night) -> None:
    _, two = night.yard.promoted(2)
    waiting = night.back().waiting
    assert waiting is not None
    told = json.loads(waiting.file.read_text())
    waiting.file.write_text(json.dumps(told | {"image": str(BARE.pin(two.digest))}))
    target = {"kind": "vch", "outcome": "present", "digest": str(two.digest)}
    plan = {"finishedOn": "2026", "plan": str(two.digest)}
    night.put(plan | {"targets": [target | {"target": "nowhere"}]})
    night.put(plan | {"targets": [target]})
    assert night.send() == ()
    assert len(night.outbox.waiting()) == 3
    assert night.told.count("send the record in") == 3
    assert "nowhere, which is not configured here" in night.told
    assert "malformed record" in night.told


def test_nothing_is_asked_when_nothing_waits(night: Night) -> None:
    assert night.send() == ()
    assert night.yard.small.registry.calls == []


@pytest.mark.parametrize("text", ["{", "[]", '{"schema": "other/v1"}', '{"schema": "imagepipe.waiting-record/v1"}'])
def test_a_file_that_is_no_record_is_named(tmp_path: Path, text: str) -> None:
    (tmp_path / "x.json").write_text(text)
    (told,) = Outbox(tmp_path).unreadable()
    assert isinstance(told, InputError)
    assert "x.json: no record that can be read" in told.message
    assert Outbox(tmp_path).waiting() == ()


def test_a_record_that_cannot_be_written_is_told(tmp_path: Path, night: Night) -> None:
    record = PromotionRecord(Pinned(BARE, Digest.of(b"m")), Digest.of(b"p"), "", "", "2026", (), ())
    with pytest.raises(UnavailableError, match="keep the record"):
        Outbox(tmp_path / "nowhere").put(record, night.yard.small.signer.sign([_statement()])[0], "ci", {})


def test_a_record_lies_there_whole_for_nobody_else_to_read(night: Night) -> None:
    night.yard.promoted(2)
    waiting = night.back().waiting
    assert waiting is not None
    assert [file.stat().st_mode & 0o077 for file in (waiting.file, waiting.file.parent)] == [0, 0]
    (waiting.file.parent / "half.new").write_text("{")  # what is left of somebody who was killed while writing
    assert night.outbox.waiting() == (waiting,)
    assert night.outbox.unreadable() == ()


def test_the_outbox_is_where_state_belongs() -> None:
    assert Outbox.of({"HOME": "/home/ci", "XDG_STATE_HOME": "relative"}).folder == Path(
        "/home/ci/.local/state/imagepipe/outbox"
    )
    assert Outbox.of({"XDG_STATE_HOME": "/state"}).folder == Path("/state/imagepipe/outbox")


def _statement() -> Statement:
    return Statement.about(Pinned(BARE, Digest.of(b"m")), PROMOTION_PREDICATE, {})
