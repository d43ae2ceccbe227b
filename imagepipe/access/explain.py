"""Why Harbor refuses a push or a pull: the one most likely cause, and what ends it.

>>> explain(Facts(Image("es", "web", "1"), push=True, who="dana")).kind
'project_missing'
"""

import re
import shlex
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Final

from imagepipe.access.facts import Facts, Image
from imagepipe.errors import ImagepipeError
from imagepipe.model.access import Right, Role

__all__ = ["Cause", "Facts", "Image", "explain", "explain_words"]

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

    @property
    def hint(self) -> str:
        """The fix as an imperative, with who can carry it out."""
        if not self.fix.startswith(("imagepipe ", "notation ")):
            return self.fix
        who = _WHO.get(self.kind)
        return f"let {who} run `{self.fix}`" if who else f"run `{self.fix}`"

    def behind(self, error: ImagepipeError) -> ImagepipeError:
        """Returns the error with the cause behind its words, and the fix as its hint."""
        return type(error)(f"{error.message} (cause: {self.message})", hint=self.hint, cause=self.to_json())

    def to_json(self) -> dict[str, str]:
        """Returns the cause as a JSON object."""
        return {"kind": self.kind, "message": self.message, "fix": self.fix}


# Who may do what ends it. Source: Harbor v2.15.2 src/common/rbac/project/rbac_role.go; quotas are the system's.
_PROJECT_ADMIN: Final = "an admin of the project"
_WHO: Final[Mapping[str, str]] = {
    "no_member": _PROJECT_ADMIN,
    "role": _PROJECT_ADMIN,
    "robot_disabled": _PROJECT_ADMIN,
    "robot_expired": _PROJECT_ADMIN,
    "robot_rights": _PROJECT_ADMIN,
    "unscanned": _PROJECT_ADMIN,
    "quota": "a system administrator",
}


def explain(facts: Facts) -> Cause:
    """Returns what Harbor's own words say, or else the first obstacle in the order in which it meets them.

    Source: Harbor v2.15.2 src/server/middleware: security, readonly, v2auth, immutable, quota, contenttrust, vulnerable
    """
    told = explain_words(facts)
    if told is not None:
        return told
    checks: tuple[Callable[[Facts], Iterator[Cause]], ...] = (_login, _project, _robot, _mode, _rights)
    if not facts.push:
        checks += (_signature, _vulnerable)
    elif not facts.said:
        # Harbor has words of its own for these: who was refused in others was not refused for them.
        checks += (_immutable, _quota)
    for check in checks:
        for cause in check(facts):
            return cause
    verb = "push" if facts.push else "pull"
    return Cause(
        "none",
        f"nothing that Harbor shows keeps {facts.who} from {_ing(facts)} {facts.image}",
        f"try to {verb} it again, and read what is said",
    )


def explain_words(facts: Facts) -> Cause | None:
    """Returns what the words of a refusal say by themselves, or None where they do not."""
    return next((told(facts) for pattern, told in _TOLD if pattern.search(facts.said)), None)


def _login(facts: Facts) -> Iterator[Cause]:
    if facts.refused:
        said = "; a robot that has expired or is switched off is answered the same" if "$" in facts.who else ""
        yield Cause("credentials", f"{facts.refused}{said}", facts.refused_hint or "set harbor.password_file")


def _project(facts: Facts) -> Iterator[Cause]:
    name = facts.image.project
    if facts.hidden and facts.is_robot:
        # A robot that pulls and pushes need not see its project; where it does not, it cannot see its rights there.
        can, away = "push" if facts.push else "pull", f"{name}+" not in facts.who
        if away or facts.said:
            none_of = f", for it is none of {name}" if away else ""
            message = f"robot {facts.who} has no right to {can} in {name} that it could see{none_of}"
            yield Cause("robot_rights", message, _new_robot(name, facts.who.rpartition("+")[2], can))
        else:
            # Nobody has refused it anything: another robot of the same rights would see as little.
            message = f"robot {facts.who} cannot see what it may do in {name}: whether it may {can} is not known"
            command = f"imagepipe access why {facts.image}{' --push' * facts.push} --as {shlex.quote(facts.who)}"
            yield Cause("robot_rights", message, f"let an admin of the project run `{command}`")
    elif facts.hidden:
        message = f"project {name} exists, and {facts.who} is no member of it"
        yield Cause(
            "no_member", message, f"imagepipe member add {name} {shlex.quote(facts.who)} --role {_needed(facts)}"
        )
    elif facts.project is None:
        message = f"there is no project {name} that {facts.who} may see{facts.near}"
        yield Cause("project_missing", message, f"imagepipe project create {name}")


