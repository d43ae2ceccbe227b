from collections.abc import Mapping
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest

from imagepipe.access.plan import plan_access
from imagepipe.access.state import (
    AccessPlan,
    Action,
    Change,
    DesiredProject,
    ProjectState,
    RobotState,
    Setting,
    Unmanaged,
)
from imagepipe.access.support import require_supported
from imagepipe.errors import InputError, RefusedError, UnsupportedError
from imagepipe.model.access import PERMISSION_SETS, Caller, Principal, Right, Role
from tests.contract.harbor_memory import MemoryHarbor

ADMIN = Caller("admin", "user", system_admin=True)
ALICE = Caller("alice", "user")
ROBOT = Caller("robot$ops", "robot")
PULL, PUSH = RobotState(PERMISSION_SETS["pull"]), RobotState(PERMISSION_SETS["push"], days=30)


def state(
    members: Mapping[str, Role] | None = None,
    robots: Mapping[str, RobotState] | None = None,
    settings: Mapping[str, Setting] | None = None,
) -> ProjectState:
    held = {Principal.parse(name): role for name, role in (members or {}).items()}
    return ProjectState("es", settings or {}, held, robots or {})


def plan(
    wanted: ProjectState,
    actual: ProjectState | None,
    unmanaged: Unmanaged = Unmanaged.REMOVE,
    caller: Caller = ADMIN,
    *,
    force: bool = False,
) -> AccessPlan:
    there = {} if actual is None else {"es": actual}
    return plan_access([DesiredProject(wanted, unmanaged)], there, caller=caller, force=force)


def lines(made: AccessPlan) -> list[str]:
    return [change.describe().removeprefix("~ ").removeprefix("+ ").removeprefix("- ") for change in made.changes]


def test_a_plan_reads_as_who_gets_and_loses_what() -> None:
    before = state({"bob": Role.PROJECT_ADMIN, "carol": Role.GUEST}, {"old": PULL, "ci": PULL}, {"public": True})
    wanted = state({"alice": Role.PROJECT_ADMIN, "bob": Role.GUEST}, {"ci": PUSH}, {"public": False})
    assert [change.describe() for change in plan(wanted, before).changes] == [
        "+ es: add member alice: projectAdmin",
        "~ es: set public: true -> false",
        "~ es: replace robot ci: pull -> push for 30 days",
        "~ es: set role bob: projectAdmin -> guest",
        "- es: remove member carol: guest",
        "- es: delete robot old: pull",
    ]


def test_of_a_robot_that_is_replaced_the_plan_tells_what_it_gains_and_loses() -> None:
    held = RobotState(PERMISSION_SETS["push"] | {Right.parse("member:create"), Right.parse("member:delete")}, days=7)
    wanted = RobotState(PERMISSION_SETS["push"] | {Right.parse("scan:read")}, days=None)
    (change,) = plan(
        state({"root": Role.PROJECT_ADMIN}, {"ci": wanted}), state({"root": Role.PROJECT_ADMIN}, {"ci": held})
    ).changes
    assert change.describe() == "~ es: replace robot ci: loses member:create, member:delete; gains scan:read"
    (change,) = plan(
        state({"root": Role.PROJECT_ADMIN}, {"ci": held}), state({"root": Role.PROJECT_ADMIN}, {"ci": wanted})
    ).changes
    assert change.describe() == "~ es: replace robot ci: loses scan:read; gains member:create, member:delete for 7 days"


def test_our_own_right_to_go_on_is_the_last_to_go() -> None:
    before = state({"alice": Role.PROJECT_ADMIN, "bob": Role.GUEST, "carol": Role.GUEST})
    wanted = state({"alice": Role.GUEST, "bob": Role.PROJECT_ADMIN})
    assert lines(plan(wanted, before, caller=ALICE, force=True)) == [
        "es: set role bob: guest -> projectAdmin",
        "es: remove member carol: guest",
        "es: set role alice: projectAdmin -> guest",
    ]


