"""The registry: whether it answers, and as what it takes us, what that may, and for how long.

>>> from imagepipe.doctor.registry import examine_sites
>>> examine_sites.__name__
'examine_sites'
"""

import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from datetime import datetime, timedelta
from typing import Final

from imagepipe.doctor import security
from imagepipe.doctor.finding import Finding, Level, failed, until
from imagepipe.errors import AccessError, ImagepipeError, NotFoundError, UnavailableError, UnsupportedError
from imagepipe.model.access import Caller, Project, Right, Robot
from imagepipe.model.reference import Reference, Repository
from imagepipe.ports import ManifestSource
from imagepipe.ports.administration import Administration
from imagepipe.ports.diagnosis import Site

__all__ = ["examine_rights", "examine_sites", "examine_source"]

# A name that no registry holds: the answer tells whether it is there and knows us.
_PROBE_TAG: Final = "imagepipe-doctor-probe"
_RENEW: Final = "have the registry's certificate renewed by whoever runs it"
_PULL, _PUSH = Right("repository", "pull"), Right("repository", "push")
# A robot is rotated in a minute, and many are made for a month: a week is a warning, a month would be noise.
_ROBOT_WARN_BEFORE: Final = timedelta(days=7)
# What a VCH demands before it asks for a manifest. Source: VIC v1.5.8 pkg/registry/utils.go:54-61 (the header),
# pkg/fetcher/fetcher.go:558-606 and vmware/vic#8391 (one challenge without blanks between its parts).
_VERSIONS: Final = "registry/2.0"
_CHALLENGE: Final = re.compile(r"Bearer [^ ]+", re.IGNORECASE)


def examine_sites(sites: Mapping[str, Site], now: Callable[[], datetime], *, for_vch: bool) -> Iterator[Finding]:
    """Yields what strangers see of the registry, and of Harbor where it is elsewhere."""
    for name, site in sites.items():
        try:
            seen = site.look()
        except UnavailableError:
            continue  # what needs it tells so, in its own words
        except ImagepipeError as error:
            yield failed(name, "tls", error)
            continue
        if seen.tls is None:
            yield Finding(
                name, "tls", Level.WARN, "spoken to without TLS: passwords can be read on the way", "use https"
            )
        else:
            yield from security.handshake(name, seen.tls, now(), renew=_RENEW)
        if seen.date is not None:
            yield security.clock(name, seen.date, now())
        if for_vch and (seen.tls is None or seen.tls.fault is None):
            yield _spoken_to_by_a_vch(name, seen.versions, seen.challenge)


def examine_source(registry: str | None, source: ManifestSource) -> Iterator[Finding]:
    """Yields whether the registry answers us."""
    if registry is None:
        yield Finding("registry", "configured", Level.WARN, "no registry is set", 'write registry = "host"')
        return
    try:
        source.resolve(Reference(Repository(registry, "imagepipe/doctor"), tag=_PROBE_TAG))
    except NotFoundError:
        pass
    except ImagepipeError as error:
        # A registry that knows us but hides the repository answers as if we had no right: it is there, and TLS works.
        if error.kind != "permission":
            yield failed(registry, "reachable", error)
            return
    yield Finding(registry, "reachable", Level.OK, "answers over TLS and takes our credentials")


def examine_rights(admin: Administration, projects: Iterable[str], now: datetime) -> Iterator[Finding]:
    """Yields what Harbor lets us do in projects, and how long; nothing is tried."""
    caller = admin.callers.caller()
    own = _project_of(caller)
    for name in dict.fromkeys([*projects, *([own] if own else [])]):
        try:
            project = next(iter(admin.projects.list(name=name)), None)
            yield _rights(name, project, admin, caller)
        except ImagepipeError as error:
            yield failed("harbor", f"rights in {name}", error)
    if caller.kind == "robot":
        yield _robot(caller, own, admin, now)


def _spoken_to_by_a_vch(name: str, versions: str, challenge: str) -> Finding:
    missing = []
    if _VERSIONS not in versions:
        missing.append(f"it does not say Docker-Distribution-API-Version: {_VERSIONS}")
    if not _CHALLENGE.fullmatch(challenge):
        missing.append(f"it asks to be logged in to by {challenge[:120] or 'nothing'!r}")
    if not missing:
        return Finding(name, "vch protocol", Level.OK, "greets as a VCH expects it")
    detail = f"a VCH will not pull from it: {'; '.join(missing)}"
    return Finding(name, "vch protocol", Level.FAIL, detail, "find out which proxy in front of it changes its headers")


def _rights(name: str, project: Project | None, admin: Administration, caller: Caller) -> Finding:
    check = f"rights in {name}"
    if project is None:
        hint = f"create it (imagepipe project create {name}), or ask one of its admins to add {caller.name}"
        return Finding("harbor", check, Level.FAIL, f"no such project, or {caller.name} may not see it", hint)
    held = admin.callers.rights(project)
    ask = f"ask an admin of {name} for it: imagepipe member set {name} {caller.name} --role developer"
    if caller.kind == "robot":
        ask = f"give it a robot that may: imagepipe robot create {name} NAME --can push,pull --days 90 --out FILE"
    if _PUSH in held and _PULL in held:
        return Finding("harbor", check, Level.OK, f"{caller.name} may pull and push: run, sign and promote")
    if _PULL in held:
        detail = f"{caller.name} may pull only: nothing can be built into it, signed, or promoted with a record"
        return Finding("harbor", check, Level.WARN, detail, ask)
    lacks = "pull" if _PUSH in held else "neither pull nor push"
    return Finding("harbor", check, Level.FAIL, f"{caller.name} may {'not ' if _PUSH in held else ''}{lacks}", ask)


def _robot(caller: Caller, project: str | None, admin: Administration, now: datetime) -> Finding:
    robot = _found(caller, project, admin)
    if robot is None:
        detail = "Harbor does not show a robot its own end (it takes robot:list)"
        return Finding("harbor", "expiry", Level.NOTE, detail, "look with a user's account: imagepipe robot list")
    if robot.expires_at is None:
        return Finding("harbor", "expiry", Level.OK, f"{robot.login} never ends")
    level, words = until(robot.expires_at, now, warn_before=_ROBOT_WARN_BEFORE)
    hint = f"renew it: imagepipe robot rotate {robot.project or '/'} {robot.name} --out FILE"
    return Finding("harbor", "expiry", level, f"{robot.login} is {words}", None if level is Level.OK else hint)


def _found(caller: Caller, project: str | None, admin: Administration) -> Robot | None:
    try:
        if admin.robots is None:
            return None
        where = next(iter(admin.projects.list(name=project)), None) if project else None
        listed = admin.robots.list(where) if where is not None or project is None else ()
    except (AccessError, NotFoundError, UnsupportedError):
        return None
    return next((robot for robot in listed if robot.login == caller.name), None)


def _project_of(caller: Caller) -> str | None:
    """Returns the project that a robot's login names (`robot$project+name`), or None.

    Source: Harbor v2.15.2 src/controller/robot/controller.go: a plus sign parts project and name, and is in neither.
    """
    if caller.kind != "robot" or "+" not in caller.name:
        return None
    return caller.name.partition("+")[0].rpartition("$")[2] or None
