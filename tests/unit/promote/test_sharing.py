import re
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from pathlib import Path
from threading import Event as Event_
from threading import Thread

import pytest

from imagepipe import fanout
from imagepipe.errors import DeadlineError, ImagepipeError, SettingsError, UnavailableError, UnsupportedError
from imagepipe.events import Event, Warned
from imagepipe.model.evidence import PROMOTION_PREDICATE
from imagepipe.model.host import Target, TargetKind
from imagepipe.model.lock import BrokenLock, Held, Holder
from imagepipe.model.promotion import Arrival
from imagepipe.ports.locking import HostLock
from imagepipe.promote.locking import TargetLocks, age_of
from imagepipe.promote.plan import make_plan
from imagepipe.promote.record import apply
from imagepipe.promote.sharing import SharedLocks, _Attempt
from tests.contract.engine_memory import MemoryLock
from tests.unit.promote.test_promote import BARE, TAGGED
from tests.unit.promote.world import CI, Small

A, B, C = (Target(f"vch-{name}", TargetKind.VCH, f"tcp://vch-{name}:2376") for name in "abc")
THEIRS = Holder("theirs", "ci@runner-7, process 3", "other/place", "2026-01-02T03:04:05+00:00")


@dataclass
class Yard:
    """Targets whose locks every machine sees."""

    folder: Path
    locks: dict[str, MemoryLock] = field(default_factory=lambda: {one.host: MemoryLock() for one in (A, B, C)})
    events: list[Event] = field(default_factory=list)
    paused_s: list[float] = field(default_factory=list)
    on_pause: Callable[[], None] = lambda: None
    refusal: ImagepipeError | None = None

    def machine(self, name: str = "ops-1", *, breaks: bool = False, wait_s: float = 2.0) -> SharedLocks:
        local = TargetLocks(self.folder / name, wait_s=wait_s, pause=self._pause)
        return SharedLocks(local, self._connect, events=self.events.append, breaks=breaks)

    def _connect(self, target: Target) -> HostLock:
        if self.refusal is not None:
            raise self.refusal
        return self.locks[target.host]

    def _pause(self, seconds: float) -> None:
        self.paused_s.append(seconds)
        self.on_pause()

    def holders(self) -> list[str]:
        return [host for host, lock in self.locks.items() if lock.held]

    def warnings(self) -> str:
        return "\n".join(f"{one.subject}: {one.message}" for one in self.events if isinstance(one, Warned))


@pytest.fixture
def yard(tmp_path: Path) -> Yard:
    return Yard(tmp_path)


def test_a_lock_is_on_every_target_meanwhile_and_costs_three_requests_each(yard: Yard) -> None:
    with yard.machine().holding([B, A]) as held:
        assert held == Held()
        assert yard.holders() == [A.host, B.host]
        holder = yard.locks[A.host].held
        assert holder is not None
        assert re.fullmatch(r"\S+@\S+, process \d+, since 20\S+", str(holder))
    assert yard.holders() == []
    assert yard.locks[A.host].asked == ["take", "release"]
    assert yard.events == []


def test_another_machine_waits_and_then_says_who_holds_it_since_when(yard: Yard) -> None:
    with yard.machine("ops-1").holding([B]):
        with pytest.raises(UnavailableError) as refused, yard.machine("ops-2").holding([A, B, C]):
            pass
        assert yard.holders() == [B.host]
    told = r"lock target vch-b: another promotion holds it for \d s: \S+@\S+, process \d+, since 20\S+; waited 2 s"
    assert re.fullmatch(told, refused.value.message)
    assert "--break-lock" in str(refused.value.hint)
    assert refused.value.exit_code == 8
    assert yard.paused_s == [1.0, 1.0]
    assert re.fullmatch(r"vch-b: waits: another promotion holds it for \d s: .*", yard.warnings())


