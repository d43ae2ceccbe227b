from dataclasses import replace
from datetime import UTC, date, datetime

import pytest

from imagepipe.errors import GateError, InputError, UnavailableError, UnsupportedError
from imagepipe.model.digest import Digest
from imagepipe.model.evidence import (
    PROMOTION_PREDICATE,
    PROVENANCE_PREDICATE,
    BuildSource,
    Freeze,
    Identity,
    Soak,
    Statement,
    TrustPolicy,
)
from imagepipe.model.ledger import Hold, Link, Previous, head_tag
from imagepipe.model.manifest import Manifest
from imagepipe.model.promotion import GateVerdict, PromotionPlan, Terms
from imagepipe.model.reference import Reference
from imagepipe.model.scan import ScanReport, ScanStatus, Vulnerability, Waiver
from imagepipe.promote.gates import image_gates
from imagepipe.promote.plan import make_plan
from imagepipe.promote.record import apply
from imagepipe.promote.saved import SavedPlan, fingerprints
from tests.contract.signing_memory import MemorySigner
from tests.unit.promote.world import CI, REPOSITORY, STRANGER, Small

TAGGED = Reference.parse(f"{REPOSITORY}:1.4")
PROD = TrustPolicy("prod", (CI,))
SCANNED = replace(PROD, max_severity="medium")
# The small world's day is 2026-01-02, and its clock stands at 03:04:05 and some seconds.
YESTERDAY = datetime(2026, 1, 1, 3, 0, tzinfo=UTC)
BAD = ScanReport(ScanStatus.DONE, "High", {"High": 2, "Low": 1}, 1, YESTERDAY, "Trivy v1")
MUSL = Vulnerability("CVE-2026-1", "musl", "High", "1.2.5")
ZLIB = Vulnerability("CVE-2026-2", "zlib", "High")
LOW = Vulnerability("CVE-2026-3", "busybox", "Low")
WAIVED = Waiver("CVE-2026-1", "dana", date(2026, 1, 2))


def planned(small: Small) -> PromotionPlan:
    world = small.world()
    return make_plan(str(TAGGED), TAGGED, [small.target("vch-a")], world)


def verdict(plan: PromotionPlan, gate: str) -> GateVerdict:
    (found,) = (one for one in plan.gates if one.gate.startswith(gate))
    assert found.passed or found.hint
    return found


def scanned(policy: TrustPolicy, report: ScanReport | None, *found: Vulnerability) -> GateVerdict:
    small = Small(policy=policy)
    small.image()
    small.scans.found, small.scans.vulnerable = report, found
    return verdict(planned(small), "scan (prod)")


def test_a_finding_worse_than_allowed_is_refused_with_its_counts() -> None:
    said = scanned(SCANNED, BAD)
    assert not said.passed
    assert said.reason == (
        "worse than medium: worst high (2 high, 1 low; 1 fixable) by Trivy v1 of 2026-01-01T03:00:00Z"
    )


def test_a_finding_as_bad_as_allowed_passes_and_is_in_the_verdict() -> None:
    said = scanned(replace(SCANNED, max_severity="high"), BAD)
    assert said.passed
    assert "at most high: worst high (2 high, 1 low" in said.reason


@pytest.mark.parametrize(
    ("report", "words"),
    [
        (None, "never scanned"),
        (ScanReport(ScanStatus.RUNNING), "still running"),
        (ScanReport(ScanStatus.CRASHED), "crashed, which is not a finding"),
    ],
)
def test_what_is_no_scan_is_refused_in_its_own_words(report: ScanReport | None, words: str) -> None:
    said = scanned(SCANNED, report)
    assert not said.passed
    assert words in said.reason
    assert "worse" not in said.reason


def test_a_harbor_whose_scans_are_not_read_refuses() -> None:
    small = Small(policy=SCANNED)
    small.image()
    small.scans.failure = UnsupportedError("read scans: this is harbor-1 1.7.8", hint="take max_severity out")
    said = verdict(planned(small), "scan")
    assert (said.passed, said.reason, said.hint) == (
        False,
        "read scans: this is harbor-1 1.7.8",
        "take max_severity out",
    )
    small.scans.failure = UnavailableError("Harbor is away")
    with pytest.raises(UnavailableError):
        planned(small)


