"""A Harbor in memory behind the administration's ports: state to look at, and switches that make it misbehave.

>>> harbor = MemoryHarbor()
>>> project = harbor.administration().projects.create("es-sandbox", {"public": False})
>>> harbor.members["es-sandbox"]
{Principal(kind=<PrincipalKind.USER: 'user'>, name='admin'): <Role.PROJECT_ADMIN: 'projectAdmin'>}
"""

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from itertools import count

from imagepipe.errors import (
    CredentialsError,
    ImagepipeError,
    NotFoundError,
    PermissionRefusedError,
    RefusedError,
    UnavailableError,
    UnsupportedError,
)
from imagepipe.model.access import (
    PROJECT_SETTINGS,
    AuditEntry,
    Caller,
    Member,
    Principal,
    PrincipalKind,
    Project,
    ProjectFacts,
    Right,
    Robot,
    RobotRequest,
    RobotSecret,
    Role,
)
from imagepipe.ports.administration import Administration

NOW = datetime(2026, 3, 1, 12, tzinfo=UTC)
NAME = re.compile(r"[a-z0-9]+(?:[._-][a-z0-9]+)*")
Setting = bool | str | int
# Source: goharbor/harbor v2.15.2 src/common/rbac/project/rbac_role.go
PUSHERS = (Role.PROJECT_ADMIN, Role.MAINTAINER, Role.DEVELOPER)
# What a project says of itself before anybody set anything.
DEFAULTS: Mapping[str, Setting] = {
    **{name: name == "reuse_system_cve_allowlist" for name, kind in PROJECT_SETTINGS.items() if kind is bool},
    "storage_limit_bytes": -1,
}


def nobody_else(write: str) -> None:
    """Does nothing between two writes."""


