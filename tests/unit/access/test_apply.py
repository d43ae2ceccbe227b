from collections.abc import Mapping
from dataclasses import replace

import pytest

from imagepipe.access.apply import Applied, apply_plan, needs_secrets
from imagepipe.access.changes import (
    Changes,
    check_not_last_admin,
    create_robot,
    find_member,
    remove_member,
    set_role,
)
from imagepipe.access.plan import plan_access
from imagepipe.access.read import find_project, read_access
from imagepipe.access.secrets import nowhere
from imagepipe.access.state import AccessPlan, Action, Change, DesiredProject, ProjectState, RobotState, Unmanaged
from imagepipe.errors import (
    CredentialsError,
    ImagepipeError,
    InputError,
    NotFoundError,
    PermissionRefusedError,
    RefusedError,
    StalePlanError,
    UnavailableError,
)
from imagepipe.events import Event, StepStarted, Warned
from imagepipe.model.access import (
    PERMISSION_SETS,
    Caller,
    Member,
    Principal,
    Project,
    Right,
    RobotRequest,
    RobotSecret,
    Role,
)
from tests.contract.harbor_memory import MemoryHarbor, MemoryMembership
from tests.unit.access.worlds import World, desired, world

PULL, PUSH = PERMISSION_SETS["pull"], PERMISSION_SETS["push"]


def members(**roles: Role) -> dict[Principal, Role]:
    return {Principal.parse(name): role for name, role in roles.items()}


def es(held: Mapping[Principal, Role], **robots: RobotState) -> dict[str, ProjectState]:
    return {"es": ProjectState("es", {}, held, robots)}


BEFORE = es(members(root=Role.PROJECT_ADMIN, bob=Role.GUEST))


def planned(there: World, file: tuple[DesiredProject, ...]) -> AccessPlan:
    admin = there.harbor.administration()
    names = [one.state.name for one in file]
    return plan_access(file, read_access(names, admin), caller=admin.callers.caller(), force=True)


def applied(there: World, wanted: Mapping[str, ProjectState], unmanaged: Unmanaged = Unmanaged.REMOVE) -> Applied:
    file = desired(wanted, unmanaged)
    return apply_plan(planned(there, file), file, there.harbor.administration(), deliver=there.deliver)


def test_a_plan_is_carried_out_and_each_change_is_told() -> None:
    there, told = world(BEFORE), list[Event]()
    file = desired(
        {**es(members(root=Role.PROJECT_ADMIN)), "new": ProjectState("new", {}, members(root=Role.PROJECT_ADMIN))}
    )
    plan = planned(there, file)
    assert not needs_secrets(plan)
    done = apply_plan(plan, file, there.harbor.administration(), deliver=there.deliver, sink=told.append)
    assert done.done == plan.changes
    subjects = [f"{one.step}: {one.subject}" for one in told if isinstance(one, StepStarted)]
    assert subjects[:2] == ["remove member: es bob", "create project: new"]


def test_a_plan_is_refused_when_harbor_has_changed_since() -> None:
    there = world(BEFORE)
    file = desired(es(members(root=Role.PROJECT_ADMIN)))
    plan = planned(there, file)
    there.harbor.members["es"][Principal.parse("eve")] = Role.GUEST
    with pytest.raises(StalePlanError, match="access has changed"):
        apply_plan(plan, file, there.harbor.administration(), deliver=there.deliver)
    assert there.harbor.writes == []


def test_a_plan_is_refused_when_the_file_has_changed_since() -> None:
    there = world(BEFORE)
    plan = planned(there, desired(es(members(root=Role.PROJECT_ADMIN))))
    other = desired(es(members(root=Role.PROJECT_ADMIN)), Unmanaged.KEEP)
    with pytest.raises(StalePlanError, match="access file has changed"):
        apply_plan(plan, other, there.harbor.administration(), deliver=there.deliver)
    assert there.harbor.writes == []