@pytest.mark.parametrize(
    ("days", "finished", "words"),
    [
        (2, YESTERDAY, None),
        (0.5, YESTERDAY, "the scan is 1.0 days old, at most 0.5 are allowed"),
        (2, None, "does not tell when it ended"),
    ],
)
def test_a_scan_may_be_too_old(days: float, finished: datetime | None, words: str | None) -> None:
    clean = ScanReport(ScanStatus.DONE, finished_at=finished)
    said = scanned(replace(SCANNED, max_scan_age_days=days), clean)
    assert said.passed is (words is None)
    assert (words or "nothing found") in said.reason


def test_where_only_fixable_findings_count_the_others_pass() -> None:
    fixable = replace(SCANNED, only_fixable=True)
    assert scanned(fixable, replace(BAD, fixable=0)).passed
    assert scanned(fixable, BAD, ZLIB, replace(LOW, fix_version="2")).passed
    said = scanned(fixable, BAD, MUSL, ZLIB)
    assert not said.passed
    assert "CVE-2026-1 in musl (high)" in said.reason
    assert "zlib" not in said.reason


def test_a_waived_finding_passes_until_its_day_is_over() -> None:
    said = scanned(replace(SCANNED, waivers=(WAIVED,)), BAD, MUSL, LOW)
    assert said.passed
    assert "CVE-2026-1 waived by dana until 2026-01-02" in said.reason
    assert not scanned(replace(SCANNED, waivers=(WAIVED,)), BAD, MUSL, ZLIB).passed
    over = replace(WAIVED, until=date(2026, 1, 1))
    said = scanned(replace(SCANNED, waivers=(over,)), BAD, MUSL)
    assert not said.passed
    assert "until 2026-01-01, which is over" in said.reason


def test_a_report_that_does_not_show_what_was_counted_waives_nothing() -> None:
    for found in ((), (LOW,)):
        said = scanned(replace(SCANNED, waivers=(WAIVED,)), BAD, *found)
        assert not said.passed
        assert "does not show the findings" in said.reason


def test_of_many_findings_the_worst_are_named() -> None:
    many = [Vulnerability(f"CVE-2026-{number}", "x", "High", "1") for number in range(7)]
    said = scanned(replace(SCANNED, only_fixable=True), BAD, *many)
    assert "CVE-2026-4 in x (high) and 2 more" in said.reason


def test_the_verdict_of_a_scan_goes_into_the_record() -> None:
    small = Small(policy=replace(SCANNED, max_severity="high"))
    manifest = small.image()
    small.scans.found = BAD
    plan = planned(small)
    apply(plan, small.world())
    image = TAGGED.repository.pin(manifest.digest)
    (proof,) = small.world().reader.proofs(image, PROMOTION_PREDICATE, (CI,))
    assert verdict(plan, "scan").to_json() in proof.verified.statement.predicate["gates"]


def test_a_refusing_scan_touches_no_host() -> None:
    small = Small(policy=SCANNED)
    small.image()
    with pytest.raises(GateError, match="never scanned"):
        apply(planned(small), small.world())
    assert small.hosts["vch-a"].pulled == []


FROM_MAIN = replace(PROD, provenance=BuildSource("https://git.example/uf/es", "main"))


def built_from(uri: object, branch: object) -> dict[str, object]:
    return {"buildDefinition": {"externalParameters": {"source": {"uri": uri, "branch": branch}}}}


@pytest.mark.parametrize(
    ("predicate", "passed"),
    [
        (built_from("git+https://git.example/uf/es.git", "main"), True),
        (built_from("git+https://git.example/uf/es.git", "feature"), False),
        (built_from("git+https://git.example/uf/other", "main"), False),
        (built_from("git+https://git.example/uf/es", None), False),
        ({"buildDefinition": {"externalParameters": {"source": "text"}}}, False),
        ({"buildDefinition": None}, False),
    ],
)
def test_provenance_must_say_the_repository_and_branch(predicate: dict[str, object], passed: bool) -> None:
    small = Small(policy=FROM_MAIN)
    small.sign(small.image(), predicate_type=PROVENANCE_PREDICATE, predicate=predicate)
    said = verdict(planned(small), "provenance (prod)")
    assert said.passed is passed
    assert passed or said.reason.endswith("and not from https://git.example/uf/es, branch main")


