"""What `imagepipe robot create` is asked for: which robot, and what it may do where."""

from __future__ import annotations

from typing import TYPE_CHECKING

from imagepipe.errors import InputError, UsageError

if TYPE_CHECKING:
    from imagepipe.model.access import Right, RobotRequest

__all__ = ["requested", "told_rights"]


def requested(
    place: str, name: str, can: str, projects: list[str], system_can: str, days: int | None, description: str
) -> RobotRequest:
    """Returns the robot to make.

    Raises:
        InputError: No robot can be made by that name.
        UsageError: It is not clear what it may do, or where.
    """
    from imagepipe.access.names import WHOLE, check_name, family_of
    from imagepipe.model.access import Grant, RobotRequest

    family, generation = family_of(check_name("robot", name))
    if generation > 1:
        # Whoever rotates the robot itself would end this one.
        raise InputError(
            f"{name} is what generation {generation} of robot {family} is called",
            hint=f"choose another name; `imagepipe robot rotate` makes generations of {family}",
        )
    if place != WHOLE:
        if projects or system_can:
            raise UsageError(
                "--in and --system-can are for robots of the whole Harbor", hint=f"write {WHOLE} as PROJECT"
            )
        if not can:
            raise UsageError("what may it do?", hint="add --can, such as --can push")
        return RobotRequest(name, place, _rights(can), days, description)
    if bool(can) is not bool(projects) or not (can or system_can):
        raise UsageError(
            "what may it do, and in which projects?", hint="give --can with --in PROJECT or --in '*', or --system-can"
        )
    held = [Grant(one, _rights(can)) for one in dict.fromkeys(projects)]
    held += [Grant(WHOLE, _rights(system_can))] if system_can else []
    rights = frozenset(right for one in held for right in one.rights)
    grants = tuple(sorted(held, key=lambda one: one.namespace))
    return RobotRequest(name, None, rights, days, description, grants)


def told_rights(request: RobotRequest) -> str:
    """Returns what a robot may do, for people."""
    from imagepipe.access.names import named_rights

    if not request.grants:
        return ", ".join(named_rights(request.rights))
    return "; ".join(f"{', '.join(named_rights(one.rights))} in {one.namespace}" for one in request.grants)


def _rights(text: str) -> frozenset[Right]:
    from imagepipe.model.access import PERMISSION_SETS, Right
    from imagepipe.problems import did_you_mean

    rights: set[Right] = set()
    for word in filter(None, map(str.strip, text.split(","))):
        if word not in PERMISSION_SETS and ":" not in word:
            raise UsageError(
                f"--can {word[:40]}: no such permission set{did_you_mean(word, PERMISSION_SETS)}",
                hint=f"use {', '.join(PERMISSION_SETS)}, or resource:action",
            )
        rights |= PERMISSION_SETS.get(word) or {Right.parse(word)}
    return frozenset(rights)