@pytest.mark.parametrize(
    "slipped_in",
    [
        Change("es", Action.ADD_MEMBER, "eve", None, "projectAdmin"),
        Change("elsewhere", Action.ADD_MEMBER, "eve", None, "guest"),
        Change("es", Action.SET_ROLE, "bob", "guest", "maintainer"),
        Change("es", Action.REMOVE_MEMBER, "root", "projectAdmin", None),
    ],
)
def test_a_plan_that_holds_what_the_file_does_not_ask_for_is_refused(slipped_in: Change) -> None:
    there = world(BEFORE)
    file = desired(es(members(root=Role.PROJECT_ADMIN, bob=Role.DEVELOPER)))
    plan = planned(there, file)
    forged = replace(plan, changes=(*plan.changes[:-1], slipped_in))
    with pytest.raises(StalePlanError, match="the plan holds what the access file does not ask for: ") as caught:
        apply_plan(forged, file, there.harbor.administration(), deliver=there.deliver)
    assert slipped_in.describe() in caught.value.message
    assert there.harbor.writes == []


def test_a_plan_of_somebody_else_is_carried_out_in_a_new_project_too() -> None:
    there = world(BEFORE)
    file = desired({"new": ProjectState("new", {}, members(bob=Role.PROJECT_ADMIN))})
    plan = plan_access(file, {}, caller=Caller("ann", "user"), force=True)
    assert [change.subject for change in plan.changes] == ["new", "bob", "ann"]
    done = apply_plan(plan, file, there.harbor.administration(), deliver=there.deliver)
    assert done.failed == ()
    assert there.harbor.members["new"] == members(bob=Role.PROJECT_ADMIN)


def test_one_failure_does_not_stop_the_rest() -> None:
    there = world(BEFORE)
    there.harbor.knows = {"root", "bob", "carol"}
    done = applied(there, es(members(root=Role.PROJECT_ADMIN, nobody=Role.GUEST, carol=Role.GUEST)))
    assert [(one.change.subject, one.skipped) for one in done.failed] == [("nobody", False)]
    assert [one.subject for one in done.done] == ["carol", "bob"]
    assert done.remaining is not None
    assert [one.subject for one in done.remaining.changes] == ["nobody"]


def test_a_failure_in_one_project_does_not_stop_another() -> None:
    admins = members(root=Role.PROJECT_ADMIN)
    there = world({name: ProjectState(name, {}, admins) for name in ("es", "other")})
    there.harbor.refusals["member.add es bob"] = RefusedError("no")
    both = members(root=Role.PROJECT_ADMIN, bob=Role.GUEST)
    done = applied(there, {name: ProjectState(name, {}, both) for name in ("es", "other")})
    assert [(one.change.project, one.skipped) for one in done.failed] == [("es", False)]
    assert [(one.project, one.subject) for one in done.done] == [("other", "bob")]


def test_an_admin_stays_while_the_new_one_could_not_be_made() -> None:
    there = world(es(members(root=Role.PROJECT_ADMIN)))
    there.harbor.refusals["member.add es alice"] = RefusedError("no")
    done = applied(there, es(members(alice=Role.PROJECT_ADMIN, bob=Role.PROJECT_ADMIN)))
    assert [(one.change.subject, one.skipped) for one in done.failed] == [("alice", False), ("root", True)]
    assert Principal.parse("root") in there.harbor.members["es"]


def test_what_somebody_else_takes_meanwhile_is_seen_before_the_last_admin_goes() -> None:
    there = world(es(members(root=Role.PROJECT_ADMIN, bob=Role.PROJECT_ADMIN, carol=Role.GUEST)))
    # The first write fails, so that members are read again, and by then another admin has left.
    there.harbor.refusals["member.remove es carol"] = RefusedError("no")

    def leaves(write: str) -> None:
        if write == "member.remove es carol":
            del there.harbor.members["es"][Principal.parse("bob")]

    there.harbor.between = leaves
    file = desired(es(members(bob=Role.PROJECT_ADMIN)))
    plan = planned(there, file)
    moved = sorted(plan.changes, key=lambda change: change.subject)
    plan = AccessPlan(tuple(moved), plan.reports, plan.basis, plan.wanted)
    done = apply_plan(plan, file, there.harbor.administration(), deliver=there.deliver)
    assert "root is the last projectAdmin of es" in done.failed[-1].error.message
    assert Principal.parse("root") in there.harbor.members["es"]