def test_roles_are_raised_before_others_are_lowered() -> None:
    before = state({"root": Role.PROJECT_ADMIN, "down": Role.MAINTAINER, "up": Role.GUEST})
    wanted = state({"root": Role.PROJECT_ADMIN, "down": Role.GUEST, "up": Role.DEVELOPER})
    assert lines(plan(wanted, before)) == [
        "es: set role up: guest -> developer",
        "es: set role down: maintainer -> guest",
    ]


def test_nobody_locks_themselves_out_by_accident() -> None:
    before, wanted = state({"alice": Role.PROJECT_ADMIN}), state({"bob": Role.PROJECT_ADMIN})
    with pytest.raises(RefusedError, match=r"you \(alice\) would no longer be projectAdmin") as caught:
        plan(wanted, before, caller=ALICE)
    assert "--force" in str(caught.value.hint)
    assert plan(wanted, before, caller=ALICE, force=True).changes
    assert plan(wanted, before, caller=ROBOT).changes


@pytest.mark.parametrize("force", [False, True])
def test_a_project_without_an_admin_is_refused_whatever_is_forced(force: bool) -> None:
    with pytest.raises(RefusedError, match="es would be left without a projectAdmin"):
        plan(state({"bob": Role.GUEST}), state({"bob": Role.PROJECT_ADMIN}), force=force)
    with pytest.raises(RefusedError, match="without a projectAdmin"):
        plan(state({"alice": Role.GUEST}), None, caller=ALICE, force=force)


def test_who_creates_a_project_is_its_admin_until_the_file_says_otherwise() -> None:
    wanted = state({"bob": Role.PROJECT_ADMIN})
    assert lines(plan(wanted, None, caller=ALICE)) == [
        "es: create project",
        "es: add member bob: projectAdmin",
        "es: remove member alice: projectAdmin",
    ]
    assert lines(plan(wanted, None, Unmanaged.KEEP, ALICE))[-1] == "es: add member bob: projectAdmin"
    assert lines(plan(wanted, None, caller=ROBOT))[-1] == "es: add member bob: projectAdmin"
    named = state({"bob": Role.PROJECT_ADMIN, "alice": Role.GUEST})
    assert lines(plan(named, None, caller=ALICE))[-1] == "es: add member alice: guest"


def test_what_the_file_does_not_name_is_kept_reported_or_removed() -> None:
    before = state({"root": Role.PROJECT_ADMIN, "group:devs": Role.DEVELOPER}, {"ci": PULL})
    wanted = state({"root": Role.PROJECT_ADMIN})
    assert plan(wanted, before, Unmanaged.KEEP).changes == plan(wanted, before, Unmanaged.REPORT).changes == ()
    assert plan(wanted, before, Unmanaged.KEEP).reports == ()
    assert plan(wanted, before, Unmanaged.REPORT).reports == (
        "es: group:devs is developer and is not in the file",
        "es: robot ci is not in the file",
    )
    assert [change.action for change in plan(wanted, before).changes] == [Action.REMOVE_MEMBER, Action.DELETE_ROBOT]


@pytest.mark.parametrize(
    "listed",
    ["group:CN=Devs,OU=Groups,DC=Example", "group:cn=devs , ou = groups,dc=example", "group:Devs"],
)
def test_another_spelling_of_a_group_is_no_drift(listed: str) -> None:
    wanted = state({"root": Role.PROJECT_ADMIN, "group:cn=Devs,ou=groups,dc=example": Role.GUEST})
    there = state({"root": Role.PROJECT_ADMIN, listed: Role.GUEST})
    assert plan(wanted, there).changes == ()
    promoted = state({"root": Role.PROJECT_ADMIN, listed: Role.DEVELOPER})
    assert lines(plan(wanted, promoted)) == [f"es: set role {listed}: developer -> guest"]


@pytest.mark.parametrize("other", ["group:cn=devs\\,x,dc=example", "group:devs\\", "Devs", "group:operators"])
def test_another_principal_is_drift(other: str) -> None:
    wanted = state({"root": Role.PROJECT_ADMIN, "group:cn=devs,dc=example": Role.GUEST})
    assert len(plan(wanted, state({"root": Role.PROJECT_ADMIN, other: Role.GUEST})).changes) == 2


