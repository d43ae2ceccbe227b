"""Why a call of Harbor's administration is refused: who we are there, and whom to ask."""

import pytest

from imagepipe.access.calls import explain_call
from imagepipe.errors import PermissionRefusedError
from imagepipe.model.access import Caller, Member, Project, Role
from imagepipe.ports.administration import Administration
from tests.contract.harbor_memory import MemoryHarbor, MemoryMembership
from tests.unit.access.worlds import Hiding


class Shy(MemoryMembership):
    """Shows nobody who is there."""

    def list(self, project: Project) -> tuple[Member, ...]:
        raise PermissionRefusedError("forbidden")


@pytest.fixture
def harbor() -> MemoryHarbor:
    made = MemoryHarbor(caller=Caller("gus von Ohm", "user"))
    made.add_project(
        "es",
        {
            "gus von Ohm": Role.GUEST,
            "lim": Role.LIMITED_GUEST,
            "group:x": Role.GUEST,
            **dict.fromkeys("abcd", Role.PROJECT_ADMIN),
        },
    )
    return made


def cause(
    harbor: MemoryHarbor, who: str = "gus von Ohm", *, reading: bool = False, **ports: object
) -> tuple[str, str, str] | None:
    harbor.caller = Caller(who, "robot" if "$" in who else "user", system_admin=who == "root")
    whole = harbor.administration()
    parts = {name: getattr(whole, name) for name in whole.__slots__}
    found = explain_call("es", Administration(**parts | ports), reading=reading)
    return None if found is None else (found.kind, found.message, found.fix)


def test_a_role_that_is_too_low_is_told_with_whom_to_ask(harbor: MemoryHarbor) -> None:
    assert cause(harbor) == (
        "role",
        "gus von Ohm is guest of es, and this takes a projectAdmin; its admins are a, b, c",
        "imagepipe member set es 'gus von Ohm' --role projectAdmin",
    )
    assert cause(harbor, reading=True) is None
    lim = cause(harbor, "lim", reading=True)
    assert lim is not None
    assert lim[2] == "imagepipe member set es lim --role guest"


def test_who_is_no_member_is_told_so(harbor: MemoryHarbor) -> None:
    told = cause(harbor, "dana", projects=Hiding(harbor, {"es"}))
    assert told == ("no_member", "dana is no member of es by name", "imagepipe member add es dana --role projectAdmin")
    assert cause(harbor, "dana", reading=True, membership=Shy(harbor)) == (
        "no_member",
        "dana is no member of es by name",
        "imagepipe member add es dana --role guest",
    )


def test_who_may_is_told_nothing(harbor: MemoryHarbor) -> None:
    assert cause(harbor, "a") is None
    assert cause(harbor, "root") is None
    # An admin by a group, or where members are not shown.
    assert cause(harbor, "a", membership=Shy(harbor)) is None
    assert explain_call("nowhere", harbor.administration(), reading=True) is None


def test_a_robot_is_told_what_it_may(harbor: MemoryHarbor) -> None:
    told = cause(harbor, "robot$es+ci")
    assert told is not None
    assert told[:2] == ("robot_rights", "robot robot$es+ci may do this in es: nothing that it could see")
    hidden = cause(harbor, "robot$es+ci", projects=Hiding(harbor, {"es"}))
    assert hidden == told