def test_nothing_is_tried_in_a_project_that_could_not_be_made() -> None:
    there = world({})
    there.harbor.refusals["project.create es"] = PermissionRefusedError("only administrators")
    done = applied(there, es(members(admin=Role.PROJECT_ADMIN, bob=Role.GUEST)))
    assert [one.skipped for one in done.failed] == [False, True, True]
    assert {one.error.message for one in done.failed} == {"only administrators"}


@pytest.mark.parametrize(("error", "tried"), [(UnavailableError("away"), 3), (CredentialsError("locked out"), 1)])
def test_a_harbor_that_is_away_is_not_asked_for_ever(error: ImagepipeError, tried: int) -> None:
    there = world(es(members(root=Role.PROJECT_ADMIN)))
    names = [f"user{number}" for number in range(6)]
    there.harbor.refusals.update({f"member.add es {name}": error for name in names})
    done = applied(there, es(members(root=Role.PROJECT_ADMIN, **dict.fromkeys(names, Role.GUEST))))
    assert [one.skipped for one in done.failed] == [False] * tried + [True] * (6 - tried)


def test_failures_that_do_not_follow_one_another_do_not_end_the_run() -> None:
    there = world(es(members(root=Role.PROJECT_ADMIN)))
    names = [f"user{number}" for number in range(6)]
    there.harbor.script = ["broken", "broken", "fine", "broken", "broken", "fine"]
    done = applied(there, es(members(root=Role.PROJECT_ADMIN, **dict.fromkeys(names, Role.GUEST))))
    assert [one.skipped for one in done.failed] == [False] * 4


class Blind(MemoryMembership):
    """Shows members only to those who belong there."""

    def list(self, project: Project) -> tuple[Member, ...]:
        caller = self.harbor.caller
        if caller is not None and Principal.parse(caller.name) not in self.harbor.members[project.name]:
            raise PermissionRefusedError(f"{project.name}: forbidden")
        return super().list(project)


def blind(harbor: MemoryHarbor) -> MemoryHarbor:
    """Returns the Harbor with members hidden from strangers."""
    whole = harbor.administration

    def administration() -> object:
        admin = whole()
        object.__setattr__(admin, "membership", Blind(harbor))
        return admin

    harbor.administration = administration  # type: ignore[method-assign,assignment] # a Harbor that hides members
    return harbor


def test_who_removes_themselves_is_told_that_nothing_can_be_proven() -> None:
    there = World(blind(MemoryHarbor(caller=Caller("alice", "user"))))
    done = applied(there, es(members(bob=Role.PROJECT_ADMIN)))
    assert done.failed == ()
    assert done.remaining is None
    assert isinstance(done.unread, PermissionRefusedError)


def test_projects_whose_members_are_hidden_are_left_out_unless_they_are_named() -> None:
    harbor = blind(MemoryHarbor(caller=Caller("alice", "user")))
    harbor.add_project("mine", {"alice": Role.GUEST})
    harbor.add_project("public", {"bob": Role.PROJECT_ADMIN})
    told = list[Event]()
    assert list(read_access(None, harbor.administration(), sink=told.append)) == ["mine"]
    assert told == [Warned("public", "left out: its members are not shown to you")]
    with pytest.raises(PermissionRefusedError):
        read_access(["public"], harbor.administration())