def test_who_waits_goes_on_once_the_other_is_done(yard: Yard) -> None:
    yard.locks[B.host].held = THEIRS
    seen: list[list[str]] = []

    def end() -> None:
        seen.append(yard.holders())
        yard.locks[B.host].held = None

    yard.on_pause = end
    with yard.machine().holding([A, B, C]):
        assert yard.holders() == [A.host, B.host, C.host]
    # What comes before in the one order is kept, what comes after is let go: nobody waits in a circle.
    assert seen == [[A.host, B.host]]


def test_a_lock_that_another_takes_while_we_wait_is_waited_for_again(yard: Yard) -> None:
    yard.locks[A.host].held = THEIRS

    def move() -> None:
        yard.locks[A.host].held, yard.locks[C.host].held = None, THEIRS
        yard.on_pause = lambda: None

    yard.on_pause = move
    with pytest.raises(UnavailableError, match="lock target vch-c"), yard.machine().holding([A, B, C]):
        pass
    assert yard.holders() == [C.host]


def test_a_lock_left_by_this_machine_is_taken_over_and_that_is_told(yard: Yard) -> None:
    with yard.machine().holding([A]):
        left = yard.locks[A.host].held
    assert left is not None
    yard.locks[A.host].held = replace(left, nonce="of a process that was killed")
    with yard.machine().holding([A]) as held:
        assert held.broken == ()
    assert f"vch-a: took over the lock that {left} left on this machine" in yard.warnings()
    assert yard.holders() == []


def test_a_lock_left_for_another_name_of_the_host_is_not_taken_over(yard: Yard) -> None:
    with yard.machine().holding([A]):
        left = yard.locks[A.host].held
    yard.locks[B.host].held = left
    with pytest.raises(UnavailableError, match="lock target vch-b"), yard.machine().holding([B]):
        pass


def test_a_foreign_lock_is_broken_only_when_an_operator_says_so(yard: Yard) -> None:
    yard.locks[A.host].held = THEIRS
    with yard.machine(breaks=True).holding([A, B]) as held:
        assert held.broken == (BrokenLock("vch-a", THEIRS),)
        assert yard.holders() == [A.host, B.host]
    assert f"vch-a: broke the lock of {THEIRS}" in yard.warnings()
    assert yard.holders() == []


def test_who_came_after_the_broken_one_is_not_broken_too(yard: Yard) -> None:
    lock = yard.locks[A.host]
    lock.held = THEIRS
    later = replace(THEIRS, nonce="later", since="today")

    def slip_in() -> None:
        if lock.held is None:
            lock.held = later

    lock.on_take = slip_in
    with pytest.raises(UnavailableError, match=r"holds it: ci@runner-7, process 3, since today"):  # noqa: SIM117 - in this order
        with yard.machine(breaks=True).holding([A]):
            pass
    assert lock.held == later


def test_a_lock_that_was_broken_meanwhile_is_left_to_its_new_holder_and_told(yard: Yard) -> None:
    with yard.machine().holding([A]):
        yard.locks[A.host].held = THEIRS
    assert yard.locks[A.host].held == THEIRS
    assert f"our lock was broken meanwhile, by {THEIRS}" in yard.warnings()


def test_a_host_that_does_not_tell_the_holder_is_still_waited_for(yard: Yard) -> None:
    class Mute(MemoryLock):
        def take(self, holder: Holder) -> Holder | None:
            return None

    yard.locks[A.host] = Mute()
    with pytest.raises(UnavailableError, match="holds it, and does not say which"), yard.machine().holding([A]):
        pass


def test_a_host_that_keeps_no_lock_is_promoted_to_with_a_warning(yard: Yard) -> None:
    yard.locks[A.host].failures = [UnsupportedError("it keeps no volumes for us: No volume store named (default)")]
    with yard.machine().holding([A, B]) as held:
        assert held == Held()
    assert yard.warnings() == (
        "vch-a: only this machine keeps other promotions away from it: it keeps no volumes for us: "
        "No volume store named (default)"
    )


