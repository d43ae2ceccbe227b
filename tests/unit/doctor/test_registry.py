from datetime import datetime, timedelta

import pytest

from imagepipe.doctor.finding import Finding, Level
from imagepipe.doctor.registry import examine_rights
from imagepipe.errors import ImagepipeError, SettingsError, UnavailableError
from imagepipe.model.access import Caller, Role
from imagepipe.model.certificate import SiteLook
from imagepipe.model.host import TargetKind
from tests.contract.harbor_memory import MemoryHarbor
from tests.unit.doctor.clinic import NOW, VCH, Clinic, Seen, site

ROBOT = Caller("robot$es+ci", "robot")


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"versions": ""}, "Docker-Distribution-API-Version"),
        ({"challenge": 'Basic realm="x"'}, "Basic"),
        ({"challenge": 'Bearer realm="x", service="y"'}, "Bearer"),
        ({"challenge": ""}, "nothing"),
    ],
)
def test_what_a_vch_would_not_pull_from_is_named_before_it_tries(changes: dict[str, str], said: str) -> None:
    found = Clinic(seen=Seen(site(**changes))).examine(VCH)["vic.example", "vch protocol"]
    assert found.level is Level.FAIL
    assert said in found.detail


def test_without_a_vch_nobody_needs_its_protocol() -> None:
    clinic = Clinic(seen=Seen(site(versions="")))
    assert ("vic.example", "vch protocol") not in clinic.examine()
    assert clinic.kind is TargetKind.VCH


def test_the_registrys_clock_and_plain_http_are_told() -> None:
    found = Clinic(seen=Seen(SiteLook(None, NOW + timedelta(hours=1)))).examine()
    assert "60 min ahead" in found["vic.example", "clock"].detail
    assert found["vic.example", "tls"].level is Level.WARN


@pytest.mark.parametrize(
    ("error", "told"), [(UnavailableError("away"), False), (SettingsError("ca.crt: not a CA file"), True)]
)
def test_a_site_that_cannot_be_looked_at_is_told_by_what_needs_it(error: ImagepipeError, told: bool) -> None:
    assert (("vic.example", "tls") in Clinic(seen=Seen(error)).examine()) is told


def rights(harbor: MemoryHarbor, *projects: str, now: datetime = NOW) -> dict[str, Finding]:
    """Returns what is found about our rights, by check."""
    return {one.check: one for one in examine_rights(harbor.administration(), projects, now)}


def harbor_of(caller: Caller, *granted: str) -> MemoryHarbor:
    """Returns a Harbor with the project `es`, where the caller is a member or robot with these rights."""
    harbor = MemoryHarbor(caller=caller)
    harbor.add_project("es", {"dana": Role.DEVELOPER, "gus": Role.GUEST})
    if caller.kind == "robot":
        harbor.add_robot("ci", "es", *granted)
    return harbor


@pytest.mark.parametrize(
    ("caller", "granted", "level", "said"),
    [
        (Caller("dana", "user"), (), Level.OK, "dana may pull and push"),
        (Caller("gus", "user"), (), Level.WARN, "gus may pull only"),
        (ROBOT, ("repository:pull", "repository:push"), Level.OK, "may pull and push"),
        (ROBOT, ("repository:pull",), Level.WARN, "may pull only"),
        (ROBOT, ("repository:push",), Level.FAIL, "may not pull"),
        (ROBOT, ("tag:list",), Level.FAIL, "may neither pull nor push"),
    ],
)
def test_what_we_may_in_a_project_is_told_with_what_it_is_not_enough_for(
    caller: Caller, granted: tuple[str, ...], level: Level, said: str
) -> None:
    found = rights(harbor_of(caller, *granted), "es")["rights in es"]
    assert (found.level, said in found.detail) == (level, True)
    if level is not Level.OK:
        assert (
            "robot create es NAME --can push,pull --days 90 --out FILE" if caller is ROBOT else "member set es gus"
        ) in str(found.hint)


def test_a_project_that_is_not_there_fails() -> None:
    assert rights(harbor_of(Caller("dana", "user")), "gone")["rights in gone"].level is Level.FAIL


def test_a_robot_is_looked_at_in_its_own_project_without_being_told() -> None:
    assert set(rights(harbor_of(ROBOT, "repository:pull"))) == {"rights in es", "expiry"}
    assert set(rights(harbor_of(Caller("robot$all", "robot")))) == {"expiry"}


@pytest.mark.parametrize(("days", "level"), [(1, Level.WARN), (20, Level.OK)])
def test_a_robot_is_warned_of_a_week_before_it_ends(days: int, level: Level) -> None:
    harbor = harbor_of(ROBOT, "repository:pull")
    harbor.add_robot("ci", "es", "repository:pull", expires_at=NOW + timedelta(days=days))
    found = rights(harbor)["expiry"]
    assert found.level is level
    assert (found.hint == "renew it: imagepipe robot rotate es ci --out FILE") is (level is Level.WARN)


def test_a_robot_of_the_whole_harbor_is_renewed_where_it_is() -> None:
    harbor = harbor_of(Caller("robot$all", "robot"))
    harbor.add_robot("all", None, "repository:pull", expires_at=NOW + timedelta(days=1))
    assert rights(harbor)["expiry"].hint == "renew it: imagepipe robot rotate / all --out FILE"


def test_a_robot_that_never_ends_is_well_and_one_that_is_hidden_is_noted() -> None:
    assert rights(harbor_of(ROBOT, "repository:pull"))["expiry"].detail.endswith("never ends")
    hidden = MemoryHarbor(caller=ROBOT, has_robots=False)
    hidden.add_project("es", {})
    assert rights(hidden)["expiry"].level is Level.NOTE


def test_rights_that_harbor_does_not_tell_are_a_finding_and_not_the_end() -> None:
    harbor = harbor_of(Caller("dana", "user"))
    clinic = Clinic(harbor=harbor, version=lambda: "harbor-2 2.15.2", projects=("es",))
    assert clinic.examine()["harbor", "rights in es"].level is Level.OK
    harbor.caller = None
    found = clinic.examine()["harbor", "rights"]
    assert found.level is Level.FAIL