def test_an_admin_whom_harbor_put_into_a_new_project_goes_in_the_end() -> None:
    # A robot that creates a project is no member of it: a system administrator is.
    harbor = MemoryHarbor(caller=Caller("robot$ops", "robot"))
    done = applied(World(harbor), es(members(bob=Role.PROJECT_ADMIN)))
    assert done.failed == ()
    assert harbor.members["es"] == members(bob=Role.PROJECT_ADMIN)


def test_a_harbor_without_robots_is_read_without_them() -> None:
    harbor = MemoryHarbor(has_robots=False)
    harbor.add_project("es", {"root": Role.PROJECT_ADMIN})
    assert read_access(None, harbor.administration())["es"].robots == {}


def test_a_replaced_robot_works_until_its_successors_secret_is_delivered() -> None:
    there = world(es(members(root=Role.PROJECT_ADMIN), ci=RobotState(PULL)))
    wanted = es(members(root=Role.PROJECT_ADMIN), ci=RobotState(PERMISSION_SETS["push"], days=7))
    seen: list[set[str]] = []

    def deliver(made: RobotSecret) -> None:
        seen.append(set(there.harbor.robots))

    file = desired(wanted)
    plan = planned(there, file)
    assert needs_secrets(plan)
    done = apply_plan(plan, file, there.harbor.administration(), deliver=deliver)
    assert done.remaining is not None
    assert done.remaining.changes == ()
    assert done.failed == ()
    assert seen == [{"robot$es+ci", "robot$es+ci.g2"}]
    assert set(there.harbor.robots) == {"robot$es+ci.g2"}


def test_a_robot_whose_secret_cannot_be_delivered_is_deleted_and_the_old_one_stays() -> None:
    there = world(es(members(root=Role.PROJECT_ADMIN), ci=RobotState(PULL)))

    def deliver(made: RobotSecret) -> None:
        raise InputError("disk full")

    file = desired(es(members(root=Role.PROJECT_ADMIN), ci=RobotState(PERMISSION_SETS["push"]), new=RobotState(PULL)))
    done = apply_plan(planned(there, file), file, there.harbor.administration(), deliver=deliver)
    assert [one.error.message for one in done.failed] == ["disk full", "disk full"]
    assert set(there.harbor.robots) == {"robot$es+ci"}


def test_a_robot_that_is_there_is_never_taken_for_one_whose_answer_was_lost() -> None:
    harbor = MemoryHarbor()
    project = harbor.add_project("es", {"root": Role.PROJECT_ADMIN})
    harbor.add_robot("ci", "es", "repository:pull")
    robots = harbor.administration().require_robots()
    with pytest.raises(RefusedError, match="es has one already") as caught:
        create_robot(robots, RobotRequest("ci", "es", PULL, 1), project, nowhere)
    assert "robot rotate es ci" in str(caught.value.hint)
    assert set(harbor.robots) == {"robot$es+ci"}


def test_a_robot_of_the_whole_harbor_is_made_in_the_same_way() -> None:
    harbor, kept = MemoryHarbor(), list[str]()
    robots = harbor.administration().require_robots()
    made = create_robot(robots, RobotRequest("ops", None, PULL, 1), None, lambda secret: kept.append(secret.secret))
    assert kept == [made.secret]
    with pytest.raises(RefusedError, match="the whole Harbor has one already"):
        create_robot(robots, RobotRequest("ops", None, PULL, 1), None, nowhere)


def test_a_project_is_found_or_a_near_name_is_offered() -> None:
    harbor = MemoryHarbor()
    harbor.add_project("es-sandbox", {"root": Role.PROJECT_ADMIN})
    assert find_project("es-sandbox", harbor.administration()).name == "es-sandbox"
    with pytest.raises(NotFoundError, match="did you mean 'es-sandbox'"):
        find_project("es-sandbx", harbor.administration())


def test_the_last_admin_is_known_even_where_there_are_other_members() -> None:
    root = Member(Principal.parse("root"), Role.PROJECT_ADMIN)
    bob = Member(Principal.parse("bob"), Role.GUEST)
    check_not_last_admin("es", [root, bob], bob)
    with pytest.raises(RefusedError, match="root is the last projectAdmin of es"):
        check_not_last_admin("es", (root, bob), root)