@pytest.mark.parametrize("error", [UnavailableError("away"), DeadlineError("slow")])
def test_a_host_that_is_away_is_not_promoted_to_and_the_others_are(yard: Yard, error: ImagepipeError) -> None:
    yard.locks[A.host].failures = [error]
    with yard.machine().holding([A, B]) as held:
        assert held.failed == {A.host: error}
        assert yard.holders() == [B.host]
    assert yard.holders() == []
    # What was too slow to answer may have been taken all the same.
    assert ("release" in yard.locks[A.host].asked) is isinstance(error, DeadlineError)


def test_a_slow_host_that_cannot_be_let_go_either_is_told_once(yard: Yard) -> None:
    yard.locks[A.host].failures = [DeadlineError("slow")]
    yard.locks[A.host].release_failure = UnavailableError("away")
    with yard.machine().holding([A]):
        pass
    assert yard.warnings() == ""


def test_a_host_that_cannot_even_be_opened_is_not_promoted_to(yard: Yard) -> None:
    yard.refusal = SettingsError("no certificates")
    with yard.machine().holding([A]) as held:
        assert held.failed == {A.host: yard.refusal}


def test_a_lock_that_cannot_be_let_go_is_told(yard: Yard) -> None:
    yard.locks[A.host].release_failure = UnavailableError("release its lock: the cable is cut")
    with yard.machine().holding([A]):
        pass
    assert "vch-a: the lock stays there: release its lock: the cable is cut" in yard.warnings()


def test_locks_end_with_an_error_and_with_ctrl_c(yard: Yard) -> None:
    for error in (RuntimeError, KeyboardInterrupt):
        with pytest.raises(error), yard.machine().holding([A, B]):
            raise error
        assert yard.holders() == []


def test_ctrl_c_while_locks_are_let_go_lets_go_first(yard: Yard) -> None:
    seen: list[str] = []
    machine = yard.machine()
    release = machine._release

    def interrupted(attempt: _Attempt, hosts: Sequence[str]) -> None:
        seen.append("asked")
        if len(seen) == 1:
            raise KeyboardInterrupt
        release(attempt, hosts)

    machine._release = interrupted  # type: ignore[method-assign] # in its thread nobody can press a key
    with pytest.raises(KeyboardInterrupt), machine.holding([A, B]):
        pass
    assert yard.holders() == []


@pytest.fixture
def stopped_while_asking(yard: Yard, monkeypatch: pytest.MonkeyPatch) -> Iterator[Event_]:
    """Ctrl-C comes while the first of the targets has not answered yet; it does so once this is set."""
    answers, asked, each = Event_(), Event_(), fanout.each
    threads = list[Thread]()

    def on_take() -> None:
        asked.set()
        answers.wait(10)

    def interrupted(items: Sequence[str], function: Callable[[str], object], *, jobs: int) -> object:
        if threads or not items:
            return each(items, function, jobs=jobs)
        threads.extend(Thread(target=function, args=(item,)) for item in items)
        for one in threads:
            one.start()
        asked.wait(10)
        threads[-1].join(10)  # the other has answered
        raise KeyboardInterrupt

    yard.locks[A.host].on_take = on_take
    monkeypatch.setattr(fanout, "each", interrupted)
    yield answers
    answers.set()
    for one in threads:
        one.join(10)


def test_ctrl_c_waits_for_a_lock_that_was_asked_for_and_lets_go_of_it(yard: Yard, stopped_while_asking: Event_) -> None:
    def answer() -> None:
        stopped_while_asking.set()
        time.sleep(0.01)

    yard.on_pause = answer
    with pytest.raises(KeyboardInterrupt), yard.machine().holding([A, B]):
        pass
    assert yard.holders() == []
    assert yard.paused_s
    assert "vch-a: was asked for its lock: waits for the answer" in yard.warnings()
    assert "doctor" not in yard.warnings()


@pytest.mark.parametrize("again", [False, True])
def test_ctrl_c_says_of_which_target_it_is_not_known_whether_it_is_locked(
    yard: Yard, stopped_while_asking: Event_, again: bool
) -> None:
    def press() -> None:
        if again:
            raise KeyboardInterrupt

    yard.on_pause = press
    with pytest.raises(KeyboardInterrupt), yard.machine().holding([A, B]):
        pass
    assert len(yard.paused_s) == (1 if again else 10)
    assert "vch-a: does not say whether it is locked by us: look with `imagepipe doctor`" in yard.warnings()
    assert "vch-b: does not say" not in yard.warnings()
    assert B.host not in yard.holders()
    stopped_while_asking.set()


