"""The access file: which projects, with which settings, members and robots; read from YAML and written back.

version: 1
projects:
  es-sandbox:
    settings: { public: false, auto_scan: true }
    members:
      projectAdmin: [alice, "group:es-admins"]
      developer: [bob]
    robots:
      ci: { can: [ci], days: 90 }
    unmanaged: report        # keep | report | remove
"""

import unicodedata
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Annotated, Any, Final

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field

from imagepipe.access.names import family_of, identity_of, is_name, named_rights
from imagepipe.access.state import DesiredProject, ProjectState, RobotState, Setting, Unmanaged
from imagepipe.documents import read_document, write_document
from imagepipe.errors import InputError
from imagepipe.model.access import PERMISSION_SETS, PROJECT_SETTINGS, Principal, Right, Role
from imagepipe.problems import Key, did_you_mean

__all__ = ["AccessDocument", "dump_access", "load_access"]

# Long enough for a quarter, short enough that a forgotten robot ends.
_DEFAULT_DAYS: Final = 90
# Source: Harbor v2.15.2 src/server/v2.0/handler/robot.go: 1 to 2^31-2 days.
_MOST_DAYS: Final = 2**31 - 2
# Source: Harbor v2.15.2 api/v2.0/swagger.yaml ProjectMetadata.severity
_SEVERITIES: Final = ("none", "low", "medium", "high", "critical")

# Control characters and ends of lines: names are printed, and CI systems take lines of output for commands.
_MOVING: Final = ("Cc", "Zl", "Zp")


class _Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True, frozen=True)


class SettingsDocument(_Strict):
    """A project's settings; what is left out is not touched."""

    public: bool | None = Field(default=None, description="Whether everybody may pull.")
    auto_scan: bool | None = Field(default=None, description="Scan on push.")
    auto_sbom: bool | None = Field(default=None, description="Make an SBOM on push.")
    prevent_vulnerable: bool | None = Field(default=None, description="Refuse pulls of vulnerable images.")
    max_severity: str | None = Field(default=None, description="From this severity on an image counts as vulnerable.")
    require_cosign: bool | None = Field(default=None, description="Refuse pulls of images without a cosign signature.")
    require_notation: bool | None = Field(default=None, description="Refuse pulls without a Notation signature.")
    reuse_system_cve_allowlist: bool | None = Field(default=None, description="Use the allow list of the whole Harbor.")
    storage_limit_bytes: int | None = Field(default=None, ge=-1, description="Storage quota in bytes; -1: none.")


class RobotDocument(_Strict):
    """A robot account of the project."""

    can: list[str] = Field(min_length=1, description="Permission sets (pull, push, ci, read) or resource:action.")
    days: Annotated[int, Field(ge=1, le=_MOST_DAYS)] | None = Field(
        default=_DEFAULT_DAYS, description="Life of a new one, in days; null: for ever."
    )


def _unmanaged(value: str) -> str:
    if value not in tuple(Unmanaged):
        raise ValueError(f"must be one of {', '.join(Unmanaged)}{did_you_mean(value, map(str, Unmanaged))}")
    return value


def _by_role(members: Any) -> Any:
    """Lets pass what is written by role: the other way round is the likeliest mistake, and reads almost as well."""
    for name, role in members.items() if isinstance(members, dict) else ():
        if isinstance(role, str) and _role(role) is not None and _role(str(name)) is None:
            raise ValueError(f"are written by role: write `{role}: [{name}]` for `{name}: {role}`")
    return members


class ProjectDocument(_Strict):
    """One project."""

    settings: SettingsDocument = Field(default_factory=SettingsDocument)
    members: Annotated[dict[str, list[str]], BeforeValidator(_by_role)] = Field(
        default={}, description="Names by role; group:NAME is a group."
    )
    robots: dict[str, RobotDocument] = Field(default={}, description="Robots by their short name.")
    unmanaged: Annotated[str, AfterValidator(_unmanaged)] = Field(
        default="report", description="keep, report or remove members and robots that are not named."
    )


def _version_one(value: int) -> int:
    if value != 1:
        raise ValueError(f"must be 1, the only version there is, not {value}")
    return value


class AccessDocument(_Strict):
    """Access to many projects."""

    version: Annotated[int, AfterValidator(_version_one)]
    projects: dict[str, ProjectDocument] = Field(min_length=1)


def load_access(path: Path, *, folds: bool = False) -> tuple[DesiredProject, ...]:
    """Returns what an access file asks for.

    Args:
        path: The file.
        folds: Whether members' names that differ in case only are the same, as `Administration.folds` says.

    Raises:
        NotFoundError: There is no such file.
        InputError: Lists every problem as `file:line:column: key: what`.
    """
    document = read_document(path)
    parsed = document.validate(AccessDocument)
    problems = [document.problem(key, what) for key, what in _problems(parsed, folds=folds)]
    if problems:
        raise InputError("\n".join(problems), hint="correct the access file")
    return tuple(_project(name, project) for name, project in parsed.projects.items())