def test_one_of_several_provenances_is_enough_and_a_strangers_is_none() -> None:
    small = Small(policy=FROM_MAIN)
    manifest = small.image()
    good, bad = (built_from("git+https://git.example/uf/es", branch) for branch in ("main", "feature"))
    small.sign(manifest, STRANGER, PROVENANCE_PREDICATE, good)
    assert "has no provenance that the policy accepts" in verdict(planned(small), "provenance").reason
    small.sign(manifest, CI, PROVENANCE_PREDICATE, bad)
    assert "built from https://git.example/uf/es, branch feature" in verdict(planned(small), "provenance").reason
    small.sign(manifest, CI, PROVENANCE_PREDICATE, good)
    assert verdict(planned(small), "provenance").passed


def test_a_policy_may_leave_the_branch_open() -> None:
    small = Small(policy=replace(PROD, provenance=BuildSource("https://git.example/uf/es")))
    predicate = built_from("https://git.example/uf/es/", "any")
    small.sign(small.image(), predicate_type=PROVENANCE_PREDICATE, predicate=predicate)
    assert verdict(planned(small), "provenance").passed


SBOM = "https://spdx.dev/Document"
TESTED = "https://in-toto.io/attestation/test-result/v0.1"


def test_every_attestation_that_is_required_must_be_there_and_proven() -> None:
    small = Small(policy=replace(PROD, require=(SBOM, TESTED)))
    manifest = small.image()
    small.sign(manifest, CI, SBOM)
    small.sign(manifest, STRANGER, TESTED)
    plan = planned(small)
    assert verdict(plan, f"attestation {SBOM} (prod)").passed
    missing = verdict(plan, f"attestation {TESTED} (prod)")
    assert not missing.passed
    assert f"has no {TESTED} that the policy accepts" in missing.reason
    small.sign(manifest, CI, TESTED)
    assert not planned(small).refused


LEAD = Identity("lead@example.com", "https://issuer.example")
# Hours after the small world's clock, which begins anew with each world.
STAGED = "2026-01-02T{:02d}:00:00Z"
AFTER = replace(PROD, after=Soak(("staging",), 2))


class Stage:
    """One image and what records say of it on the target `staging`, in order."""

    def __init__(self, policy: TrustPolicy = AFTER) -> None:
        self.small = Small(policy=policy, others=(TrustPolicy("dev", (CI, LEAD)),))
        self.small.known["staging"] = replace(self.small.target("staging"), policy="dev")
        self.image, self.other = self.small.image(), self.small.image("other")
        self.records: list[tuple[Digest, Digest]] = []

    def on_record(
        self,
        when: str,
        *,
        image: Manifest | None = None,
        kind: str = "promotion",
        outcome: str = "promoted",
        held: Manifest | None = None,
        who: Identity = CI,
        svc: str = "",
    ) -> "Stage":
        manifest = image or self.image
        hold = Hold(held.digest, held.digest, when, str(who), "") if held else None
        previous = Previous(*self.records[-1]) if self.records else None
        link = Link(len(self.records) + 1, previous, (hold,) if hold else ())
        one = {"target": "staging", "outcome": outcome, "digest": str(manifest.digest), **link.to_json()}
        one |= {"activation": [{"container": "svc", "outcome": svc}]} if svc else {}
        pinned = TAGGED.repository.pin(manifest.digest)
        predicate = {"kind": kind, "image": str(pinned), "finishedOn": when, "targets": [one]}
        (bundle,) = MemorySigner(who).sign([Statement.about(pinned, PROMOTION_PREDICATE, predicate)])
        artifact = bundle.as_artifact(PROMOTION_PREDICATE, YESTERDAY)
        attached = self.small.registry.attach(pinned, manifest.descriptor, artifact)
        self.records.append((attached.digest, manifest.digest))
        record = self.small.registry.manifest(TAGGED.repository.pin(attached.digest))
        self.small.registry.tag(TAGGED.repository, record, head_tag("staging"))
        return self

    def said(self, copied_to: str | None = None) -> GateVerdict:
        """Returns what the gate says of the image, or of a copy of it."""
        reference = TAGGED
        if copied_to is not None:
            copy = Reference.parse(copied_to).repository
            if TAGGED.repository not in self.small.registry.hidden:
                self.small.registry.copy(TAGGED.repository.pin(self.image.digest), copy)
            reference = Reference(copy, digest=self.image.digest)
        plan = make_plan("x", reference, [self.small.target("vch-a")], self.small.world())
        return verdict(plan, "soak on staging (prod)")