@dataclass
class MemoryHarbor:
    """One Harbor. Every port's reads and writes go through `read` and `write`, so that a test can get in between.

    Attributes:
        roles: The roles it knows.
        settings: The project settings it knows.
        caller: Who asks; None: nobody that it knows.
        has_robots: Whether it has robot accounts.
        has_audit: Whether it shows its audit log.
        knows: Names of users it knows; None: everybody. Groups are known when `groups` is true.
        projects: Settings by project.
        members: Roles by principal, by project.
        robots: Robots by login.
        secrets: Their secrets by login.
        repositories: How many repositories a project holds.
        facts: What `facts` answers, in place of what it would work out.
        log: Audit entries by project, oldest first.
        writes: Every write that took effect, as `operation subject`, in order.
        script: What becomes of the next writes: `lost` does it and loses the answer, `broken` answers 500 and does
            nothing, `fine` is fine. Empty: all fine.
        hidden_robots: Projects (None: the whole Harbor) whose robots are not shown.
        refusals: Errors by write (`member.add es-sandbox alice`), raised instead of doing it.
        between: Called with every write's name before it happens: somebody else at work.
    """

    roles: Sequence[Role] = tuple(Role)
    settings: Sequence[str] = tuple(PROJECT_SETTINGS)
    dialect: str = "harbor-2"
    version: str = "2.15.2"
    caller: Caller | None = field(default_factory=lambda: Caller("admin", "user", system_admin=True))
    has_robots: bool = True
    has_audit: bool = True
    groups: bool = True
    knows: set[str] | None = None
    now: datetime = NOW
    projects: dict[str, dict[str, Setting]] = field(default_factory=dict)
    members: dict[str, dict[Principal, Role]] = field(default_factory=dict)
    robots: dict[str, Robot] = field(default_factory=dict)
    secrets: dict[str, str] = field(default_factory=dict)
    repositories: dict[str, int] = field(default_factory=dict)
    facts: dict[str, ProjectFacts] = field(default_factory=dict)
    log: dict[str, list[AuditEntry]] = field(default_factory=dict)
    writes: list[str] = field(default_factory=list)
    script: list[str] = field(default_factory=list)
    hidden_robots: set[str | None] = field(default_factory=set)
    refusals: dict[str, ImagepipeError] = field(default_factory=dict)
    between: Callable[[str], None] = field(default=nobody_else)
    ids: Iterator[int] = field(default_factory=lambda: count(1))

    def administration(self) -> Administration:
        """Returns the ports of this Harbor."""
        return Administration(
            dialect=self.dialect,
            version=self.version,
            roles=tuple(self.roles),
            settings=tuple(self.settings),
            callers=MemoryCallers(self),
            projects=MemoryProjects(self),
            membership=MemoryMembership(self),
            robots=MemoryRobots(self) if self.has_robots else None,
            audit=MemoryAudit(self) if self.has_audit else None,
        )

    def add_project(self, name: str, members: Mapping[str, Role] | None = None, **settings: Setting) -> Project:
        """Puts a project there, as if it had always been: `members` by how a principal is spelled."""
        self.projects[name] = {**self._defaults(), **settings}
        self.members[name] = {Principal.parse(text): role for text, role in (members or {}).items()}
        return self.project(name)

    def add_robot(self, name: str, project: str | None, *rights: str, expires_at: datetime | None = None) -> Robot:
        """Puts a robot there."""
        login = f"robot${project}+{name}" if project else f"robot${name}"
        granted = frozenset(Right.parse(right) for right in rights)
        robot = Robot(name, login, project, granted, expires_at, disabled=False, handle=str(next(self.ids)))
        self.robots[login] = robot
        self.secrets[login] = f"Secret{next(self.ids)}"
        return robot

    def project(self, name: str) -> Project:
        """Returns a project as it is now.

        Raises:
            NotFoundError: There is none.
        """
        if name not in self.projects:
            raise NotFoundError(f"project {name} not found")
        return Project(name, dict(self.projects[name]), handle=name)

    def write(self, operation: str, subject: str, effect: Callable[[], None]) -> None:
        """Does one write as the switches say.

        Raises:
            UnavailableError: It broke, or its answer was lost.
        """
        what = f"{operation} {subject}"
        self.between(what)
        if what in self.refusals:
            raise self.refusals[what]
        fate = self.script.pop(0) if self.script else "fine"
        if fate == "broken":
            raise UnavailableError(f"{what}: UNKNOWN: internal server error (HTTP 500)")
        effect()
        self.writes.append(what)
        if fate == "lost":
            raise UnavailableError(f"{what}: connection reset by peer")

    def check_settings(self, settings: Mapping[str, Setting]) -> None:
        """Raises UnsupportedError for a setting that this Harbor does not know."""
        for name in settings:
            if name not in self.settings:
                raise UnsupportedError(f"setting {name}: {self.dialect} {self.version} does not know it")

    def _defaults(self) -> dict[str, Setting]:
        return {name: value for name, value in DEFAULTS.items() if name in self.settings}


@dataclass
class MemoryCallers:
    """Who asks, and what they may."""

    harbor: MemoryHarbor

    def caller(self) -> Caller:
        if self.harbor.caller is None:
            raise CredentialsError("Harbor does not know us")
        return self.harbor.caller

    def rights(self, project: Project) -> frozenset[Right]:
        caller = self.caller()
        roles = self.harbor.members[self.harbor.project(project.name).name]
        robot = self.harbor.robots.get(caller.name)
        if robot is not None and robot.project in (None, project.name):
            return robot.rights
        role = roles.get(Principal(PrincipalKind.USER, caller.name))
        actions = ("pull", "push") if role in PUSHERS else ("pull",) if role else ()
        images = frozenset(Right("repository", action) for action in actions)
        if caller.system_admin or role is Role.PROJECT_ADMIN:
            return frozenset(
                Right(resource, action)
                for resource in ("project", "member", "robot")
                for action in ("create", "read", "update", "delete")
            ) | (images or frozenset({Right("repository", "pull"), Right("repository", "push")}))
        return images | frozenset({Right("project", "read")} if role else ())