def test_a_switched_off_generation_is_not_what_a_robot_may_do_now() -> None:
    harbor = MemoryHarbor()
    harbor.add_project("es", {"root": Role.PROJECT_ADMIN})
    harbor.add_robot("ci", "es", "repository:pull")
    newer = harbor.add_robot("ci.g2", "es", "repository:push")
    harbor.administration().require_robots().disable(newer)
    found = read_access(["es"], harbor.administration())["es"].robots["ci"]
    assert [str(right) for right in found.rights] == ["repository:pull"]
    assert found.older == 1


def test_a_change_that_is_made_already_changes_nothing() -> None:
    there = world(BEFORE)
    changes = Changes(there.harbor.administration(), nowhere)
    changes.make(Change("es", Action.REMOVE_MEMBER, "ghost", "guest", None))
    changes.make(Change("es", Action.SET_ROLE, "bob", "developer", "guest"))
    changes.make(Change("es", Action.DELETE_ROBOT, "ghost"))
    assert there.harbor.writes == []


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (
            Change("es", Action.SET_ROLE, "carol", "developer", "guest"),
            "carol was developer, and is no member meanwhile",
        ),
        (
            Change("es", Action.SET_ROLE, "bob", "developer", "limitedGuest"),
            "bob was developer, and is guest meanwhile",
        ),
        (Change("es", Action.ADD_MEMBER, "bob", None, "developer"), "bob was no member, and is guest meanwhile"),
        (Change("es", Action.REMOVE_MEMBER, "bob", "developer", None), "bob was developer, and is guest meanwhile"),
    ],
)
def test_what_somebody_else_has_changed_meanwhile_is_left_as_it_is(change: Change, said: str) -> None:
    there = world(BEFORE)
    with pytest.raises(RefusedError, match=said) as caught:
        Changes(there.harbor.administration(), nowhere).make(change)
    assert caught.value.hint == "make a new plan and look at it"
    assert there.harbor.writes == []


def test_several_members_of_one_name_are_not_told_apart_by_luck() -> None:
    twins = [Member(Principal.parse("group:devs"), role, role.value) for role in (Role.GUEST, Role.DEVELOPER)]
    with pytest.raises(RefusedError, match="group:devs: 2 members have that name"):
        find_member(twins, Principal.parse("group:cn=devs,ou=groups"))


@pytest.mark.parametrize("before", [None, PUSH], ids=["new", "replaced"])
def test_of_two_applies_at_once_the_second_takes_no_secret_that_the_first_has_handed_over(
    before: frozenset[Right] | None,
) -> None:
    there = world(es(members(root=Role.PROJECT_ADMIN), **({"ci": RobotState(before)} if before else {})))
    file = desired(es(members(root=Role.PROJECT_ADMIN), ci=RobotState(PULL)))
    admin = there.harbor.administration()
    plan = planned(there, file)
    first = apply_plan(plan, file, admin, deliver=there.deliver)
    assert first.failed == ()
    with pytest.raises(RefusedError, match="robot ci: somebody has made or changed it meanwhile"):
        Changes(admin, there.deliver).make(plan.changes[0])
    (login,) = there.harbor.robots
    assert there.delivered[login] == there.harbor.secrets[login]


def test_a_robot_that_people_gave_other_rights_is_not_deleted() -> None:
    there = world(es(members(root=Role.PROJECT_ADMIN), ci=RobotState(PUSH)))
    change = Change("es", Action.DELETE_ROBOT, "ci", {"rights": sorted(map(str, PULL))}, None)
    with pytest.raises(RefusedError, match="robot ci: somebody has made or changed it meanwhile"):
        Changes(there.harbor.administration(), nowhere).make(change)
    assert list(there.harbor.robots) == ["robot$es+ci"]


