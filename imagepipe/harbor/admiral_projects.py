"""Projects of VIC's Admiral; only its cloud administrators make and delete them, and names never change."""

import re
from collections.abc import Iterator, Mapping
from typing import Final

import httpx

from imagepipe.errors import ImagepipeError, InputError, PermissionRefusedError, RefusedError, UnsupportedError
from imagepipe.harbor.admiral_client import said
from imagepipe.harbor.admiral_members import Membership
from imagepipe.harbor.admiral_session import Session, WireProject
from imagepipe.harbor.change import Change
from imagepipe.harbor.client import Call
from imagepipe.harbor.features import SINCE
from imagepipe.model.access import PROJECT_SETTINGS, Principal, PrincipalKind, Project, ProjectFacts, Role

__all__ = ["KNOWN", "Projects"]

Setting = bool | str | int
# Source: vmware/admiral vic_v1.5.6 common/…/harbor/{Harbor,HarborApiProxyService}.java
_NAME: Final = re.compile(r"[a-z0-9]+(?:[._-][a-z0-9]+)*")
_NAME_CHARS: Final = 254
# Source: goharbor/harbor v1.7.8 src/core/promgr/pmsdriver/admiral/admiral.go; `public` is a field of its own
_KEYS: Final[Mapping[str, str]] = {
    "auto_scan": "__automaticallyScanImagesOnPush",
    "prevent_vulnerable": "__preventVulnerableImagesFromRunning",
    "max_severity": "__preventVulnerableImagesFromRunningSeverity",
}
KNOWN: Final = ("public", *_KEYS)
_SEVERITIES: Final = ("low", "medium", "high")
_NEWER: Final = (2, 0)


