"""The laws of access as code, on a Harbor in memory."""

import json
from collections.abc import Mapping

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from imagepipe.access.apply import Applied, apply_plan
from imagepipe.access.document import dump_access, load_access
from imagepipe.access.names import family_of, robot_name
from imagepipe.access.plan import plan_access
from imagepipe.access.read import read_access
from imagepipe.access.state import AccessPlan, ProjectState, Unmanaged
from imagepipe.errors import UnavailableError
from imagepipe.model.access import Caller, Role
from tests.unit.access.worlds import World, accesses, desired, world

# Threads make the time of one example uncertain.
LAW = settings(deadline=None, max_examples=60)
CALLER = Caller("admin", "user", system_admin=True)


def converge(there: World, wanted: Mapping[str, ProjectState]) -> tuple[AccessPlan, Applied]:
    """Plans and applies as the command does."""
    admin, file = there.harbor.administration(), desired(wanted)
    plan = plan_access(file, read_access(list(wanted), admin), caller=CALLER, force=True)
    return plan, apply_plan(plan, file, admin, deliver=there.deliver)


@LAW
@given(accesses(), st.sampled_from(Unmanaged))
def test_nothing_is_planned_where_access_is_as_it_should_be(
    states: dict[str, ProjectState], unmanaged: Unmanaged
) -> None:
    plan = plan_access(desired(states, unmanaged), states, caller=CALLER)
    assert plan.changes == ()
    assert plan.reports == ()


@LAW
@given(accesses(), accesses(full=True))
def test_applying_a_plan_makes_what_the_file_says(
    before: dict[str, ProjectState], wanted: dict[str, ProjectState]
) -> None:
    there = world(before)
    _, applied = converge(there, wanted)
    assert applied.failed == ()
    assert applied.remaining is not None
    assert applied.remaining.changes == ()
    after = read_access(list(wanted), there.harbor.administration())
    for name, state in wanted.items():
        assert after[name].members == state.members
        assert after[name].robots == state.robots
        # What was never set is off, but for the one that is on.
        held = {"reuse_system_cve_allowlist": True, **after[name].settings}
        assert {key: held.get(key, False) for key in state.settings} == state.settings
    untouched = {name: state for name, state in before.items() if name not in wanted}
    assert {name: dict(there.harbor.members[name]) for name in untouched} == {
        name: state.members for name, state in untouched.items()
    }
    made = {login for login in there.harbor.robots if login in there.delivered}
    assert made == set(there.delivered)


@LAW
@given(accesses(), accesses(full=True))
def test_applying_twice_changes_nothing_the_second_time(
    before: dict[str, ProjectState], wanted: dict[str, ProjectState]
) -> None:
    there = world(before)
    converge(there, wanted)
    written = list(there.harbor.writes)
    plan, _ = converge(there, wanted)
    assert plan.changes == ()
    assert there.harbor.writes == written


@LAW
@given(accesses(), accesses(full=True))
def test_no_prefix_of_a_plan_leaves_a_project_without_an_admin(
    before: dict[str, ProjectState], wanted: dict[str, ProjectState]
) -> None:
    there = world(before)
    converge(there, wanted)
    there.watch("the end")
    assert there.orphaned == []


@LAW
@given(accesses(full=True), accesses(full=True), st.data())
def test_whichever_write_fails_no_project_is_left_without_an_admin_and_another_run_ends_the_work(
    before: dict[str, ProjectState], wanted: dict[str, ProjectState], data: st.DataObject
) -> None:
    there = world(before)
    at = data.draw(st.integers(0, 12))
    there.harbor.script = ["fine"] * at + data.draw(st.lists(st.sampled_from(["lost", "broken"]), max_size=4))
    _, applied = converge(there, wanted)
    there.watch("the next run")
    assert there.orphaned == []
    for failure in applied.failed:
        assert (
            isinstance(failure.error, UnavailableError) or failure.skipped or "last projectAdmin" in str(failure.error)
        )
    there.harbor.script = []
    _, again = converge(there, wanted)
    assert again.failed == ()
    assert again.remaining is not None
    assert again.remaining.changes == ()
    there.watch("the end")
    assert there.orphaned == []
    for name, state in wanted.items():
        assert dict(there.harbor.members[name]) == state.members
    # Every robot that a run made can be used by somebody, or the failure said that it must be deleted.
    mine = {login for login, robot in there.harbor.robots.items() if robot.expires_at is not None}
    told = " ".join(failure.error.message for failure in applied.failed)
    assert all("secret that nobody has" in told for _ in mine - set(there.delivered))


@LAW
@given(states=accesses(full=True))
def test_what_is_exported_asks_for_nothing(
    tmp_path_factory: pytest.TempPathFactory, states: dict[str, ProjectState]
) -> None:
    live = read_access(None, world(states).harbor.administration())
    file = tmp_path_factory.getbasetemp() / "access.yaml"
    file.write_text(dump_access(live, roles=tuple(Role)))
    plan = plan_access(load_access(file), live, caller=CALLER)
    assert plan.changes == ()
    assert plan.reports == ()


@LAW
@given(accesses(), accesses(full=True))
def test_a_plan_survives_its_file(before: dict[str, ProjectState], wanted: dict[str, ProjectState]) -> None:
    plan = plan_access(desired(wanted), before, caller=CALLER, force=True)
    assert AccessPlan.from_json(json.loads(json.dumps(plan.to_json()))) == plan


@LAW
@given(st.from_regex(r"[a-z0-9]+(?:[._-][a-z0-9]+)*", fullmatch=True) | st.sampled_from(["ci.g2", "ci.g02", "ci.g1"]))
def test_a_robot_is_found_by_family_and_generation(name: str) -> None:
    assert robot_name(*family_of(name)) == name