@dataclass
class MemoryProjects:
    """Projects."""

    harbor: MemoryHarbor

    def list(self, *, name: str | None = None) -> Iterator[Project]:
        seen = set[str]()
        while left := sorted(each for each in self.harbor.projects if each not in seen and name in (None, each)):
            seen.add(left[0])
            yield self.harbor.project(left[0])

    def create(self, name: str, settings: Mapping[str, Setting]) -> Project:
        harbor = self.harbor
        harbor.check_settings(settings)
        if NAME.fullmatch(name) is None or len(name) > 255:
            raise RefusedError(f"create project {name}: not a project's name")

        def effect() -> None:
            if name in harbor.projects:
                raise RefusedError(f"create project {name}: it exists")
            creator = Principal(PrincipalKind.USER, harbor.caller.name if harbor.caller else "admin")
            harbor.add_project(name, {str(creator): Role.PROJECT_ADMIN}, **settings)

        harbor.write("project.create", name, effect)
        return harbor.project(name)

    def change(self, project: Project, settings: Mapping[str, Setting]) -> Project:
        harbor = self.harbor
        harbor.check_settings(settings)
        now = harbor.project(project.name).settings
        new = {name: value for name, value in settings.items() if name not in now or now[name] != value}
        if new:
            harbor.write("project.change", project.name, lambda: harbor.projects[project.name].update(new))
        return harbor.project(project.name)

    def delete(self, project: Project) -> None:
        harbor = self.harbor
        harbor.project(project.name)
        held = harbor.repositories.get(project.name, 0)
        if held:
            raise RefusedError(f"delete project {project.name}: it holds {held} repositories")

        def effect() -> None:
            del harbor.projects[project.name]
            del harbor.members[project.name]
            harbor.robots = {login: robot for login, robot in harbor.robots.items() if robot.project != project.name}

        harbor.write("project.delete", project.name, effect)

    def facts(self, project: Project) -> ProjectFacts:
        harbor = self.harbor
        harbor.project(project.name)
        return harbor.facts.get(project.name, ProjectFacts(harbor.repositories.get(project.name, 0), 0, None))


@dataclass
class MemoryMembership:
    """Members."""

    harbor: MemoryHarbor

    def list(self, project: Project) -> tuple[Member, ...]:
        self.harbor.project(project.name)
        return tuple(self._member(who, role) for who, role in self.harbor.members[project.name].items())

    def add(self, project: Project, principal: Principal, role: Role) -> Member:
        harbor = self.harbor
        self._check(project, role)
        if principal.kind is PrincipalKind.GROUP and not harbor.groups:
            raise UnsupportedError(f"group {principal.name}: this Harbor has no groups")
        unknown = harbor.knows is not None and principal.name not in harbor.knows
        if unknown and principal.kind is PrincipalKind.USER:
            raise NotFoundError(f"user {principal.name} is not found", hint="let the user log in to Harbor once")
        there = harbor.members[project.name].get(principal)
        if there is not None and there is not role:
            raise RefusedError(f"add {principal} to {project.name}: is {there} already")
        if there is None:
            self._write("member.add", project, principal, role)
        return self._member(principal, harbor.members[project.name][principal])

    def set_role(self, project: Project, member: Member, role: Role) -> Member:
        self._check(project, role)
        there = self.harbor.members[project.name].get(member.principal)
        if there is None:
            raise NotFoundError(f"{member.principal} is not a member of {project.name}")
        if there is not role:
            self._check_same(there, member)
            self._write("member.set", project, member.principal, role)
        return self._member(member.principal, self.harbor.members[project.name][member.principal])

    def remove(self, project: Project, member: Member) -> None:
        self.harbor.project(project.name)
        roles = self.harbor.members[project.name]
        if member.principal in roles:
            self._check_same(roles[member.principal], member)
            subject = f"{project.name} {member.principal}"
            self.harbor.write("member.remove", subject, lambda: roles.__delitem__(member.principal))

    @staticmethod
    def _check_same(there: Role, member: Member) -> None:
        if there is not member.role:
            raise RefusedError(f"{member.principal} was {member.role}, and somebody has made it {there} meanwhile")

    def _check(self, project: Project, role: Role) -> None:
        self.harbor.project(project.name)
        if role not in self.harbor.roles:
            raise UnsupportedError(f"role {role}: {self.harbor.dialect} {self.harbor.version} does not know it")

    def _write(self, operation: str, project: Project, principal: Principal, role: Role) -> None:
        roles = self.harbor.members[project.name]
        self.harbor.write(operation, f"{project.name} {principal}", lambda: roles.update({principal: role}))

    def _member(self, principal: Principal, role: Role) -> Member:
        return Member(principal, role, handle=str(principal))


