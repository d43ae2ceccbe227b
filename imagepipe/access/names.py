"""How projects, robots and sets of rights are called, and which robots are generations of one another.

A robot's login cannot be given a new secret by a robot, so a new secret means a new robot: `ci`, then `ci.g2`, `ci.g3`.
In access files and plans the whole family is `ci`. Source: Harbor v2.15.2 src/common/rbac/const.go grants no robot
`robot:update`.

>>> family_of("ci.g3"), robot_name("ci", 3), family_of("ci.g1")
(('ci', 3), 'ci.g3', ('ci.g1', 1))
"""

import re
from collections.abc import Collection, Iterable
from typing import Final

from imagepipe.errors import InputError, NotFoundError
from imagepipe.model.access import PERMISSION_SETS, Principal, PrincipalKind, Right, Robot
from imagepipe.problems import did_you_mean

__all__ = [
    "WHOLE",
    "check_name",
    "families",
    "family_of",
    "identity_of",
    "is_name",
    "matching",
    "named_rights",
    "need_family",
    "reach_of",
    "robot_name",
    "short_rights",
]

# Projects and robots alike. Source: Harbor v2.15.2 src/server/v2.0/handler/{project,robot}.go; 255 characters.
_NAME: Final = re.compile(r"[a-z0-9]+(?:[._-][a-z0-9]+)*")
_LONGEST: Final = 255
# How people name the place of robots that belong to no project; no project can be called so.
WHOLE: Final = "/"
# The first generation has no mark.
_GENERATION: Final = re.compile(r"(?P<base>.+)\.g(?P<number>[2-9]|[1-9][0-9]{1,8})")


def is_name(text: str) -> bool:
    """Tells whether Harbor allows the name for a project or a robot."""
    return len(text) <= _LONGEST and _NAME.fullmatch(text) is not None


def check_name(what: str, text: str) -> str:
    """Returns the name of a project or robot.

    Raises:
        InputError: Harbor would not allow it.
    """
    if not is_name(text):
        raise InputError(
            f"not a name for a {what}: {text[:80]!r}", hint="use a-z and 0-9, with single . _ or - between them"
        )
    return text


def family_of(name: str) -> tuple[str, int]:
    """Returns a robot's family and generation. Law: `robot_name(*family_of(name)) == name`."""
    found = _GENERATION.fullmatch(name)
    return (found["base"], int(found["number"])) if found else (name, 1)


def robot_name(family: str, generation: int) -> str:
    """Returns the name of a family's robot; generations count from 1."""
    return family if generation == 1 else f"{family}.g{generation}"


def families(robots: Iterable[Robot]) -> dict[str, tuple[Robot, ...]]:
    """Returns robots by family, each oldest first."""
    found: dict[str, list[Robot]] = {}
    for robot in sorted(robots, key=lambda robot: family_of(robot.name)):
        found.setdefault(family_of(robot.name)[0], []).append(robot)
    return {family: tuple(members) for family, members in found.items()}


def named_rights(rights: frozenset[Right]) -> list[str]:
    """Returns rights as people write them: the largest permission set within them, and every other right.

    >>> named_rights(PERMISSION_SETS["push"] | {Right.parse("scan:read")})
    ['push', 'scan:read']
    """
    within = ((name, held) for name, held in PERMISSION_SETS.items() if held <= rights)
    name, held = max(within, key=_size, default=("", frozenset[Right]()))
    return ([name] if name else []) + sorted(map(str, rights - held))


def short_rights(rights: frozenset[Right]) -> str:
    """Returns rights in a word or two: a permission set, or the largest one within them and how many more.

    >>> short_rights(PERMISSION_SETS["push"] | {Right.parse("scan:read")})
    'push and 1 more'
    """
    first, *more = named_rights(rights) or [""]
    return f"{first} and {len(more)} more" if more and first in PERMISSION_SETS else ", ".join((first, *more))


def _size(named: tuple[str, frozenset[Right]]) -> int:
    return len(named[1])


def reach_of(robot: Robot) -> str:
    """Returns what a robot may do in a few words, and where, if it is a robot of the whole Harbor."""
    if not robot.grants:
        return short_rights(robot.rights)
    places = {"*": "all projects", WHOLE: "the system"}
    return "; ".join(
        f"{short_rights(one.rights)} in {places.get(one.namespace, one.namespace)}" for one in robot.grants
    )


def need_family(robots: Iterable[Robot], name: str, where: str) -> tuple[Robot, ...]:
    """Returns all generations of the robot, oldest first; `name` may be any of them.

    Raises:
        NotFoundError: There is no such robot.
    """
    known = families(robots)
    found = known.get(family_of(name)[0])
    if not found:
        raise NotFoundError(
            f"no robot {name!r} in {where}{did_you_mean(name, known)}", hint="see `imagepipe robot list`"
        )
    return found


def identity_of(principal: Principal, *, folds: bool = False) -> tuple[str, str]:
    r"""Returns what makes two spellings the same principal: an LDAP name's case and blanks round separators do not.

    With `folds` no name's case does: so `Administration.folds` says of directories.
    Source: RFC 4514 (`\,` is part of a value), RFC 4517 caseIgnoreMatch.

    >>> identity_of(Principal.parse("group:CN=Devs, DC=Example"))
    ('group', 'cn=devs,dc=example')
    """
    if principal.kind is PrincipalKind.GROUP and "=" in principal.name:
        parts = re.split(r"(?<!\\),", principal.name)
        return principal.kind.value, ",".join("=".join(x.strip() for x in part.split("=", 1)) for part in parts).lower()
    return principal.kind.value, principal.name.lower() if folds else principal.name


def matching(who: Principal, held: Collection[Principal], *, folds: bool = False) -> Principal | None:
    """Returns which of these principals is meant: spelled so, spelled alike, or the group that a DN names.

    Harbor lists a group that was added by its DN under its common name.
    Source: Harbor v2.15.2 src/pkg/ldap/ldap.go (SearchGroupByDN)

    >>> str(matching(Principal.parse("group:cn=devs,dc=example"), [Principal.parse("group:Devs")]))
    'group:Devs'
    """
    if who in held:
        return who
    identity, name = identity_of(who, folds=folds), _common_name(who)
    alike = (one for one in sorted(held, reverse=True) if identity_of(one, folds=folds) == identity)
    named = (one for one in held if one.kind is who.kind and name and name == one.name.casefold())
    return next(alike, None) or next(named, None)


def _common_name(principal: Principal) -> str:
    """Returns the value of the first part of a group's DN, in lower case; nothing for other principals."""
    if principal.kind is not PrincipalKind.GROUP:
        return ""
    first = re.split(r"(?<!\\),", principal.name)[0].partition("=")[2]
    return first.replace("\\", "").strip().casefold()