def test_what_has_stood_long_enough_may_go_on() -> None:
    said = Stage().on_record(STAGED.format(1)).said()
    assert said.passed
    assert said.reason == "2.1 h since 2026-01-02T01:00:00Z, 2 h are wanted"


def test_what_came_too_lately_must_wait() -> None:
    said = Stage().on_record(STAGED.format(2)).said()
    assert not said.passed
    assert said.reason == "1.1 h since 2026-01-02T02:00:00Z, 2 h are wanted"


def test_the_first_of_several_promotions_counts_also_after_another_image() -> None:
    stage = Stage().on_record(STAGED.format(1))
    assert stage.on_record(STAGED.format(2), image=stage.other).on_record(STAGED.format(3)).said().passed


@pytest.mark.parametrize("outcome", ["failed", "odd"])
def test_a_promotion_that_failed_is_none(outcome: str) -> None:
    said = Stage().on_record(STAGED.format(1), outcome=outcome).said()
    assert (said.passed, said.reason) == (False, "never promoted to it by who counts here")


def test_what_was_rolled_back_counts_from_its_next_promotion_on() -> None:
    stage = Stage().on_record(STAGED.format(0))
    stage.on_record(STAGED.format(0), image=stage.other, kind="rollback", held=stage.image)
    assert stage.said().reason == "rolled back from it, and not promoted again"
    stage.on_record(STAGED.format(2))
    assert "since 2026-01-02T02:00:00Z" in stage.said().reason


def test_what_a_container_was_to_run_there_and_did_not_has_not_stood() -> None:
    stage = Stage().on_record(STAGED.format(0)).on_record(STAGED.format(0), svc="restored")
    said = stage.said()
    assert not said.passed
    assert said.reason == "a container there was to run it and did not, and it was not promoted again"
    assert "since 2026-01-02T01:00:00Z" in stage.on_record(STAGED.format(1), svc="switched").said().reason
    assert stage.on_record(STAGED.format(2), svc="untouched").said().passed, "another target failed: it says nothing"


def test_a_rollback_from_another_image_to_this_one_takes_nothing_away() -> None:
    stage = Stage().on_record(STAGED.format(1))
    assert stage.on_record(STAGED.format(2), kind="rollback", held=stage.other).said().passed


def test_only_a_signer_of_the_policy_can_say_that_it_stood_but_anyone_of_the_target_that_it_fell() -> None:
    assert not Stage().on_record(STAGED.format(1), who=LEAD).said().passed
    stage = Stage().on_record(STAGED.format(1))
    stage.on_record(STAGED.format(2), image=stage.other, kind="rollback", held=stage.image, who=LEAD)
    assert not stage.said().passed


def test_a_copy_has_stood_where_the_image_stood_under_its_other_name() -> None:
    stage = Stage().on_record(STAGED.format(1))
    assert stage.said("vic.example/prod/hello").reason == "2.1 h since 2026-01-02T01:00:00Z, 2 h are wanted"
    stage.on_record(STAGED.format(2), image=stage.other, kind="rollback", held=stage.image)
    assert stage.said("vic.example/prod/hello").reason == (
        "never promoted to it by who counts here; as es-sandbox/hello: rolled back from it, and not promoted again"
    )


def test_a_copy_whose_other_name_may_not_be_read_has_not_stood_for_all_we_know() -> None:
    stage = Stage().on_record(STAGED.format(1))
    stage.said("vic.example/prod/hello")
    stage.small.registry.hidden.add(TAGGED.repository)
    assert stage.said("vic.example/prod/hello").reason.endswith("as es-sandbox/hello: may not pull es-sandbox/hello")


def test_a_record_without_a_time_proves_no_time() -> None:
    assert not Stage().on_record("some day").said().passed


