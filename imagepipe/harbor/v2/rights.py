"""What robots of a Harbor 2.x may be allowed, and how it is written down.

>>> [grant["kind"] for grant in grants(frozenset({Right.parse("repository:pull")}), "es-sandbox")]
['project']
"""

from collections.abc import Iterable, Sequence
from typing import Final

from imagepipe.errors import RefusedError, UnsupportedError
from imagepipe.harbor.client import Call, decoded
from imagepipe.harbor.features import SINCE, Gate
from imagepipe.harbor.v2.session import Session
from imagepipe.harbor.wire import WirePermission, WirePermissions, parse
from imagepipe.model.access import Grant, Right

__all__ = ["EFFECTS", "check_grantable", "exact", "grants", "held_grants", "held_rights"]

# Both allow. We write the first; the second is what Harbor stores of a robot that was made without one.
EFFECTS: Final = ("allow", "")
_ALL_PROJECTS: Final = "*"
_SYSTEM: Final = "/"
# What exists in the system's table of rights only; what is in both is granted in all projects.
# Source: goharbor/harbor v2.15.2 src/common/rbac/const.go (PoliciesMap, NolimitProvider)
_SYSTEM_RESOURCES: Final = frozenset(
    {
        "audit-log", "catalog", "garbage-collection", "jobservice-monitor", "ldap-user", "preheat-instance",
        "purge-audit", "registry", "replication", "replication-adapter", "replication-policy", "scan-all",
        "security-hub", "system-volumes", "user", "user-group",
    }
)  # fmt: skip
_SYSTEM_RIGHTS: Final = frozenset(
    map(
        Right.parse,
        (
            "project:create",
            "project:list",
            "quota:list",
            "quota:update",
            "scanner:delete",
            "scanner:list",
            "scanner:update",
        ),
    )
)
_NEVER: Final = Right("robot", "update")


def grants(rights: Iterable[Right], project: str | None, effect: str = EFFECTS[0]) -> list[dict[str, object]]:
    """Returns a robot's permissions as Harbor takes them.

    Args:
        rights: What it may do.
        project: Its project, or None for a robot of the whole Harbor, whose rights hold in every project.
        effect: One of `EFFECTS`.
    """
    if project is not None:
        return [_grant("project", project, rights, effect)]
    ours = [right for right in rights if not _of_system(right)]
    systems = [right for right in rights if _of_system(right)]
    both = (("project", _ALL_PROJECTS, ours), ("system", _SYSTEM, systems))
    return [_grant(kind, namespace, held, effect) for kind, namespace, held in both if held]


def exact(held: Iterable[Grant], effect: str = EFFECTS[0]) -> list[dict[str, object]]:
    """Returns what a robot of the whole Harbor may do in each place, as Harbor takes it."""
    return [
        _grant("system" if one.namespace == _SYSTEM else "project", one.namespace, one.rights, effect) for one in held
    ]


def held_grants(permissions: Iterable[WirePermission]) -> tuple[Grant, ...]:
    """Returns what permissions allow in each place, in the order of names."""
    places: dict[str, frozenset[Right]] = {}
    for permission in permissions:
        # Source: Harbor v2.15.2 src/controller/robot/model.go: the namespace of the system is "/".
        place = _SYSTEM if permission.kind == "system" else permission.namespace
        places[place] = places.get(place, frozenset()) | held_rights([permission])
    return tuple(Grant(place, rights) for place, rights in sorted(places.items()) if rights)


def held_rights(permissions: Iterable[WirePermission]) -> frozenset[Right]:
    """Returns what permissions allow, wherever they do."""
    return frozenset(
        Right(access.resource, access.action)
        for permission in permissions
        for access in permission.access
        if access.effect in EFFECTS
    )


def check_grantable(session: Session, rights: Iterable[Right], project: str | None, what: str) -> None:
    """Lets rights pass that this Harbor lets robots have.

    Raises:
        UnsupportedError: A right came with a later version.
        RefusedError: Robots cannot have a right; the message names all of them.
    """
    wanted = sorted(rights)
    _check_version(session.gate, wanted, what)
    table = _table(session, project, what)
    barred = [right for right in wanted if right == _NEVER or "*" in str(right) or (table and right not in table)]
    if project is not None:
        barred = [right for right in wanted if right in barred or _of_system(right)]
    if barred:
        named = ", ".join(map(str, barred))
        raise RefusedError(
            f"{what}: robots cannot be given {named}"
            + (" in a project" if project is not None and any(map(_of_system, barred)) else ""),
            hint="leave it out" if len(barred) == 1 else "leave them out",
        )


def _check_version(gate: Gate, wanted: Sequence[Right], what: str) -> None:
    late = [right for right in wanted if not gate.has(f"right:{right.resource}")]
    if not late:
        return
    version = ".".join(map(str, max(SINCE[f"right:{right.resource}"] for right in late)))
    others = ",".join(str(right) for right in wanted if right not in late)
    raise UnsupportedError(
        f"{what}: right {', '.join(map(str, late))}: needs Harbor ≥ {version}, this is {gate.version}",
        # Whoever asked for a set by name cannot know what is in it.
        hint=f"give it the others only: {others}" if others else f"ask for an upgrade to Harbor {version} or newer",
    )


def _table(session: Session, project: str | None, what: str) -> frozenset[Right]:
    """Returns what robots may be given as Harbor says it; nothing where it does not tell us."""
    if not session.gate.has("permissions"):
        return frozenset()
    response = session.client.call(Call("GET", "/permissions", what, accept=(403, 404)))
    if not response.is_success:
        return frozenset()
    tables = parse(WirePermissions, decoded(response, what), what)
    entries = tables.project if project is not None else (*tables.project, *tables.system)
    return frozenset(Right(entry.resource, entry.action) for entry in entries)


def _of_system(right: Right) -> bool:
    return right.resource in _SYSTEM_RESOURCES or right in _SYSTEM_RIGHTS


def _grant(kind: str, namespace: str, rights: Iterable[Right], effect: str) -> dict[str, object]:
    access = [{"resource": right.resource, "action": right.action, "effect": effect} for right in sorted(rights)]
    return {"kind": kind, "namespace": namespace, "access": access}
