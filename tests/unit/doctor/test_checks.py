from collections.abc import Callable
from dataclasses import dataclass, field, replace
from datetime import timedelta

import pytest

from imagepipe.cli.doctor import describe
from imagepipe.doctor.checks import DoctorWorld, Finding, Level, Patient, examine
from imagepipe.errors import CredentialsError, IdentityError, ImagepipeError, PermissionRefusedError, UnavailableError
from imagepipe.model.evidence import TrustPolicy
from imagepipe.model.host import HostFacts, Target, TargetKind
from imagepipe.ports import ContainerHost
from tests.contract.engine_memory import MemoryHost
from tests.contract.registry_memory import MemoryRegistry
from tests.contract.signing_memory import MemorySigner
from tests.unit.promote.world import CI, SteppingClock

NOW = SteppingClock().now()
VCH = Target("vch-a", TargetKind.VCH, "tcp://vch-a:2376", policy="prod")


@dataclass
class Facts:
    """What a host would tell a doctor."""

    told: HostFacts

    def facts(self) -> HostFacts:
        return self.told


@dataclass
class Clinic:
    """A small world to be looked at."""

    registry: MemoryRegistry = field(default_factory=MemoryRegistry)
    signer: MemorySigner | None = field(default_factory=lambda: MemorySigner(CI))
    kind: TargetKind = TargetKind.VCH
    build_kind: TargetKind = TargetKind.DOCKER
    facts: HostFacts = field(default_factory=lambda: HostFacts(("bridge", "public"), ("default",)))
    host: str | None = "vic.example"
    version: Callable[[], str] | None = None

    def __post_init__(self) -> None:
        self.patient = MemoryHost(self.kind, self.registry)
        self.builder = MemoryHost(self.build_kind, self.registry)

    def examine(self, *targets: Target) -> dict[tuple[str, str], Finding]:
        world = DoctorWorld(
            registry=self.host,
            source=self.registry,
            harbor_version=self.version,
            signer=self.signer,
            build_host=self._builder,
            connect=lambda _: Patient(self.patient, Facts(self.facts)),
            policies={"prod": TrustPolicy("prod", (CI,))},
            clock=SteppingClock(),
        )
        return {(one.subject, one.check): one for one in examine(targets, world, jobs=2)}

    def _builder(self) -> ContainerHost:
        return self.builder


def test_a_healthy_world_has_nothing_but_ok() -> None:
    found = Clinic().examine(VCH)
    assert {one.level for one in found.values()} == {Level.OK}
    assert "VIC 1.5.8" in found["vch-a", "reachable"].detail
    assert str(CI) in found["signing", "identity"].detail
    assert str(CI) in found["vch-a", "policy"].detail


def test_looking_changes_nothing() -> None:
    clinic = Clinic()
    clinic.examine(VCH)
    assert clinic.registry.calls == ["resolve"]
    assert clinic.patient.pulled == []
    assert clinic.patient.probed == []


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
        assert (found.detail, found.hint) == (error.message, error.hint)


def test_without_a_registry_that_is_said() -> None:
    assert Clinic(host=None).examine(VCH)["registry", "configured"].level is Level.WARN


def test_an_expired_identity_fails_and_no_signing_warns() -> None:
    clinic = Clinic()
    assert clinic.signer is not None
    clinic.signer.failure = IdentityError("expired", hint="get a new token")
    assert clinic.examine()["signing", "identity"].hint == "get a new token"
    assert Clinic(signer=None).examine()["signing", "identity"].level is Level.WARN


def test_a_build_host_that_is_a_vch_or_away_fails() -> None:
    assert Clinic(build_kind=TargetKind.VCH).examine()["build host", "kind"].level is Level.FAIL
    clinic = Clinic()
    clinic.builder.faults.down = True
    assert clinic.examine()["build host", "reachable"].level is Level.FAIL


def test_a_target_that_is_away_is_one_finding() -> None:
    clinic = Clinic()
    clinic.patient.faults.down = True
    found = clinic.examine(VCH)
    assert found["vch-a", "reachable"].level is Level.FAIL
    assert [key for key in found if key[0] == "vch-a"] == [("vch-a", "reachable")]


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
    ends = {"client_certificate_ends": NOW + timedelta(days=29), "server_certificate_ends": NOW + timedelta(days=31)}
    clinic = Clinic(facts=HostFacts(("bridge",), ("default",), **ends))
    found = clinic.examine(VCH)
    assert found["vch-a", "client certificate"].level is Level.WARN
    assert f"{ends['client_certificate_ends']:%Y-%m-%d}" in found["vch-a", "client certificate"].detail
    assert found["vch-a", "server certificate"].level is Level.OK


def test_a_vch_without_a_volume_store_is_warned_of() -> None:
    assert Clinic(facts=HostFacts(())).examine(VCH)["vch-a", "volume stores"].level is Level.WARN


@pytest.mark.parametrize(("entry", "level"), [("vic.example", Level.OK), ("other.example", Level.FAIL)])
def test_a_whitelist_is_held_against_the_registry(entry: str, level: Level) -> None:
    clinic = Clinic()
    clinic.patient.whitelist = (entry,)
    assert clinic.examine(VCH)["vch-a", "whitelist"].level is level


@pytest.mark.parametrize(("version", "warned"), [("harbor-2 2.15.2", True), ("admiral 1.7.8", False), ("?", False)])
def test_a_harbor_that_serves_no_schema_1_is_named_for_every_vch(version: str, warned: bool) -> None:
    found = Clinic(version=lambda: version).examine(VCH)
    assert found["harbor", "credentials"].level is Level.OK
    assert (("vch-a", "harbor") in found) is warned


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