def test_a_broken_ledger_proves_nothing() -> None:
    stage = Stage().on_record(STAGED.format(0)).on_record(STAGED.format(1))
    stage.records.append((Digest.of(b"deleted"), stage.image.digest))
    said = stage.on_record(STAGED.format(1)).said()
    assert not said.passed
    assert "the ledger of staging is broken" in said.reason


def test_a_target_that_is_not_configured_cannot_have_been_stood_on() -> None:
    said = verdict(planned(_with_image(Small(policy=AFTER))), "soak")
    assert (said.passed, said.reason) == (False, "no target named staging is configured")


def test_a_rollback_waits_for_nothing() -> None:
    world = _with_image(Small(policy=AFTER)).world()
    target = Small().target("vch-a")
    plan = make_plan("x", TAGGED, [target], world, terms=Terms(way_back=True))
    assert not plan.refused


def frozen(first_hour: int, until_hour: int) -> TrustPolicy:
    since, until = (datetime(2026, 1, 2, hour, tzinfo=UTC) for hour in (first_hour, until_hour))
    return replace(PROD, freezes=(Freeze(since, until, "year's end"),))


@pytest.mark.parametrize(("first", "until", "passed"), [(1, 2, True), (3, 4, False), (4, 5, True)])
def test_nothing_is_promoted_within_a_freeze(first: int, until: int, passed: bool) -> None:
    said = verdict(planned(_with_image(Small(policy=frozen(first, until)))), "freeze (prod)")
    assert said.passed is passed
    words = f"frozen from 2026-01-02T0{first}:00:00+00:00 until 2026-01-02T0{until}:00:00+00:00: year's end"
    assert said.reason.startswith("not frozen at 2026-01-02T03:04" if passed else words)


def test_an_overridden_freeze_shows_in_the_verdict() -> None:
    small = _with_image(Small(policy=frozen(3, 4)))
    plan = make_plan("x", TAGGED, [small.target("vch-a")], small.world(), terms=Terms(override_freeze=True))
    assert verdict(plan, "freeze").reason.startswith("overridden; frozen from")
    assert not plan.refused


def test_a_rollback_goes_through_a_freeze() -> None:
    small = _with_image(Small(policy=frozen(3, 4)))
    assert not make_plan("x", TAGGED, [small.target("vch-a")], small.world(), terms=Terms(way_back=True)).refused


def test_what_an_operator_said_is_in_a_saved_plan_and_part_of_its_seal() -> None:
    small = _with_image(Small(policy=frozen(3, 4)))
    world, terms = small.world(), Terms(override_freeze=True)
    plan = make_plan(str(TAGGED), TAGGED, [small.target("vch-a")], world, terms=terms)
    saved = SavedPlan.of([plan], world, reason="urgent", terms=terms)
    assert SavedPlan.parse(saved.text()).terms == terms
    with pytest.raises(InputError, match="changed after it was written"):
        SavedPlan.parse(saved.text().replace('"override_freeze": true', '"override_freeze": false'))


@pytest.mark.parametrize(
    "change",
    [
        {"max_severity": "low"},
        {"waivers": (WAIVED,)},
        {"provenance": BuildSource("https://git.example/x")},
        {"require": ("https://spdx.dev/Document",)},
        {"after": Soak(("staging",), 1)},
        {"freezes": frozen(1, 2).freezes},
    ],
)
def test_every_setting_of_a_policy_makes_it_another(change: dict[str, object]) -> None:
    small = _with_image(Small())
    plan, before = planned(small), small.world()
    small.policy = replace(small.policy, **change)  # type: ignore[arg-type]  # each is of its field's type
    assert fingerprints([plan], before) != fingerprints([plan], small.world())


def _with_image(small: Small) -> Small:
    small.image()
    return small


def test_what_is_asked_of_an_image_alone_leaves_time_and_people_out() -> None:
    small = Small(policy=replace(PROD, freezes=(Freeze(YESTERDAY, datetime(2026, 2, 1, tzinfo=UTC), "holidays"),)))
    digest = small.image().digest
    asked = image_gates(TAGGED.repository.pin(digest), digest, small.policy, small.world())
    assert [(gate.gate, gate.passed) for gate in asked] == [("signature (prod)", True), ("rejection (prod)", True)]
