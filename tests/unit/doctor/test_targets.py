from dataclasses import replace
from datetime import timedelta

import pytest

from imagepipe.doctor.finding import Level
from imagepipe.errors import CredentialsError, HostChangedError, ImagepipeError, SettingsError, UnavailableError
from imagepipe.model.certificate import TlsLook
from imagepipe.model.host import HostFacts, HostInfo, TargetKind
from imagepipe.model.lock import Holder
from tests.contract.engine_memory import MemoryHost, MemoryLock
from tests.unit.doctor.clinic import NOW, VCH, Clinic, Inspected, certificate


def refusing(error: ImagepipeError) -> Clinic:
    """Returns a world whose target answers nothing but this."""

    class Refusing(MemoryHost):
        def info(self) -> HostInfo:
            raise error

    clinic = Clinic()
    clinic.patient = Refusing(TargetKind.VCH, clinic.registry)
    return clinic


def test_a_target_that_is_away_is_told_with_what_we_would_show_it() -> None:
    found = refusing(UnavailableError("connection refused")).examine(VCH)
    about = {key[1]: one.level for key, one in found.items() if key[0] == "vch-a"}
    assert about == {"reachable": Level.FAIL, "client certificate": Level.OK}


def test_a_certificate_that_is_not_accepted_is_explained_by_what_it_says() -> None:
    clinic = refusing(CredentialsError("Hostname mismatch"))
    fault = "its certificate is for vch-a.example, and not for vch-a"
    clinic.inspected.look = TlsLook(certificate(days=-1), fault=fault, hint="use one of these names", distrusted=True)
    found = clinic.examine(VCH)
    assert (found["vch-a", "tls"].detail, found["vch-a", "tls"].hint) == (fault, "use one of these names")
    assert "expired on 2026-01-01" in found["vch-a", "server certificate"].detail
    assert found["vch-a", "server certificate"].level is Level.FAIL
    assert ("vch-a", "reachable") not in found


def test_a_refused_client_certificate_is_told_with_whose_it_is() -> None:
    clinic = refusing(CredentialsError("refuses our client certificate: unknown ca"))
    clinic.inspected.look = CredentialsError("the same again")
    clinic.inspected.own = certificate("client", issuer="another CA")
    found = clinic.examine(VCH)
    assert found["vch-a", "reachable"].level is Level.FAIL
    assert "signed by another CA" in found["vch-a", "client certificate"].detail


def test_files_that_cannot_be_read_are_told_once() -> None:
    found = Clinic(inspected=Inspected(look=SettingsError("ca.pem: gone", hint="put it there"))).examine(VCH)
    assert (found["vch-a", "tls"].level, found["vch-a", "tls"].hint) == (Level.FAIL, "put it there")
    assert ("vch-a", "pin") not in found


def test_a_host_that_is_not_the_pinned_one_is_one_finding() -> None:
    found = refusing(HostChangedError("its certificate is a, b is pinned", hint="--replace")).examine(VCH)
    assert {key[1] for key in found if key[0] == "vch-a"} == {"pin"}
    assert found["vch-a", "pin"].level is Level.FAIL


def test_what_a_target_is_pinned_to_is_shown_and_what_is_not_is_noted() -> None:
    pinned = replace(VCH, pin="sha256:aa", host_id="prod-a")
    assert "sha256:aa and to id prod-a" in Clinic().examine(pinned)["vch-a", "pin"].detail
    assert "targets add vch-a --replace" in str(Clinic().examine(VCH)["vch-a", "pin"].hint)


def test_a_target_without_tls_is_warned_of_unless_it_is_a_socket() -> None:
    clinic = Clinic(inspected=Inspected(look=None, own=None))
    assert clinic.examine(replace(VCH, cert_path=None))["vch-a", "tls"].level is Level.WARN
    assert clinic.examine(replace(VCH, cert_path=None, host="unix:///s"))["vch-a", "tls"].level is Level.OK


def test_a_vch_configured_as_an_engine_is_found_and_the_reverse() -> None:
    found = Clinic().examine(replace(VCH, kind=TargetKind.DOCKER))["vch-a", "kind"]
    assert found.level is Level.FAIL
    assert 'kind = "vch"' in str(found.hint)
    found = Clinic(kind=TargetKind.DOCKER).examine(VCH)["vch-a", "kind"]
    assert 'kind = "docker"' in str(found.hint)


def test_a_vch_that_is_starting_is_not_well() -> None:
    clinic = Clinic()
    clinic.patient.faults.not_ready = True
    assert clinic.examine(VCH)["vch-a", "kind"].level is Level.FAIL


@pytest.mark.parametrize("policy", [None, "missing"])
def test_a_target_that_no_policy_guards_fails(policy: str | None) -> None:
    assert Clinic().examine(replace(VCH, policy=policy))["vch-a", "policy"].level is Level.FAIL


def test_certificates_are_warned_of_a_month_before_they_run_out() -> None:
    inspected = Inspected(look=TlsLook(certificate(days=31), "TLSv1.2"), own=certificate("client", days=29))
    found = Clinic(inspected=inspected).examine(VCH)
    assert found["vch-a", "client certificate"].level is Level.WARN
    assert f"{NOW + timedelta(days=29):%Y-%m-%d}" in found["vch-a", "client certificate"].detail
    assert found["vch-a", "server certificate"].level is Level.OK


