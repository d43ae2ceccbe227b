"""Directories take a name in any case: no spelling makes two of one member, nor takes anything from anybody."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from imagepipe.access.apply import apply_plan
from imagepipe.access.changes import find_member
from imagepipe.access.document import load_access
from imagepipe.access.plan import plan_access
from imagepipe.access.read import read_access
from imagepipe.access.secrets import nowhere
from imagepipe.access.state import AccessPlan, DesiredProject
from imagepipe.errors import InputError
from imagepipe.model.access import Principal, Role
from imagepipe.ports.administration import Administration
from tests.contract.test_harbor_admiral import ALICE, World, world
from tests.contract.test_harbor_directories import LDAP, opened

__all__ = ["world"]


@pytest.fixture(params=["admiral", "ldap"])
def harbor(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Administration]:
    if request.param == "admiral":
        vic: World = request.getfixturevalue("world")
        yield vic.admiral
        return
    with opened(tmp_path, "ldap", LDAP) as (made, _):
        yield made


def known(harbor: Administration) -> tuple[str, str]:
    """Returns the caller, who is admin of all that it makes, and somebody else, as Harbor spells them."""
    return harbor.callers.caller().name, ALICE if harbor.dialect == "admiral" else "ada"


def asked(harbor: Administration, folder: Path, admin: str, developer: str) -> tuple[DesiredProject, ...]:
    file = folder / "access.yaml"
    members = f"{{projectAdmin: ['{admin}'], developer: [{developer}]}}"
    file.write_text(f"version: 1\nprojects:\n  es:\n    members: {members}\n    unmanaged: remove\n")
    return load_access(file, folds=harbor.folds)


def planned(harbor: Administration, file: tuple[DesiredProject, ...]) -> AccessPlan:
    actual = read_access(["es"], harbor)
    return plan_access(file, actual, caller=harbor.callers.caller(), folds=harbor.folds)


def test_a_member_in_another_spelling_keeps_what_it_has(harbor: Administration, tmp_path: Path) -> None:
    admin, somebody = known(harbor)
    project = harbor.projects.create("es", {})
    harbor.membership.add(project, Principal.parse(somebody), Role.GUEST)
    file = asked(harbor, tmp_path, admin.upper(), somebody.title())
    plan = planned(harbor, file)
    assert [change.describe() for change in plan.changes] == [f"~ es: set role {somebody}: guest -> developer"]
    assert apply_plan(plan, file, harbor, deliver=nowhere).failed == ()
    held = {str(one.principal): one.role for one in harbor.membership.list(project)}
    assert held == {admin: Role.PROJECT_ADMIN, somebody: Role.DEVELOPER}
    assert planned(harbor, file).changes == ()


def test_a_new_project_has_its_members_once(harbor: Administration, tmp_path: Path) -> None:
    admin, somebody = known(harbor)
    file = asked(harbor, tmp_path, admin.upper(), somebody.upper())
    done = apply_plan(planned(harbor, file), file, harbor, deliver=nowhere)
    assert done.failed == ()
    assert done.remaining is not None
    assert done.remaining.changes == ()
    assert {str(one.principal) for one in harbor.membership.list(harbor.projects.create("other", {}))} == {admin}


def test_a_member_is_found_in_another_spelling(harbor: Administration) -> None:
    admin, _ = known(harbor)
    members = harbor.membership.list(harbor.projects.create("es", {}))
    assert find_member(members, Principal.parse(admin.upper()), folds=harbor.folds) == members[0]


def test_one_member_in_two_spellings_is_told_with_its_place(harbor: Administration, tmp_path: Path) -> None:
    _, somebody = known(harbor)
    with pytest.raises(InputError, match=r"access.yaml:4:\d+: .*is projectAdmin already"):
        asked(harbor, tmp_path, somebody.upper(), somebody)
