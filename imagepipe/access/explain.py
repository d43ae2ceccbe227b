"""Why Harbor refuses a push or a pull: the one most likely cause, and what ends it.

>>> explain(Facts(Image("es", "web", "1"), push=True, who="dana")).kind
'project_missing'
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import datetime
from typing import Final

from imagepipe.access.facts import Facts, Image
from imagepipe.model.access import Right, Role

__all__ = ["Cause", "Facts", "Image", "explain"]

PULL: Final = Right("repository", "pull")
PUSH: Final = Right("repository", "push")
# Beyond this share of its limit a project has hardly room for one more image.
_NEARLY_FULL: Final = 0.9
# Source: Harbor v2.15.2 src/pkg/scan/vuln/severity.go; an image counts from the project's severity on.
_SEVERITIES: Final = ("none", "negligible", "low", "medium", "high", "critical")


@dataclass(frozen=True, slots=True)
class Cause:
    """Why it is refused.

    Attributes:
        kind: A word for programs; `none` when nothing that Harbor shows stands in the way.
        message: What is the matter.
        fix: A command, or what to ask somebody for.
    """

    kind: str
    message: str
    fix: str


def explain(facts: Facts) -> Cause:
    """Returns the first obstacle in the order in which Harbor meets them.

    Source: Harbor v2.15.2 src/server/middleware: security, readonly, v2auth, immutable, quota, contenttrust, vulnerable
    """
    checks: tuple[Callable[[Facts], Iterator[Cause]], ...] = (_login, _project, _robot, _mode, _rights)
    checks += (_immutable, _quota) if facts.push else (_signature, _vulnerable)
    for check in checks:
        for cause in check(facts):
            return cause
    verb = "push" if facts.push else "pull"
    return Cause(
        "none",
        f"nothing that Harbor shows keeps {facts.who} from {_ing(facts)} {facts.image}",
        f"try to {verb} it again, and read what is said",
    )


def _login(facts: Facts) -> Iterator[Cause]:
    if facts.refused:
        said = "; a robot that has expired or is switched off is answered the same" if "$" in facts.who else ""
        yield Cause("credentials", f"{facts.refused}{said}", facts.refused_hint or "set harbor.password_file")


def _project(facts: Facts) -> Iterator[Cause]:
    name = facts.image.project
    if facts.hidden:
        message = f"project {name} exists, and {facts.who} is no member of it"
        yield Cause("no_member", message, f"imagepipe member add {name} {facts.who} --role {_needed(facts)}")
    elif facts.project is None:
        message = f"there is no project {name} that {facts.who} may see{facts.near}"
        yield Cause("project_missing", message, f"imagepipe project create {name}")


def _robot(facts: Facts) -> Iterator[Cause]:
    robot = facts.robot
    if robot is None:
        return
    renew = f"imagepipe robot rotate {facts.image.project} {robot.name} --out FILE"
    if robot.disabled:
        yield Cause("robot_disabled", f"robot {robot.login} is switched off", renew)
    elif robot.expires_at is not None and robot.expired(facts.now):
        yield Cause("robot_expired", f"robot {robot.login} expired on {_day(robot.expires_at)}", renew)


def _mode(facts: Facts) -> Iterator[Cause]:
    if facts.push and facts.read_only:
        yield Cause(
            "read_only",
            "Harbor is in read-only mode and takes nothing from anybody",
            "ask a system administrator to end it (Administration, Configuration, Repository Read Only)",
        )


def _rights(facts: Facts) -> Iterator[Cause]:
    needed, name = PUSH if facts.push else PULL, facts.image.project
    if facts.system_admin or facts.rights is None or _holds(facts.rights, needed):
        return
    if facts.robot is not None or facts.is_robot:
        login = facts.robot.name if facts.robot else facts.who
        can = "push" if facts.push else "pull"
        message = f"robot {facts.who} has no right to {needed.action} in {name}"
        yield Cause(
            "robot_rights", message, f"imagepipe robot create {name} {login}-{can} --can {can} --days 90 --out FILE"
        )
    elif facts.role is not None:
        message = f"{facts.who} is {facts.role} of {name}, who may not {needed.action}"
        yield Cause("role", message, f"imagepipe member set {name} {facts.who} --role {_needed(facts)}")
    else:
        perhaps = f", unless through {', '.join(facts.groups)}" if facts.groups else ""
        message = f"{facts.who} is no member of {name}{perhaps}, and may not {needed.action}"
        yield Cause("no_member", message, f"imagepipe member add {name} {facts.who} --role {_needed(facts)}")


def _immutable(facts: Facts) -> Iterator[Cause]:
    if facts.artifact is not None and facts.artifact.immutable:
        message = f"tag {facts.image.reference} exists and is immutable: it is not even pushed again as it is"
        yield Cause("immutable", message, "imagepipe run --tag ANOTHER")


def _quota(facts: Facts) -> Iterator[Cause]:
    limit = facts.setting("storage_limit_bytes")
    if not isinstance(limit, int) or limit < 0 or facts.used_bytes is None:
        return
    if facts.used_bytes >= limit * _NEARLY_FULL:
        name = facts.image.project
        message = f"project {name} uses {facts.used_bytes} of {limit} bytes: what is new may find no room"
        yield Cause("quota", message, f"imagepipe project set {name} storage_limit_bytes={max(limit, 1) * 2}")


def _signature(facts: Facts) -> Iterator[Cause]:
    if facts.artifact is None:
        return
    for kind in ("cosign", "notation"):
        if facts.setting(f"require_{kind}") is True and kind not in facts.artifact.signatures:
            message = f"project {facts.image.project} lets nobody pull without a {kind} signature, and there is none"
            fix = f"imagepipe sign {facts.image}" if kind == "cosign" else f"notation sign {facts.image}"
            yield Cause("unsigned", message, fix)


def _vulnerable(facts: Facts) -> Iterator[Cause]:
    if facts.artifact is None or facts.setting("prevent_vulnerable") is not True:
        return
    name, found, limit = facts.image.project, facts.artifact.severity, str(facts.setting("max_severity") or "low")
    if found is None:
        message = f"project {name} lets nobody pull what was not scanned, and {facts.image} was not"
        yield Cause("unscanned", message, f"imagepipe project set {name} auto_scan=true, then push it again")
    elif found in _SEVERITIES and limit in _SEVERITIES and _SEVERITIES.index(found) >= _SEVERITIES.index(limit):
        message = f"project {name} lets nobody pull images of severity {limit} or worse, and the scan found {found}"
        yield Cause("vulnerable", message, "imagepipe run, once its base image is mended")


def _holds(rights: frozenset[Right], needed: Right) -> bool:
    # Source: Harbor v2.15.2 src/common/security/robot/context.go: in a project, push implies pull.
    return needed in rights or (needed == PULL and PUSH in rights)


def _needed(facts: Facts) -> Role:
    return Role.DEVELOPER if facts.push else Role.GUEST


def _ing(facts: Facts) -> str:
    return "pushing" if facts.push else "pulling"


def _day(when: datetime) -> str:
    return f"{when:%Y-%m-%d}"
