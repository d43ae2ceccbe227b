from datetime import timedelta

import pytest

from imagepipe.cli.doctor import describe
from imagepipe.doctor.finding import Finding, Level
from imagepipe.errors import CredentialsError, IdentityError, ImagepipeError, PermissionRefusedError, UnavailableError
from imagepipe.model.certificate import TlsLook
from imagepipe.model.host import TargetKind
from tests.unit.doctor.clinic import NOW, VCH, Clinic, Seen, Signing, certificate, site
from tests.unit.promote.world import CI


def test_a_healthy_world_has_nothing_to_warn_of() -> None:
    found = Clinic().examine(VCH)
    assert {one.level for one in found.values()} == {Level.OK, Level.NOTE}
    assert "VIC 1.5.8" in found["vch-a", "reachable"].detail
    assert str(CI) in found["signing", "identity"].detail
    assert str(CI) in found["vch-a", "policy"].detail


def test_looking_changes_nothing() -> None:
    clinic = Clinic(version=lambda: "harbor-2 2.15.2", projects=("es",))
    clinic.examine(VCH)
    assert clinic.registry.calls == ["resolve"]
    assert clinic.patient.pulled == []
    assert clinic.patient.probed == []
    assert clinic.harbor.writes == []


@pytest.mark.parametrize(
    ("error", "level"),
    [
        (CredentialsError("wrong password", hint="mend it"), Level.FAIL),
        (UnavailableError("nobody answers"), Level.FAIL),
        (PermissionRefusedError("hidden"), Level.OK),
    ],
)
def test_a_registry_is_told_by_what_it_answers(error: ImagepipeError, level: Level) -> None:
    clinic = Clinic()
    clinic.registry.failure = error
    found = clinic.examine()["vic.example", "reachable"]
    assert found.level is level
    if level is Level.FAIL:
        assert (found.detail, found.hint) == (error.message, error.hint or "correct it, then look again")


def test_without_a_registry_that_is_said() -> None:
    assert Clinic(host=None).examine(VCH)["registry", "configured"].level is Level.WARN


def test_an_expired_identity_fails_and_no_signing_warns() -> None:
    clinic = Clinic(signing=Signing(failure=IdentityError("expired", hint="get a new token")))
    assert clinic.examine()["signing", "identity"].hint == "get a new token"
    assert Clinic(signing=None).examine()["signing", "identity"].level is Level.WARN


@pytest.mark.parametrize(("left", "level"), [(timedelta(minutes=1), Level.WARN), (timedelta(minutes=9), Level.OK)])
def test_an_identity_token_is_warned_of_before_it_ends(left: timedelta, level: Level) -> None:
    found = Clinic(signing=Signing(ends=NOW + left)).examine()["signing", "identity token"]
    assert found.level is level
    assert " min left" in found.detail


def test_a_key_does_not_end() -> None:
    assert ("signing", "identity token") not in Clinic(signing=Signing(ends=None)).examine()


def test_a_build_host_that_is_a_vch_or_away_fails() -> None:
    assert Clinic(build_kind=TargetKind.VCH).examine()["build host", "kind"].level is Level.FAIL
    clinic = Clinic()
    clinic.builder.faults.down = True
    assert clinic.examine()["build host", "reachable"].level is Level.FAIL


def test_a_broken_chain_is_the_one_finding_about_a_registry_and_harbor_behind_it() -> None:
    def refuse() -> str:
        raise CredentialsError("its certificate is not trusted")

    look = TlsLook(certificate("vic.example"), fault="its certificate is for vic.example, and not for vic", hint="x")
    found = Clinic(seen=Seen(site(tls=look)), version=refuse).examine(VCH)
    about = {key[1]: one.level for key, one in found.items() if key[0] in ("vic.example", "harbor")}
    assert about == {"tls": Level.FAIL, "server certificate": Level.OK}


def test_a_target_whose_address_is_none_is_one_finding() -> None:
    found = Clinic(connect_failure=CredentialsError("no such folder")).examine(VCH)
    assert [one.detail for key, one in found.items() if key[0] == "vch-a"] == ["no such folder"]


def test_a_harbor_that_does_not_know_us_fails() -> None:
    def refuse() -> str:
        raise CredentialsError("not known", hint="correct the password")

    assert Clinic(version=refuse).examine()["harbor", "credentials"].level is Level.FAIL


def test_the_answer_is_one_line_a_finding_with_the_way_out_below() -> None:
    findings = (
        Finding("a", "b", Level.OK, "c"),
        Finding("d", "e", Level.FAIL, "f", "g"),
    )
    assert describe(findings).splitlines() == ["ok    a: b: c", "fail  d: e: f", "      hint: g"]
    assert findings[1].to_json()["hint"] == "g"