def test_settings_that_were_never_set_are_what_harbor_takes_for_granted() -> None:
    there = state({"root": Role.PROJECT_ADMIN})
    off: dict[str, Setting] = {"public": False, "auto_scan": False, "reuse_system_cve_allowlist": True}
    assert plan(state({"root": Role.PROJECT_ADMIN}, settings=off), there).changes == ()
    on: dict[str, Setting] = {"max_severity": "low", "reuse_system_cve_allowlist": False}
    assert lines(plan(state({"root": Role.PROJECT_ADMIN}, settings=on), there)) == [
        "es: set max_severity: low",
        "es: set reuse_system_cve_allowlist: true -> false",
    ]


def test_a_quota_that_is_not_shown_to_us_is_reported_and_not_compared() -> None:
    wanted = state({"root": Role.PROJECT_ADMIN}, settings={"storage_limit_bytes": 1})
    hidden = plan(wanted, state({"root": Role.PROJECT_ADMIN}))
    assert hidden.changes == ()
    assert hidden.reports == ("es: storage_limit_bytes is not shown to you, so it was not compared",)
    shown = plan(wanted, state({"root": Role.PROJECT_ADMIN}, settings={"storage_limit_bytes": -1}))
    assert lines(shown) == ["es: set storage_limit_bytes: -1 -> 1"]
    assert lines(plan(wanted, None))[-1] == "es: remove member admin: projectAdmin"
    assert "es: set storage_limit_bytes: 1" in lines(plan(wanted, None))


def test_a_rotation_that_was_not_ended_is_reported() -> None:
    there = state({"root": Role.PROJECT_ADMIN}, {"ci": RobotState(PULL.rights, older=1)})
    made = plan(state({"root": Role.PROJECT_ADMIN}, {"ci": PULL}), there)
    assert made.changes == ()
    assert "rotate --finish" in made.reports[0]


def test_a_robots_life_is_never_drift() -> None:
    there = state({"root": Role.PROJECT_ADMIN}, {"ci": RobotState(PULL.rights)})
    assert plan(state({"root": Role.PROJECT_ADMIN}, {"ci": RobotState(PULL.rights, days=7)}), there).changes == ()


def test_what_a_harbor_cannot_do_is_said_by_name_and_before_anything_is_changed() -> None:
    old = MemoryHarbor(
        roles=(Role.PROJECT_ADMIN, Role.DEVELOPER),
        settings=("public",),
        has_robots=False,
        dialect="harbor-1",
        version="1.7.8",
    ).administration()
    wanted = state({"bob": Role.MAINTAINER}, {"ci": PULL}, {"auto_sbom": True, "auto_scan": False, "public": True})
    with pytest.raises(UnsupportedError) as caught:
        require_supported([DesiredProject(wanted)], old)
    for part in ("harbor-1 1.7.8", "bob as maintainer (it has projectAdmin, developer)", "setting auto_sbom", "robots"):
        assert part in caught.value.message
    assert "auto_scan" not in caught.value.message
    require_supported([DesiredProject(wanted)], MemoryHarbor().administration())


GOOD = Change("es", Action.ADD_MEMBER, "bob", None, "guest").to_json()


@pytest.mark.parametrize(
    "change",
    [
        None,
        "x",
        {},
        GOOD | {"action": "burn"},
        GOOD | {"after": "emperor"},
        GOOD | {"project": 1},
        GOOD | {"subject": None},
        GOOD | {"action": "create robot", "after": {}},
        GOOD | {"action": "create robot", "after": {"rights": ["nonsense"]}},
        GOOD | {"action": "set role", "before": {"a": 1}},
        GOOD | {"action": "set role", "before": "guest", "after": "emperor"},
        GOOD | {"action": "remove member", "before": ["guest"], "after": None},
        GOOD | {"action": "delete robot", "before": 5, "after": None},
        GOOD | {"action": "set", "subject": "public", "after": "yes"},
        GOOD | {"action": "set", "subject": "colour", "after": "red"},
    ],
)
def test_a_change_of_another_shape_is_bad_input(change: object) -> None:
    with pytest.raises(InputError):
        Change.from_json(change)