@pytest.mark.parametrize("write", [Action.REMOVE_MEMBER, Action.SET_ROLE])
def test_a_refusal_that_changed_nothing_stays_a_refusal(write: Action) -> None:
    there = world(es(members(root=Role.PROJECT_ADMIN, admin=Role.PROJECT_ADMIN)))
    no = PermissionRefusedError("no")
    there.harbor.refusals = {f"member.{what} es {who}": no for what in ("remove", "set") for who in ("root", "admin")}
    changes = Changes(there.harbor.administration(), nowhere)
    for who in ("root", "admin"):
        with pytest.raises(PermissionRefusedError):
            changes.make(Change("es", write, who, "projectAdmin", "guest"))


class Departing(Blind):
    """Reads back what it wrote, as Harbor's adapters do, and is refused when it wrote itself out."""

    def set_role(self, project: Project, member: Member, role: Role) -> Member:
        super().set_role(project, member, role)
        raise PermissionRefusedError("forbidden")

    def remove(self, project: Project, member: Member) -> None:
        super().remove(project, member)
        self.list(project)

    def list(self, project: Project) -> tuple[Member, ...]:
        if self.harbor.members[project.name].get(Principal.parse("admin")) is Role.LIMITED_GUEST:
            raise PermissionRefusedError("forbidden")
        return super().list(project)


def test_who_can_no_longer_see_a_project_has_left_it() -> None:
    harbor = MemoryHarbor()
    project = harbor.add_project("es", {"root": Role.PROJECT_ADMIN, "admin": Role.PROJECT_ADMIN})
    admin = replace(harbor.administration(), membership=Departing(harbor))
    ourselves = Member(Principal.parse("admin"), Role.PROJECT_ADMIN)
    assert set_role(project, ourselves, Role.LIMITED_GUEST, admin).role is Role.LIMITED_GUEST
    harbor.members["es"][ourselves.principal] = Role.PROJECT_ADMIN
    remove_member(project, ourselves, admin)
    assert list(harbor.members["es"]) == [Principal.parse("root")]


def test_a_robot_that_may_be_left_without_a_secret_is_told_by_name() -> None:
    harbor = MemoryHarbor()
    project = harbor.add_project("es", {"root": Role.PROJECT_ADMIN})
    robots = harbor.administration().require_robots()
    harbor.script = ["lost", "broken"]
    with pytest.raises(UnavailableError, match="robot ci may be there, with a secret that nobody has") as caught:
        create_robot(robots, RobotRequest("ci", "es", PULL, 1), project, nowhere)
    assert "delete ci" in str(caught.value.hint)
    harbor.robots.clear()
    harbor.script = ["lost"]
    with pytest.raises(UnavailableError):
        create_robot(robots, RobotRequest("ci", "es", PULL, 1), project, nowhere)
    assert harbor.robots == {}


@pytest.mark.parametrize(("written", "meant"), [("dnaa", "dana"), ("d\u0430na", "dana"), ("devs", "group:devs")])
def test_a_wrong_letter_in_a_name_takes_access_from_nobody(written: str, meant: str) -> None:
    held = members(root=Role.PROJECT_ADMIN, bob=Role.GUEST) | {Principal.parse(meant): Role.DEVELOPER}
    there = world(es(held))
    there.harbor.knows = {"root", "dana", "bob"}
    done = applied(there, es(members(root=Role.PROJECT_ADMIN) | {Principal.parse(written): Role.DEVELOPER}))
    assert [(one.change.subject, one.skipped) for one in done.failed] == [(written, False), (meant, True)]
    assert done.failed[1].error.message == f"{written} could not be added, and may be another spelling of {meant}"
    assert written in str(done.failed[1].error.hint)
    # Who is spelled otherwise is somebody else.
    assert there.harbor.members["es"] == members(root=Role.PROJECT_ADMIN) | {Principal.parse(meant): Role.DEVELOPER}