def test_a_lock_that_comes_in_after_ctrl_c_is_let_go_again(yard: Yard) -> None:
    late = _Attempt("nonce", {A.host: A.name}, {A.host: A}, over=True)
    yard.machine()._try(late, A.host)
    assert yard.holders() == []
    assert yard.locks[A.host].asked == ["take", "release"]


def test_a_machine_is_its_folder_of_locks_and_the_name_of_a_lock_does_not_change(tmp_path: Path) -> None:
    one, two = (TargetLocks(tmp_path / name, wait_s=0) for name in ("one", "two"))
    assert one.place(A.host) == TargetLocks(tmp_path / "one", wait_s=0).place(A.host)
    assert len({one.place(A.host), one.place(B.host), two.place(A.host)}) == 3


def test_all_who_come_first_to_a_folder_at_once_are_one_machine(tmp_path: Path) -> None:
    with ThreadPoolExecutor(8) as pool:
        places = set(pool.map(lambda _: TargetLocks(tmp_path, wait_s=0).place(A.host), range(32)))
    assert len(places) == 1
    assert [path.name for path in tmp_path.iterdir()] == ["id"]


def test_a_machine_without_an_id_has_a_place_of_its_own_all_the_same(tmp_path: Path) -> None:
    without = TargetLocks(tmp_path, wait_s=0, machine_id=tmp_path / "none").place(A.host)
    named = tmp_path / "machine-id"
    named.write_text("0123456789abcdef")
    assert without.endswith(".lock")
    assert without != TargetLocks(tmp_path, wait_s=0, machine_id=named).place(A.host)


def test_a_folder_that_cannot_be_written_has_no_place(tmp_path: Path) -> None:
    (tmp_path / "locks").write_text("a file")
    with pytest.raises(UnavailableError, match="lock target tcp://vch-a"):
        TargetLocks(tmp_path / "locks", wait_s=0).place(A.host)


@pytest.mark.parametrize(("since", "age"), [("2026-01-02T03:04:05+00:00", "d"), ("2999-01-01T00:00:00+00:00", "0 s")])
def test_an_age_is_told_in_the_unit_that_counts(since: str, age: str) -> None:
    assert age_of(since).endswith(age)


def test_a_broken_lock_is_on_record_even_where_nothing_had_to_be_done() -> None:
    small = Small()
    manifest = small.image()
    target = small.target("vch-a")
    world = small.world()
    apply(make_plan("x", TAGGED, [target], world), world)
    small.held = Held(broken=(BrokenLock("vch-a", THEIRS),))
    again = apply(make_plan("x", TAGGED, [target], world), world, reason="the runner is gone")
    assert again.targets[0].arrival is Arrival.PRESENT
    proofs = world.reader.proofs(BARE.pin(manifest.digest), PROMOTION_PREDICATE, (CI,))
    (broken,) = (said for one in proofs if "brokenLocks" in (said := one.verified.statement.predicate))
    assert broken["reason"] == "the runner is gone"
    assert broken["brokenLocks"] == [{"target": "vch-a", "holder": THEIRS.who, "since": THEIRS.since}]


def test_a_target_that_could_not_be_locked_is_not_touched_and_fails_with_the_reason() -> None:
    small = Small()
    small.image()
    one, two = small.target("vch-a"), small.target("vch-b")
    small.held = Held(failed={one.host: UnavailableError("lock it: away", hint="look")})
    promotion = apply(make_plan("x", TAGGED, [one, two], small.world()), small.world())
    assert [result.arrival for result in promotion.targets] == [Arrival.FAILED, Arrival.PROMOTED]
    assert (promotion.targets[0].exit_code, promotion.targets[0].hint) == (8, "look")
    assert str(promotion.targets[0].error).endswith("to vch-a: lock it: away")
    assert small.hosts["vch-a"].pulled == []
