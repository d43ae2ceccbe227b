"""Marks a robot in Harbor itself until its secret is handed over: else nobody knows that nobody has it.

Nobody can ask a command for what it holds, and whoever runs us may keep nothing from run to run, no folder either. So
a robot is made with a description that says so, and these words go once its secret is taken. Whenever a run dies,

- before the robot is there, nothing has happened;
- until the words are gone, the next plan finds them: another robot takes the place of this one. Where the secret had
  been taken just before, that is once more than needed, and the safe side;
- after that, the secret is where it belongs.

A run that comes by while the command is still at work finds the words too, and replaces the robot: then the first one
ends in an error that says so, for nobody knows which of the two secrets was taken last.

What else a description says is its author's, and stays. Whoever writes the words into one asks for a new secret.
Every Harbor whose robots we know (from 2.2 on) takes a description at their making and at every change. But it lets no
robot change a robot, so a robot that makes robots leaves no mark: who runs us as one is told beforehand.
Source: goharbor/harbor v2.15.2 src/server/v2.0/handler/robot.go (CreateRobot, updateV2Robot), src/common/rbac/const.go

>>> marked("builds"), without_mark("builds (secret not handed over yet), nightly")
('builds (secret not handed over yet)', 'builds, nightly')
"""

import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Final

from imagepipe.access.names import WHOLE, family_of
from imagepipe.errors import ImagepipeError, InputError, PartialError
from imagepipe.model.access import Caller, Robot, RobotRequest, RobotSecret
from imagepipe.ports.administration import Robots

__all__ = ["HandoverMark", "can_mark", "is_pending", "marked", "settle", "without_mark"]

_MARK: Final = "(secret not handed over yet)"
_MARKS: Final = re.compile(rf" ?{re.escape(_MARK)}")
# Source: goharbor/harbor v2.15.2 make/migrations/postgresql/0004_1.8.0_schema.up.sql (robot.description)
_LONGEST: Final = 1024


@dataclass(frozen=True, slots=True)
class HandoverMark:
    """Makes robots with the mark, and takes it off once their secret is taken.

    Attributes:
        robots: Harbor's robots.
        take: Takes a robot's secret.
    """

    robots: Robots
    take: Callable[[RobotSecret], None]

    @contextmanager
    def making(self, request: RobotRequest) -> Iterator[RobotRequest]:
        """Yields the robot to make: the one asked for, with the mark.

        Raises:
            InputError: There is no room for it.
        """
        yield replace(request, description=marked(request.description))

    def deliver(self, made: RobotSecret) -> None:
        """Hands a robot's secret over.

        Raises:
            PartialError: It was taken, and the mark may still be there.
        """
        self.take(made)
        settle(made.robot, self.robots)


def can_mark(caller: Caller) -> bool:
    """Tells whether we could take a mark off again."""
    return caller.kind != "robot"


def is_pending(robot: Robot) -> bool:
    """Tells whether nobody may have the robot's secret."""
    return _MARK in robot.description


def marked(description: str) -> str:
    """Returns a description with the mark, once. Law: `without_mark(marked(text)) == without_mark(text)`.

    Raises:
        InputError: Harbor would not take one that long.
    """
    plain = without_mark(description)
    text = f"{plain} {_MARK}" if plain else _MARK
    if len(text) > _LONGEST:
        room = _LONGEST - len(_MARK) - 1
        raise InputError(
            f"a robot's description of {len(description)} characters leaves no room for {_MARK!r}",
            hint=f"shorten it to {room} characters",
        )
    return text


def without_mark(description: str) -> str:
    """Returns a description without the mark. Law: without it, the text is returned as it is."""
    return _MARKS.sub("", description)


def settle(robot: Robot, robots: Robots) -> None:
    """Takes the mark off a robot whose secret was handed over.

    Raises:
        PartialError: It may still be there, or the robot is not: then somebody else has made another one meanwhile.
    """
    try:
        robots.describe(robot, without_mark)
    except ImagepipeError as error:
        raise PartialError(
            f"the secret of {robot.login} was handed over, and that could not be noted in Harbor: {error.message}",
            hint=f"run `imagepipe robot rotate {robot.project or WHOLE} {family_of(robot.name)[0]}` with the same "
            "place for the secret: that makes another one, and hands it over",
        ) from error
