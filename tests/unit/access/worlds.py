"""Access as hypothesis makes it, and a Harbor in memory that holds it and watches for projects without an admin."""

from collections.abc import Mapping
from dataclasses import dataclass, field

from hypothesis import strategies as st

from imagepipe.access.state import DesiredProject, ProjectState, RobotState, Setting, Unmanaged
from imagepipe.errors import PermissionRefusedError
from imagepipe.model.access import PERMISSION_SETS, Principal, PrincipalKind, RobotSecret, Role
from tests.contract.harbor_memory import MemoryHarbor, MemoryProjects

USERS = ("admin", "alice", "bob@vsphere.local", "Carol von Ohm", "group:odd", "12345")
GROUPS = ("es-admins", "CN=Devs,DC=Example", r"cn=a\,b,dc=example")
PROJECTS = ("es-sandbox", "123", "1e3", "true", "p.q")

principals = st.builds(Principal, st.just(PrincipalKind.USER), st.sampled_from(USERS)) | st.builds(
    Principal, st.just(PrincipalKind.GROUP), st.sampled_from(GROUPS)
)
members = st.dictionaries(principals, st.sampled_from(Role), min_size=1, max_size=5).filter(
    lambda found: Role.PROJECT_ADMIN in found.values()
)
settings: st.SearchStrategy[Mapping[str, Setting]] = st.fixed_dictionaries(
    {},
    optional={
        "public": st.booleans(),
        "auto_scan": st.booleans(),
        "reuse_system_cve_allowlist": st.booleans(),
        "max_severity": st.sampled_from(["low", "critical"]),
        "storage_limit_bytes": st.sampled_from([-1, 0, 1, 10**12]),
    },
)
robots = st.dictionaries(
    st.sampled_from(["ci", "deploy", "0"]),
    st.builds(RobotState, st.sampled_from(list(PERMISSION_SETS.values())), st.sampled_from([None, 1, 90])),
    max_size=3,
)


@st.composite
def accesses(draw: st.DrawFn, *, full: bool = False) -> dict[str, ProjectState]:
    """Some projects and their access; `full`: at least one."""
    names = draw(st.lists(st.sampled_from(PROJECTS), unique=True, min_size=int(full), max_size=3))
    return {name: ProjectState(name, draw(settings), draw(members), draw(robots)) for name in names}


def desired(states: Mapping[str, ProjectState], unmanaged: Unmanaged = Unmanaged.REMOVE) -> tuple[DesiredProject, ...]:
    """Returns these projects as an access file asks for them."""
    return tuple(DesiredProject(state, unmanaged) for state in states.values())


@dataclass
class World:
    """A Harbor, what was delivered, and every moment at which a project was without an admin."""

    harbor: MemoryHarbor
    delivered: dict[str, str] = field(default_factory=dict)
    orphaned: list[str] = field(default_factory=list)

    def deliver(self, made: RobotSecret) -> None:
        """Keeps a secret by the robot's login."""
        self.delivered[made.robot.login] = made.secret

    def watch(self, moment: str) -> None:
        """Notes projects without an admin."""
        self.orphaned += [
            f"{name} before {moment}"
            for name, held in self.harbor.members.items()
            if Role.PROJECT_ADMIN not in held.values()
        ]


def world(states: Mapping[str, ProjectState]) -> World:
    """Returns a Harbor with this access."""
    harbor = MemoryHarbor()
    for state in states.values():
        harbor.add_project(state.name, {str(who): role for who, role in state.members.items()}, **state.settings)
        for name, robot in state.robots.items():
            harbor.add_robot(name, state.name, *map(str, robot.rights))
    made = World(harbor)
    harbor.between = made.watch
    return made


@dataclass
class Hiding(MemoryProjects):
    """Projects of which one exists and is not shown."""

    hidden: set[str] = field(default_factory=set)

    def list(self, *, name: str | None = None):  # type: ignore[no-untyped-def] # as the memory's
        if name in self.hidden:
            raise PermissionRefusedError(f"look for project {name}: it exists")
        return super().list(name=name)