@dataclass
class MemoryRobots:
    """Robot accounts."""

    harbor: MemoryHarbor

    def list(self, project: Project | None) -> tuple[Robot, ...]:
        if project is not None:
            self.harbor.project(project.name)
        name = project.name if project else None
        if name in self.harbor.hidden_robots:
            raise PermissionRefusedError(f"list robots of {name}: forbidden")
        return tuple(robot for robot in self.harbor.robots.values() if robot.project == name)

    def create(self, request: RobotRequest, project: Project | None) -> RobotSecret:
        harbor = self.harbor
        name = project.name if project else None
        if project is not None:
            harbor.project(project.name)
        if NAME.fullmatch(request.name) is None:
            raise RefusedError(f"create robot {request.name}: not a robot's name")
        if any(robot.name == request.name for robot in self.list(project)):
            raise RefusedError(f"create robot {request.name}: the name is taken")
        barred = sorted(str(right) for right in request.rights if right == Right("robot", "update"))
        if barred:
            raise RefusedError(f"create robot {request.name}: cannot be granted: {', '.join(barred)}")
        made: list[Robot] = []

        def effect() -> None:
            expires_at = None if request.days is None else harbor.now + timedelta(days=request.days)
            robot = harbor.add_robot(request.name, name, *map(str, request.rights), expires_at=expires_at)
            made.append(replace(robot, description=request.description, grants=request.grants, days=request.days))
            harbor.robots[robot.login] = made[0]

        harbor.write("robot.create", f"{name or '-'} {request.name}", effect)
        return RobotSecret(made[0], harbor.secrets[made[0].login])

    def disable(self, robot: Robot) -> None:
        harbor = self.harbor
        if harbor.caller is not None and harbor.caller.kind == "robot":
            raise PermissionRefusedError(f"disable robot {robot.login}: a robot can never change a robot")
        if robot.login not in harbor.robots:
            raise NotFoundError(f"robot {robot.login} not found")
        if not harbor.robots[robot.login].disabled:
            off = replace(harbor.robots[robot.login], disabled=True)
            harbor.write("robot.disable", robot.login, lambda: harbor.robots.update({robot.login: off}))

    def describe(self, robot: Robot, edit: Callable[[str], str]) -> None:
        harbor = self.harbor
        if harbor.caller is not None and harbor.caller.kind == "robot":
            raise PermissionRefusedError(f"describe robot {robot.login}: a robot can never change a robot")
        if robot.login not in harbor.robots:
            raise NotFoundError(f"robot {robot.login} not found")
        now = harbor.robots[robot.login]
        told = replace(now, description=edit(now.description))
        if told != now:
            harbor.write("robot.describe", robot.login, lambda: harbor.robots.update({robot.login: told}))

    def delete(self, robot: Robot) -> None:
        harbor = self.harbor
        if robot.login in harbor.robots:
            harbor.write("robot.delete", robot.login, lambda: harbor.robots.__delitem__(robot.login))


@dataclass
class MemoryAudit:
    """The audit log."""

    harbor: MemoryHarbor

    def entries(self, project: Project, *, since: datetime | None = None) -> Iterator[AuditEntry]:
        self.harbor.project(project.name)
        for entry in reversed(self.harbor.log.get(project.name, [])):
            if since is not None and entry.at < since:
                return
            yield entry
