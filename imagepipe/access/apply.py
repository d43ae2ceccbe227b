"""Carries a plan out, past what fails, and proves by reading again that nothing is left to do.

>>> apply_plan.__name__
'apply_plan'
"""

from collections.abc import Callable, Sequence
from contextlib import nullcontext
from dataclasses import dataclass
from typing import Final

from imagepipe.access.changes import Changes, Making
from imagepipe.access.plan import plan_access
from imagepipe.access.read import read_access
from imagepipe.access.state import (
    ROBOT_MAKERS,
    AccessPlan,
    Action,
    Change,
    DesiredProject,
    ProjectState,
    fingerprint,
    fingerprint_of_wanted,
)
from imagepipe.errors import CredentialsError, ImagepipeError, RefusedError, StalePlanError, UnavailableError
from imagepipe.events import EventSink, silent, step
from imagepipe.model.access import Caller, Principal, RobotSecret, Role
from imagepipe.ports.administration import Administration
from imagepipe.problems import did_you_mean

__all__ = ["Applied", "Failure", "apply_plan", "needs_secrets"]

# After so many refusals to answer in a row, each retried already, asking on only keeps people waiting.
_AWAY_AFTER: Final = 3


@dataclass(frozen=True, slots=True)
class Failure:
    """A change that was not made, and why; `skipped` when it was not even tried."""

    change: Change
    error: ImagepipeError
    skipped: bool = False


@dataclass(frozen=True, slots=True)
class Applied:
    """What became of a plan.

    Attributes:
        done: Changes made, each read back.
        failed: Changes not made.
        remaining: The plan that reading again gives, empty when everything is as the file says; None: reading failed.
        unread: Why reading again failed.
    """

    done: tuple[Change, ...]
    failed: tuple[Failure, ...]
    remaining: AccessPlan | None
    unread: ImagepipeError | None = None


def needs_secrets(plan: AccessPlan) -> bool:
    """Tells whether carrying the plan out makes robots, whose secrets need a place to go."""
    return any(change.action in ROBOT_MAKERS for change in plan.changes)


def apply_plan(
    plan: AccessPlan,
    desired: Sequence[DesiredProject],
    admin: Administration,
    *,
    deliver: Callable[[RobotSecret], None],
    making: Making = nullcontext,
    sink: EventSink = silent,
) -> Applied:
    """Carries out exactly this plan, continues past what fails, and reads everything again.

    Args:
        plan: What `plan_access` worked out.
        desired: What it was worked out for.
        admin: The Harbor.
        deliver: Takes a new robot's secret to where it belongs; when it cannot, the robot is deleted again.
        making: What a robot is made within; yields which.
        sink: Hears about each change.

    Raises:
        StalePlanError: Access or the file is no longer what the plan was worked out from; nothing was changed.
    """
    caller = admin.callers.caller()
    names = [one.state.name for one in desired]
    if fingerprint_of_wanted(desired) != plan.wanted:
        raise StalePlanError("the access file has changed since the plan was made", hint="make a new plan from it")
    actual = read_access(names, admin)
    if fingerprint(names, actual) != plan.basis:
        raise StalePlanError("access has changed since the plan was made", hint="make a new plan and look at it")
    _check_changes(plan, plan_access(desired, actual, caller=caller, force=True, folds=admin.folds))
    run = _Run(Changes(admin, deliver, making), sink)
    for change in plan.changes:
        run.attempt(change)
    try:
        after = _end_creation(run, desired, names, caller)
    except ImagepipeError as error:
        return Applied(tuple(run.done), tuple(run.failed), None, error)
    remaining = plan_access(desired, after, caller=caller, force=True, folds=admin.folds)
    return Applied(tuple(run.done), tuple(run.failed), remaining)


def _check_changes(plan: AccessPlan, fresh: AccessPlan) -> None:
    """Returns when a plan holds nothing but what the file asks for: a saved one may have passed through many hands.

    Who made it may have been another: then it takes another creator out of a new project, where nobody is by that name.

    Raises:
        StalePlanError: It holds something else.
    """
    asked = {(change.project, change.action, change.subject): change for change in fresh.changes}
    for change in plan.changes:
        new = (change.project, Action.CREATE_PROJECT, change.project) in asked
        creator = new and change.action is Action.REMOVE_MEMBER
        if asked.get((change.project, change.action, change.subject)) != change and not creator:
            raise StalePlanError(
                f"the plan holds what the access file does not ask for: {change.describe()}",
                hint="make a new plan, and find out who has changed this one",
            )


def _end_creation(
    run: "_Run", desired: Sequence[DesiredProject], names: Sequence[str], caller: Caller
) -> dict[str, ProjectState]:
    """Brings new projects to what is wanted, where Harbor put something of its own into them, and reads all again.

    A robot that creates a project is no member of it; a system administrator of Harbor's choice becomes its admin.
    Source: Harbor v2.15.2 src/server/v2.0/handler/project.go
    """
    created = {change.project for change in run.done if change.action is Action.CREATE_PROJECT}
    after = read_access(names, run.changes.admin)
    whole = created - {failure.change.project for failure in run.failed}
    made = [one for one in desired if one.state.name in whole]
    left = plan_access(made, after, caller=caller, force=True, folds=run.changes.admin.folds)
    for change in left.changes:
        run.attempt(change)
    return read_access(names, run.changes.admin) if left.changes else after


class _Run:
    """One run through a plan: what was done, what was not, and whether it makes sense to go on."""

    def __init__(self, changes: Changes, sink: EventSink) -> None:
        self.changes = changes
        self.sink = sink
        self.done: list[Change] = []
        self.failed: list[Failure] = []
        self._away = 0

    def attempt(self, change: Change) -> None:
        """Makes the change unless something that failed before it forbids that."""
        blocked = self._blocked(change)
        if blocked is not None:
            self.failed.append(Failure(change, blocked, skipped=True))
            return
        try:
            with step(self.sink, change.action.value, _subject(change)):
                self.changes.make(change)
        except ImagepipeError as error:
            self._away = self._away + 1 if isinstance(error, UnavailableError) else 0
            self.failed.append(Failure(change, error))
        else:
            self._away = 0
            self.done.append(change)

    def _blocked(self, change: Change) -> ImagepipeError | None:
        """Returns why a change must not be tried.

        Harbor is away, the project is not there or lacks a new admin, or it takes from somebody whom the file may mean
        by a name that Harbor does not take.
        """
        takes_away = change.before == Role.PROJECT_ADMIN.value
        for failure in reversed(self.failed):
            if isinstance(failure.error, CredentialsError) or self._away >= _AWAY_AFTER:
                return failure.error
            if failure.change.project != change.project:
                continue
            made_admin = failure.change.after == Role.PROJECT_ADMIN.value
            if failure.change.action is Action.CREATE_PROJECT or (takes_away and made_admin):
                return failure.error
            if _may_be_meant(change, failure.change):
                return RefusedError(
                    f"{failure.change.subject} could not be added, and may be another spelling of {change.subject}",
                    hint=f"correct {failure.change.subject} in the access file, or take it out",
                )
        return None


def _may_be_meant(removed: Change, added: Change) -> bool:
    """Tells whether who is removed may be who was to be added: a wrong letter must cost nobody their access."""
    if removed.action is not Action.REMOVE_MEMBER or added.action is not Action.ADD_MEMBER:
        return False
    names = [Principal.parse(one.subject).name.casefold() for one in (removed, added)]
    return bool(did_you_mean(names[0], names[1:]))


def _subject(change: Change) -> str:
    return change.project if change.action is Action.CREATE_PROJECT else f"{change.project} {change.subject}"