def dump_access(states: Mapping[str, ProjectState], *, roles: tuple[Role, ...]) -> str:
    """Returns the access file that describes these projects. Law: its plan against them is empty.

    Args:
        states: What was read from Harbor.
        roles: The order in which roles are written.
    """
    projects = {name: _written(state, roles) for name, state in sorted(states.items())}
    return write_document({"version": 1, "projects": projects})


def _problems(parsed: AccessDocument, *, folds: bool) -> Iterator[tuple[Key, str]]:
    for name, project in parsed.projects.items():
        base: Key = ("projects", name)
        if not is_name(name):
            yield base, "not a project's name; use a-z and 0-9, with single . _ or - between them"
        severity = project.settings.max_severity
        if severity is not None and severity not in _SEVERITIES:
            near = did_you_mean(severity, _SEVERITIES)
            yield (*base, "settings", "max_severity"), f"{severity!r} is not one of {', '.join(_SEVERITIES)}{near}"
        yield from _member_problems(base, project, folds=folds)
        yield from _robot_problems(base, project)


def _member_problems(base: Key, project: ProjectDocument, *, folds: bool) -> Iterator[tuple[Key, str]]:
    seen: dict[tuple[str, str], str] = {}
    for role, names in project.members.items():
        if _role(role) is None:
            near = did_you_mean(role, map(str, Role))
            yield (*base, "members", role), f"no role named {role!r}; use one of {', '.join(Role)}{near}"
        for index, name in enumerate(names):
            key = (*base, "members", role, index)
            try:
                identity = identity_of(Principal.parse(name), folds=folds)
            except InputError as error:
                yield key, error.message
                continue
            if any(unicodedata.category(char) in _MOVING for char in name):
                yield key, f"not a member's name: {name[:60]!r}"
            if identity in seen:
                yield key, f"{name} is {seen[identity]} already"
            seen[identity] = role
    admins = [name for role, names in project.members.items() if _role(role) is Role.PROJECT_ADMIN for name in names]
    if project.unmanaged == Unmanaged.REMOVE and not admins:
        yield (*base, "members"), "nobody would be projectAdmin, with unmanaged: remove"


def _robot_problems(base: Key, project: ProjectDocument) -> Iterator[tuple[Key, str]]:
    for robot, wanted in project.robots.items():
        family, generation = family_of(robot)
        if not is_name(robot):
            yield (*base, "robots", robot), "not a robot's name; leave out the prefix and the project"
        elif generation > 1:
            yield (*base, "robots", robot), f"a generation of robot {family}; name the robot itself"
        for index, right in enumerate(wanted.can):
            if right not in PERMISSION_SETS and not _is_right(right):
                near = did_you_mean(right, PERMISSION_SETS)
                yield (*base, "robots", robot, "can", index), f"{right!r} is no permission set and no right{near}"


def _role(text: str) -> Role | None:
    try:
        return Role.parse(text)
    except InputError:
        return None


def _is_right(text: str) -> bool:
    try:
        Right.parse(text)
    except InputError:
        return False
    return True


def _project(name: str, parsed: ProjectDocument) -> DesiredProject:
    settings: dict[str, Setting] = {
        key: value for key, value in parsed.settings.model_dump().items() if value is not None
    }
    members = {Principal.parse(who): Role.parse(role) for role, names in parsed.members.items() for who in names}
    robots = {robot: RobotState(_rights(wanted.can), wanted.days) for robot, wanted in parsed.robots.items()}
    return DesiredProject(ProjectState(name, settings, members, robots), Unmanaged(parsed.unmanaged))


def _rights(names: list[str]) -> frozenset[Right]:
    return frozenset(right for name in names for right in PERMISSION_SETS.get(name) or (Right.parse(name),))


def _written(state: ProjectState, roles: tuple[Role, ...]) -> dict[str, Any]:
    members = {
        role.value: sorted(str(who) for who, held in state.members.items() if held is role)
        for role in roles
        if role in state.members.values()
    }
    robots = {name: {"can": named_rights(robot.rights)} for name, robot in sorted(state.robots.items()) if robot.rights}
    settings = {key: state.settings[key] for key in PROJECT_SETTINGS if _writable(key, state.settings.get(key))}
    written: dict[str, Any] = {"settings": settings, "members": members, "robots": robots}
    return {key: value for key, value in written.items() if value} | {"unmanaged": Unmanaged.REPORT.value}


def _writable(key: str, value: Setting | None) -> bool:
    """Tells whether the file may hold the value: a setting of an odd value is left as it is."""
    return value is not None and (key != "max_severity" or value in _SEVERITIES)
