"""One promotion per target at a time, whoever promotes from wherever: the lock is kept on the target itself.

The machine's own lock stands before it. It costs nothing, and whoever has it knows that a lock on a target that was
left by this very machine belongs to nobody any more.

>>> from imagepipe.promote.sharing import SharedLocks
>>> SharedLocks.__name__
'SharedLocks'
"""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from secrets import token_hex
from typing import Final

from imagepipe import fanout
from imagepipe.errors import DeadlineError, ImagepipeError, UnavailableError, UnsupportedError
from imagepipe.events import EventSink, Warned
from imagepipe.model.host import Target
from imagepipe.model.lock import BrokenLock, Held, Holder
from imagepipe.ports.locking import HostLock
from imagepipe.promote.locking import TargetLocks, age_of

__all__ = ["SharedLocks"]

# A request or two each time: often enough beside a pull, seldom enough for a VCH.
_STEP_S: Final = 1.0
# A VCH makes a disk of the volume that is its lock. Also as long as GitHub's runner waits before it kills a job.
_LATE_S: Final = 10.0


@dataclass(slots=True)
class _Attempt:
    """The locks of one promotion by host, as far as it got; once it is `over`, what comes in late is let go again."""

    nonce: str
    names: dict[str, str]
    targets: dict[str, Target]
    taken: dict[str, HostLock] = field(default_factory=dict)
    unlocked: set[str] = field(default_factory=set)
    failed: dict[str, ImagepipeError] = field(default_factory=dict)
    broken: list[BrokenLock] = field(default_factory=list)
    over: bool = False
    asking: set[str] = field(default_factory=set)

    @property
    def left(self) -> list[str]:
        """The hosts that are still to be locked, in the one order that everybody keeps."""
        return [one for one in sorted(self.targets) if one not in {*self.taken, *self.unlocked, *self.failed}]