@pytest.mark.parametrize(
    ("minutes", "said"), [(60, "60 min ahead of ours"), (-7, "7 min behind ours"), (1, "agrees"), (-1, "agrees")]
)
def test_a_clock_that_is_off_by_minutes_is_told(minutes: int, said: str) -> None:
    facts = HostFacts((), ("default",), system_time=NOW + timedelta(minutes=minutes))
    found = Clinic(inspected=Inspected(facts)).examine(VCH)["vch-a", "clock"]
    assert said in found.detail
    assert found.level is (Level.OK if said == "agrees" else Level.WARN)


def test_a_host_that_does_not_tell_the_time_is_not_blamed() -> None:
    assert ("vch-a", "clock") not in Clinic(inspected=Inspected(HostFacts(()))).examine(VCH)


def test_a_vch_without_a_volume_store_is_warned_of() -> None:
    found = Clinic(inspected=Inspected(HostFacts(()))).examine(VCH)
    assert found["vch-a", "volume stores"].level is Level.WARN
    assert found["vch-a", "networks"].detail == "none"


@pytest.mark.parametrize(
    ("used", "limit", "level", "said"),
    [
        (None, None, Level.NOTE, "does not tell how much its datastore has left"),
        (3, None, Level.NOTE, "3.0 GiB used"),
        (3, 100, Level.OK, "97.0 GiB left of its limit of 100.0 GiB"),
        (95, 100, Level.WARN, "5.0 GiB left"),
        (101, 100, Level.FAIL, "0 bytes left"),
    ],
)
def test_a_vchs_own_limit_is_told_and_what_is_not_known_is_not_made_up(
    used: int | None, limit: int | None, level: Level, said: str
) -> None:
    sizes = [None if size is None else size * 1024**3 for size in (limit, used)]
    facts = HostFacts((), ("default",), storage_limit_bytes=sizes[0], storage_used_bytes=sizes[1])
    found = Clinic(inspected=Inspected(facts)).examine(VCH)["vch-a", "free space"]
    assert (found.level, said in found.detail) == (level, True)


@pytest.mark.parametrize("root", ["", "/var/lib/docker"])
def test_an_engine_tells_nothing_of_its_free_space_and_that_is_said(root: str) -> None:
    clinic = Clinic(kind=TargetKind.DOCKER, inspected=Inspected(HostFacts(("bridge",), root_dir=root)))
    found = clinic.examine(replace(VCH, kind=TargetKind.DOCKER))["vch-a", "free space"]
    assert found.level is Level.NOTE
    assert found.detail.startswith("not known")
    assert root in found.detail


@pytest.mark.parametrize(("entry", "level"), [("vic.example", Level.OK), ("other.example", Level.FAIL)])
def test_a_whitelist_is_held_against_the_registry(entry: str, level: Level) -> None:
    clinic = Clinic()
    clinic.patient.whitelist = (entry,)
    assert clinic.examine(VCH)["vch-a", "whitelist"].level is level


@pytest.mark.parametrize(
    ("version", "warned"), [("harbor-2 2.15.2, as ci", True), ("admiral 1.7.8", False), ("?", False)]
)
def test_a_harbor_that_serves_no_schema_1_is_named_for_every_vch(version: str, warned: bool) -> None:
    found = Clinic(version=lambda: version).examine(VCH)
    assert found["harbor", "credentials"].level is Level.OK
    assert (("vch-a", "harbor") in found) is warned
    assert not warned or found["vch-a", "harbor"].detail.startswith("harbor-2 2.15.2 serves no schema 1")


def test_a_vch_of_an_odd_api_or_an_old_version_is_warned_of() -> None:
    class Old(MemoryHost):
        def info(self) -> HostInfo:
            return HostInfo(TargetKind.VCH, "old", "1.1.1", "1.40", ready=True)

    clinic = Clinic()
    clinic.patient = Old(TargetKind.VCH, clinic.registry)
    found = clinic.examine(VCH)
    assert found["vch-a", "api version"].level is found["vch-a", "version"].level is Level.WARN


def test_a_lock_is_told_with_its_holder_and_the_way_out() -> None:
    clinic = Clinic()
    assert ("vch-a", "lock") not in clinic.examine(VCH)
    clinic.lock.take(Holder("n1", "dana@ops-1, process 7", "m1/f1", "2026-01-02T03:04:05+00:00"))
    found = clinic.examine(VCH)["vch-a", "lock"]
    assert found.level is Level.NOTE
    assert found.detail == "a promotion holds it: dana@ops-1, process 7, since 2026-01-02T03:04:05+00:00"
    assert "--break-lock" in str(found.hint)


def test_a_lock_that_cannot_be_looked_at_is_told_as_such() -> None:
    class Odd(MemoryLock):
        def holder(self) -> Holder | None:
            raise UnavailableError("no volume store")

    clinic = Clinic()
    clinic.lock = Odd()
    assert clinic.examine(VCH)["vch-a", "lock"].level is Level.FAIL


@pytest.mark.parametrize("kind", list(TargetKind))
def test_two_names_for_one_host_are_warned_of(kind: TargetKind) -> None:
    clinic = Clinic(kind=kind)
    one, two = replace(VCH, kind=kind), replace(VCH, kind=kind, name="vch-z", host="tcp://10.0.0.1:2376")
    found = clinic.examine(one, two)
    assert found["vch-z", "host"].level is Level.WARN
    by = "name" if kind is TargetKind.VCH else "id"
    assert found["vch-z", "host"].detail.startswith(f"the same {by} as vch-a: memory-host; ")
    assert "imagepipe targets remove vch-z" in str(found["vch-z", "host"].hint)
    assert ("vch-a", "host") not in found
    clinic.patient.host_id = ""
    assert ("vch-z", "host") not in clinic.examine(one, two), "who says nothing is nobody"