class Projects:
    """Keeps `ports.administration.Projects`."""

    def __init__(self, session: Session) -> None:
        self._session = session
        self._client = session.client

    def list(self, *, name: str | None = None) -> Iterator[Project]:
        """Yields every project in which we have a role; with `name` that one, or nothing where there is none."""
        if name is None:
            for wire in sorted(self._session.projects("list projects"), key=lambda wire: wire.name):
                yield _project(wire)
            return
        found = self._session.find(name, f"look for project {name}")
        if found is not None:
            yield _project(found)

    def create(self, name: str, settings: Mapping[str, Setting]) -> Project:
        """Makes a project with us as its administrator and returns it as read back."""
        what = f"create project {name[:80]}"
        if len(name) > _NAME_CHARS or _NAME.fullmatch(name) is None:
            raise RefusedError(
                f"{what}: Admiral takes no such name",
                hint="use lower-case letters and digits, with single . _ - between them, at most 254",
            )
        self._check(settings, what)
        self._require_cloud_administrator(what)
        if self._session.find(name, what) is not None:
            raise RefusedError(f"{what}: it exists", hint="choose another name, or change its settings")
        change = Change(self._client, what)

        def attempt() -> WireProject | None:
            if change.in_doubt and (there := self._session.find(name, what)) is not None:
                return there
            response = change.write(Call("POST", "/projects", what, body={"name": name, **_body(settings)}))
            return self._session.find(name, what) if response is not None else None

        try:
            made = _project(change.until(attempt))
        except ImagepipeError as error:
            if "is already used" in error.message:
                raise RefusedError(f"{what}: it exists", hint="somebody else has just made it: look at it") from error
            raise
        self._administer(made, what)
        return self.change(made, settings)

    def _administer(self, project: Project, what: str) -> None:
        """Makes us its administrator: Admiral gives a new project none."""
        own = Principal(PrincipalKind.USER, self._session.caller.name)
        try:
            Membership(self._session).add(project, own, Role.PROJECT_ADMIN)
        except ImagepipeError as error:
            raise error.doing(f"{what}: it exists now, without an administrator") from error

    def change(self, project: Project, settings: Mapping[str, Setting]) -> Project:
        """Changes these settings only, writes nothing that is so already, and returns the project as read back."""
        what = f"change project {project.name}"
        self._check(settings, what)
        change = Change(self._client, what)

        def attempt() -> Project | None:
            wire = self._session.require(project.name, what)
            wrong = _different(_project(wire), settings)
            if not wrong:
                return _project(wire)
            change.write(Call("PATCH", wire.link, what, body=_body(wrong)))
            now = _project(self._session.require(project.name, what))
            return None if _different(now, settings) else now

        return change.until(attempt)

    def delete(self, project: Project) -> None:
        """Deletes an empty project; one of the same name that was made since then stays."""
        what = f"delete project {project.name}"
        self._require_cloud_administrator(what)
        change = Change(self._client, what)

        def attempt() -> bool | None:
            if change.in_doubt and self._session.find(project.name, what) is None:
                return True
            wire = self._session.require(project.name, what)
            if project.handle and project.handle != wire.link:
                raise RefusedError(f"{what}: it is another project of that name now", hint="look at it again")
            response = change.write(Call("DELETE", wire.link, what, accept=(400,)))
            self._check_removed(wire, what, response)
            return True if self._session.find(project.name, what) is None else None

        change.until(attempt)

    def _require_cloud_administrator(self, what: str) -> None:
        if not self._session.caller.system_admin:
            raise PermissionRefusedError(
                f"{what}: {self._session.caller.name} is no cloud administrator",
                hint="ask a Management Portal administrator to do it",
            )

    def _check_removed(self, wire: WireProject, what: str, response: httpx.Response | None) -> None:
        if response is not None and response.status_code == 400:
            count = len(wire.repositories)
            held = f"it holds {'1 repository' if count == 1 else f'{count} repositories'}: " if count else ""
            raise RefusedError(f"{what}: {held}{said(response)}", hint="delete its repositories first")

    def facts(self, project: Project) -> ProjectFacts:
        """Returns how many repositories the project holds; None where it may hold none or Harbor did not answer."""
        wire = self._session.require(project.name, f"look into project {project.name}")
        return ProjectFacts(len(wire.repositories) or None, None, None)

    def _check(self, settings: Mapping[str, Setting], what: str) -> None:
        """Lets settings pass that Admiral knows: it validates none, and Harbor fails on what it cannot read."""
        for name, value in settings.items():
            if name not in PROJECT_SETTINGS:
                raise UnsupportedError(f"{what}: no setting named {name!r}", hint=f"use {', '.join(KNOWN)}")
            if name not in KNOWN:
                major, minor = SINCE.get(name, _NEWER)
                raise UnsupportedError(
                    f"{what}: {name} needs Harbor ≥ {major}.{minor}, this is {self._session.version} with Admiral",
                    hint=f"use {', '.join(KNOWN)}",
                )
            if type(value) is not PROJECT_SETTINGS[name]:
                raise InputError(f"{what}: {name} is {value!r}", hint="give flags as true or false, words as words")
            if name == "max_severity" and value not in _SEVERITIES:
                raise InputError(f"{what}: {name} is {value!r}", hint=f"use one of {', '.join(_SEVERITIES)}")


def _body(settings: Mapping[str, Setting]) -> dict[str, object]:
    """Returns a PATCH of settings: flags are the texts true and false, exactly."""
    texts = {_KEYS[name]: str(value).lower() for name, value in settings.items() if name in _KEYS}
    body: dict[str, object] = {"isPublic": settings["public"]} if "public" in settings else {}
    return body | ({"customProperties": texts} if texts else {})


def _project(wire: WireProject) -> Project:
    settings: dict[str, Setting] = {"public": wire.public}
    for name, key in _KEYS.items():
        text = wire.properties.get(key, "").lower()
        if PROJECT_SETTINGS[name] is bool:
            settings[name] = text == "true"
        elif text:
            settings[name] = text
    return Project(wire.name, settings, wire.link)


def _different(project: Project, settings: Mapping[str, Setting]) -> dict[str, Setting]:
    return {name: value for name, value in settings.items() if project.settings.get(name) != value}