@pytest.mark.parametrize(
    "document",
    [
        None,
        {},
        {"schema": "imagepipe.access-plan/v1"},
        {"schema": "imagepipe.access-plan/v1", "changes": 5, "reports": []},
        {"schema": "imagepipe.access-plan/v1", "changes": [], "reports": [], "basis": "x"},
    ],
)
def test_a_plan_of_another_shape_is_bad_input(document: object) -> None:
    with pytest.raises(InputError):
        AccessPlan.from_json(document)


def test_changes_of_every_kind_survive_json() -> None:
    before = state({"bob": Role.PROJECT_ADMIN}, {"old": PULL}, {"public": True})
    wanted = state({"alice": Role.PROJECT_ADMIN}, {"ci": PUSH}, {"public": False})
    made = plan(wanted, before)
    assert AccessPlan.from_json(made.to_json()) == made


def test_a_harbor_of_its_own_users_has_two_of_names_that_differ_in_case() -> None:
    before = state({"alice": Role.PROJECT_ADMIN, "bob": Role.GUEST})
    wanted = state({"alice": Role.PROJECT_ADMIN, "Bob": Role.GUEST})
    assert lines(plan(wanted, before)) == ["es: add member Bob: guest", "es: remove member bob: guest"]


def test_two_names_that_may_mean_one_group_mean_it_once() -> None:
    before = state({"alice": Role.PROJECT_ADMIN, "group:devs": Role.GUEST})
    wanted = state({"alice": Role.PROJECT_ADMIN, "group:cn=devs,ou=more": Role.DEVELOPER, "group:devs": Role.GUEST})
    assert lines(plan(wanted, before)) == ["es: add member group:cn=devs,ou=more: developer"]


@pytest.mark.parametrize(
    ("robots", "done"), [({"new": PUSH}, "deleted"), ({"ops": PUSH}, "replaced")], ids=["left out", "changed"]
)
def test_a_robot_is_not_taken_away_by_its_own_run_unless_it_is_forced(
    robots: Mapping[str, RobotState], done: str
) -> None:
    before, ops = state({"bob": Role.PROJECT_ADMIN}, {"ops": PULL}), Caller("robot$es+ops.g2", "robot")
    wanted = state({"carol": Role.PROJECT_ADMIN}, robots)
    with pytest.raises(RefusedError, match=rf"es: you \(robot ops\) would be {done}") as caught:
        plan(wanted, before, caller=ops)
    assert "--force" in str(caught.value.hint)
    forced = plan(wanted, before, caller=ops, force=True)
    assert (forced.changes[-1].action.symbol, forced.changes[-1].subject) == ("-" if done == "deleted" else "~", "ops")
    for other in (ROBOT, Caller("robot$other+ops", "robot"), Caller("es+ops", "user")):
        assert len(plan(wanted, before, caller=other).changes) == len(forced.changes)


def test_a_robot_that_the_file_leaves_as_it_is_may_run_it() -> None:
    before = state({"bob": Role.PROJECT_ADMIN}, {"ops": PULL})
    wanted = state({"bob": Role.PROJECT_ADMIN, "carol": Role.GUEST}, {"ops": PULL})
    assert lines(plan(wanted, before, caller=Caller("robot$es+ops", "robot"))) == ["es: add member carol: guest"]


def test_a_robot_that_is_as_the_file_says_and_lets_nobody_in_is_told() -> None:
    now = datetime(2026, 3, 1, 12, tzinfo=UTC)
    robots = {
        "gone": replace(PULL, expires_at=now),
        "off": replace(PULL, disabled=True, expires_at=now),
        "good": replace(PULL, expires_at=now + timedelta(seconds=1)),
        "eternal": PULL,
    }
    there = state({"bob": Role.PROJECT_ADMIN}, robots)
    wanted = [DesiredProject(there, Unmanaged.REMOVE)]
    made = plan_access(wanted, {"es": there}, caller=ADMIN, now=now)
    assert made.changes == ()
    assert made.reports == (
        "es: robot gone has expired on 2026-03-01; `imagepipe robot rotate es gone` makes its successor",
        "es: robot off is switched off, which the file does not say",
    )
    assert len(plan_access(wanted, {"es": there}, caller=ADMIN).reports) == 1