class SharedLocks:
    """Locks on the targets, behind those of this machine.

    Args:
        machine: This machine's own locks.
        connect: Opens the lock of a target, lazily.
        events: Where warnings go.
        jobs: Targets asked at once.
        breaks: Whether an operator said that somebody else's lock may be broken.
    """

    def __init__(
        self,
        machine: TargetLocks,
        connect: Callable[[Target], HostLock],
        *,
        events: EventSink,
        jobs: int = 8,
        breaks: bool = False,
    ) -> None:
        self._machine = machine
        self._connect = connect
        self._events = events
        self._jobs = jobs
        self._breaks = breaks

    @contextmanager
    def holding(self, targets: Sequence[Target]) -> Iterator[Held]:
        """Holds the locks of all targets' hosts meanwhile; they are let go however the block ends.

        Raises:
            UnavailableError: Another promotion holds one for too long.
        """
        by_host = {target.host: target for target in reversed(targets)}
        attempt = _Attempt(token_hex(16), {host: one.name for host, one in by_host.items()}, by_host)
        with self._machine.holding(targets):
            try:
                self._take_all(attempt)
                yield Held(tuple(attempt.broken), attempt.failed)
            finally:
                attempt.over = True
                self._let_go(attempt)

    def _take_all(self, attempt: _Attempt) -> None:
        """Takes every lock at once; where one is held, those after it are let go until it is free.

        So whoever waits holds only what comes before in the one order: nobody waits for somebody who waits for them.
        """
        waited_s, told = 0.0, set[str]()
        blocked: str | None = None
        while left := attempt.left:
            tried = [blocked] if blocked in left else left
            outcomes = fanout.each(tried, lambda host: self._try(attempt, host), jobs=self._jobs)
            holders = {one.item: one.unwrap() for one in outcomes}
            held = [host for host in tried if holders[host] is not None]
            blocked = held[0] if held else None
            if blocked is None:
                continue
            self._release(attempt, [host for host in attempt.taken if host > blocked])
            if waited_s >= self._machine.wait_s:
                raise _held(attempt.names[blocked], holders[blocked], waited_s)
            if blocked not in told:
                told.add(blocked)
                self._events(Warned(attempt.names[blocked], f"waits: another promotion holds it{holders[blocked]}"))
            self._machine.pause(_STEP_S)
            waited_s += _STEP_S

    def _try(self, attempt: _Attempt, host: str) -> str | None:
        """Returns who holds the host's lock; None once it is ours, or nothing is to be waited for."""
        attempt.asking.add(host)
        try:
            return self._ask(attempt, host)
        finally:
            if attempt.over and host in attempt.taken:  # Ctrl-C while we asked
                self._release(attempt, [host])
            attempt.asking.discard(host)

    def _ask(self, attempt: _Attempt, host: str) -> str | None:
        name, ours = attempt.names[host], self._holder(attempt, host)
        lock: HostLock | None = None
        try:
            lock = self._connect(attempt.targets[host])
            found = lock.take(ours)
            if found is not None and found.nonce != ours.nonce and self._may_break(attempt, host, found, ours):
                lock.release(found.nonce)
                found = lock.take(ours)
        except UnsupportedError as error:
            self._events(Warned(name, f"only this machine keeps other promotions away from it: {error.message}"))
            attempt.unlocked.add(host)
            return None
        except ImagepipeError as error:
            if lock is not None and isinstance(error, DeadlineError):
                attempt.taken[host] = lock  # it may have been taken all the same
            attempt.failed[host] = error
            return None
        if found is None or found.nonce != ours.nonce:
            return _told(found)
        attempt.taken[host] = lock
        return None

    def _may_break(self, attempt: _Attempt, host: str, found: Holder, ours: Holder) -> bool:
        """Tells whether the lock is nobody's any more, or an operator takes it away; and says so."""
        name = attempt.names[host]
        if found.place == ours.place:
            self._events(Warned(name, f"took over the lock that {found} left on this machine without an end"))
            return True
        if not self._breaks or any(one.target == name for one in attempt.broken):
            return False  # whoever came since then came in good order
        self._events(Warned(name, f"broke the lock of {found}"))
        attempt.broken.append(BrokenLock(name, found))
        return True

    def _holder(self, attempt: _Attempt, host: str) -> Holder:
        since = datetime.now(UTC).isoformat(timespec="seconds")
        return Holder(attempt.nonce, self._machine.who, self._machine.place(host), since)

    def _let_go(self, attempt: _Attempt) -> None:
        """Lets go of what is held, and stays for the answers that are still to come: their threads let go of those.

        First of all that, whatever interrupts us: from another machine nobody can let go of it but with --break-lock.
        """
        try:
            self._release(attempt, list(attempt.taken))
            self._outlast(attempt)
        except KeyboardInterrupt:
            self._release(attempt, list(attempt.taken))
            raise
        finally:
            for host in sorted(attempt.asking):
                message = "does not say whether it is locked by us: look with `imagepipe doctor` once it answers"
                self._events(Warned(attempt.names[host], message))

    def _outlast(self, attempt: _Attempt) -> None:
        for host in sorted(attempt.asking):
            self._events(Warned(attempt.names[host], "was asked for its lock: waits for the answer, to let go of it"))
        waited_s = 0.0
        while attempt.asking and waited_s < _LATE_S:
            self._machine.pause(_STEP_S)
            waited_s += _STEP_S

    def _release(self, attempt: _Attempt, hosts: Sequence[str]) -> None:
        """Lets go; what cannot be let go is told, and this machine takes it over the next time."""
        outcomes = fanout.each(hosts, lambda host: attempt.taken[host].release(attempt.nonce), jobs=self._jobs)
        for outcome in outcomes:
            name, other = attempt.names[outcome.item], outcome.result
            attempt.taken.pop(outcome.item, None)
            if outcome.error is not None and outcome.item not in attempt.failed:
                self._events(Warned(name, f"the lock stays there: {outcome.error.message}"))
            elif other is not None and outcome.item not in attempt.failed:
                self._events(Warned(name, f"our lock was broken meanwhile, by {other}"))


def _told(holder: Holder | None) -> str:
    """Returns how long a lock has been held, and by whom."""
    if holder is None:
        return ", and does not say which"
    try:
        return f" for {age_of(holder.since)}: {holder}"
    except (ValueError, TypeError):
        return f": {holder}"


def _held(name: str, told: str | None, waited_s: float) -> UnavailableError:
    return UnavailableError(
        f"lock target {name}: another promotion holds it{told}; waited {waited_s:g} s",
        hint="wait until it is done; if it is gone for good, add --break-lock and --reason",
    )