def _robot(facts: Facts) -> Iterator[Cause]:
    robot = facts.robot
    if robot is None:
        return
    renew = f"imagepipe robot rotate {robot.project or '/'} {robot.name} --out FILE"
    if robot.disabled:
        yield Cause("robot_disabled", f"robot {robot.login} is switched off", renew)
    elif robot.expires_at is not None and robot.expired(facts.now):
        yield Cause("robot_expired", f"robot {robot.login} expired on {_day(robot.expires_at)}", renew)


def _mode(facts: Facts) -> Iterator[Cause]:
    if facts.push and facts.read_only:
        yield _told_read_only(facts)


def _told_read_only(facts: Facts) -> Cause:
    del facts
    return Cause(
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
        yield Cause("robot_rights", message, _new_robot(name, login, can))
    elif facts.role is not None:
        message = f"{facts.who} is {facts.role} of {name}, who may not {needed.action}"
        yield Cause("role", message, f"imagepipe member set {name} {shlex.quote(facts.who)} --role {_needed(facts)}")
    else:
        perhaps = f", unless through {', '.join(facts.groups)}" if facts.groups else ""
        message = f"{facts.who} is no member of {name}{perhaps}, and may not {needed.action}"
        yield Cause(
            "no_member", message, f"imagepipe member add {name} {shlex.quote(facts.who)} --role {_needed(facts)}"
        )


def _immutable(facts: Facts) -> Iterator[Cause]:
    if facts.artifact is not None and facts.artifact.immutable:
        yield _told_immutable(facts)


def _told_immutable(facts: Facts) -> Cause:
    message = f"tag {facts.image.reference} exists and is immutable: it is not even pushed again as it is"
    return Cause("immutable", message, "imagepipe run --tag ANOTHER")


def _quota(facts: Facts) -> Iterator[Cause]:
    limit = _limit(facts)
    if limit is not None and facts.used_bytes is not None and facts.used_bytes >= limit * _NEARLY_FULL:
        yield _told_quota(facts)


def _told_quota(facts: Facts) -> Cause:
    name, limit = facts.image.project, _limit(facts)
    if limit is None or facts.used_bytes is None:
        fix = f"imagepipe project set {name} storage_limit_bytes=SIZE"
        return Cause("quota", f"project {name} has no room for what is new", fix)
    enough = max(limit * 2, facts.used_bytes + _added_bytes(facts.said), 1)
    fix = f"imagepipe project set {name} storage_limit_bytes={enough}"
    message = f"project {name} uses {facts.used_bytes} of {limit} bytes: what is new may find no room"
    return Cause("quota", message, fix)


def _added_bytes(said: str) -> int:
    """Returns how much was to be added, rounded up; 0 where the words do not tell."""
    found = re.search(r"adding (\d+(?:\.\d+)?) ([KMGT]?)i?B", said)
    # Source: Harbor v2.15.2 src/pkg/quota/types/units.go: one digit behind the point.
    return int((float(found[1]) + 0.1) * 1024.0 ** " KMGT".index(found[2] or " ")) if found else 0


def _limit(facts: Facts) -> int | None:
    # The setting is shown to system administrators alone.
    limit = facts.setting("storage_limit_bytes")
    limit = facts.limit_bytes if limit is None else limit
    return limit if isinstance(limit, int) and limit >= 0 else None


def _signature(facts: Facts) -> Iterator[Cause]:
    if facts.artifact is None:
        return
    for kind in ("cosign", "notation"):
        if facts.setting(f"require_{kind}") is True and kind not in facts.artifact.signatures:
            yield _unsigned(facts, kind)


def _told_unsigned(facts: Facts) -> Cause:
    return _unsigned(facts, "notation" if re.search("notation", facts.said, re.IGNORECASE) else "cosign")


def _unsigned(facts: Facts, kind: str) -> Cause:
    name = facts.image.project
    message = f"project {name} lets nobody pull without a {kind} signature, and there is none"
    if kind == "cosign" and facts.artifact is not None and not facts.artifact.counts_bundles:
        # To sign again would change nothing. Source: goharbor/harbor#22401, fbb45d8c94 (2.15.0, never in 2.14)
        message += " that this Harbor counts: ours does from Harbor 2.15 on"
        return Cause("unsigned", message, f"imagepipe project set {name} require_cosign=false, or ask for Harbor 2.15")
    fix = f"imagepipe sign {facts.image}" if kind == "cosign" else f"notation sign {facts.image}"
    return Cause("unsigned", message, fix)


def _vulnerable(facts: Facts) -> Iterator[Cause]:
    if facts.artifact is None or facts.setting("prevent_vulnerable") is not True:
        return
    found, limit = facts.artifact.severity, _threshold(facts)
    if found is None:
        yield _told_unscanned(facts)
    elif found in _SEVERITIES and limit in _SEVERITIES and _SEVERITIES.index(found) >= _SEVERITIES.index(limit):
        yield _told_vulnerable(facts)


def _told_unscanned(facts: Facts) -> Cause:
    name = facts.image.project
    message = f"project {name} lets nobody pull what was not scanned, and {facts.image} was not"
    return Cause("unscanned", message, f"imagepipe project set {name} auto_scan=true, then push it again")


def _told_vulnerable(facts: Facts) -> Cause:
    found = (facts.artifact.severity if facts.artifact else None) or "some"
    message = (
        f"project {facts.image.project} lets nobody pull images of severity {_threshold(facts)} or worse, "
        f"and the scan found {found}"
    )
    return Cause("vulnerable", message, "imagepipe run, once its base image is mended")


def _threshold(facts: Facts) -> str:
    return str(facts.setting("max_severity") or "low")


# Before Harbor 2.0 a policy holds for every manifest that is read, and nobody scans signatures or signs them in Notary.
_OF_ALL: Final = "and this Harbor asks the same of signatures and records, which never have it"


def _told_unmeasured(facts: Facts) -> Cause:
    name = facts.image.project
    message = f"project {name} lets nobody pull what has no scan that went well, {_OF_ALL}"
    return Cause("unscanned", message, f"imagepipe project set {name} prevent_vulnerable=false")


def _told_unsigned_in_notary(facts: Facts) -> Cause:
    name = facts.image.project
    message = f"project {name} lets nobody pull what is not signed in Notary, {_OF_ALL}"
    return Cause("unsigned", message, f"ask an admin of project {name} to turn content trust off in the portal")


# Harbor's own words for what it refuses, wherever they are repeated.
# Source: Harbor v2.15.2 src/server/middleware/{readonly,immutable,quota,contenttrust,vulnerable},
# src/pkg/quota/util.go; v1.7.8 src/core/proxy/interceptors.go (contents are "not signed in Notary").
_TOLD: Final[tuple[tuple[re.Pattern[str], Callable[[Facts], Cause]], ...]] = tuple(
    (re.compile(words, re.IGNORECASE), told)
    for words, told in (
        (r"read.?only mode", _told_read_only),
        (r"configured as immutable", _told_immutable),
        (r"exceed the configured upper limit|storage quota exceeds", _told_quota),
        (r"is not signed by (?:cosign|notation)", _told_unsigned),
        (r"is not signed in Notary", _told_unsigned_in_notary),
        (r"Cannot get the image severity", _told_unmeasured),
        (r"without vulnerability scanning|status of vulnerability scanning", _told_unscanned),
        (r"current image with \d+ vulnerabilit|severity of vulnerability of the image", _told_vulnerable),
    )
)


def _new_robot(project: str, login: str, can: str) -> str:
    return f"imagepipe robot create {project} {login}-{can} --can {can} --days 90 --out FILE"


def _holds(rights: frozenset[Right], needed: Right) -> bool:
    # Source: Harbor v2.15.2 src/common/security/robot/context.go: in a project, push implies pull.
    return needed in rights or (needed == PULL and PUSH in rights)


def _needed(facts: Facts) -> Role:
    return Role.DEVELOPER if facts.push else Role.GUEST


def _ing(facts: Facts) -> str:
    return "pushing" if facts.push else "pulling"


def _day(when: datetime) -> str:
    return f"{when:%Y-%m-%d}"
