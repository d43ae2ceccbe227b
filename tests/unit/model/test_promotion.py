import json
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from imagepipe.model.digest import Digest
from imagepipe.model.host import Target, TargetKind
from imagepipe.model.promotion import Arrival, GateVerdict, PromotionPlan, PromotionRecord, TargetPlan, TargetResult
from imagepipe.model.reference import Pinned
from tests.unit.model.strategies import pinned

IMAGE = Pinned.parse(f"vic.example/es-sandbox/hello@{Digest.of(b'm')}")
VCH = Target("vch-a", TargetKind.VCH, "tcp://vch-a:2376", "/certs", "prod")
ENGINE = Target("engine-a", TargetKind.DOCKER, "tcp://engine-a:2376")


def plan_for(image: Pinned) -> PromotionPlan:
    return PromotionPlan(
        requested="es-sandbox/hello:1.4",
        image=image,
        targets=(TargetPlan(VCH, image, image.carrier), TargetPlan(ENGINE, image, None)),
        gates=(GateVerdict("signature", True, "signed by ci"),),
    )


PLAN = plan_for(IMAGE)


@given(pinned)
def test_equal_plans_have_equal_digests(image: Pinned) -> None:
    assert plan_for(image).digest == plan_for(image).digest
    assert (plan_for(image).digest == PLAN.digest) == (image == IMAGE)


def test_the_digest_of_a_plan_is_about_what_it_would_do() -> None:
    told = replace(PLAN, requested=str(IMAGE), gates=(GateVerdict("signature", True, "other words"),))
    held = replace(PLAN, targets=tuple(replace(target, previous=(Digest.of(b"p"),)) for target in PLAN.targets))
    assert told.digest == PLAN.digest == held.digest


@pytest.mark.parametrize(
    "other",
    [
        replace(PLAN, targets=PLAN.targets[:1]),
        replace(PLAN, targets=PLAN.targets[::-1]),
        replace(
            PLAN, targets=(replace(PLAN.targets[0], target=replace(VCH, host="tcp://other:2376")), PLAN.targets[1])
        ),
        replace(PLAN, targets=(replace(PLAN.targets[0], target=replace(VCH, policy=None)), PLAN.targets[1])),
        replace(PLAN, targets=(replace(PLAN.targets[0], carrier=None), PLAN.targets[1])),
        replace(PLAN, gates=()),
        replace(PLAN, gates=(GateVerdict("signature", False, "signed by ci"),)),
    ],
)
def test_a_plan_that_would_do_something_else_has_another_digest(other: PromotionPlan) -> None:
    assert other.digest != PLAN.digest


def test_a_plan_names_the_gates_that_said_no() -> None:
    no = GateVerdict("scan", False, "critical findings", hint="rebuild on a newer base")
    assert replace(PLAN, gates=(*PLAN.gates, no)).refused == (no,)
    assert PLAN.refused == ()
    assert no.to_json() == {"gate": "scan", "passed": False, "reason": "critical findings"}


@pytest.mark.parametrize(("arrival", "good"), [("promoted", True), ("present", True), ("failed", False)])
def test_only_a_failed_target_does_not_hold_the_image(arrival: str, good: bool) -> None:
    assert Arrival(arrival).good is good


def test_an_outcome_in_json_leaves_out_the_error_there_was_not() -> None:
    good = TargetResult("vch-a", TargetKind.VCH, Arrival.PROMOTED, IMAGE.digest, {"stream": "ok"}, duration_s=1.23456)
    assert good.to_json() == {
        "target": "vch-a",
        "kind": "vch",
        "outcome": "promoted",
        "digest": str(IMAGE.digest),
        "proof": {"stream": "ok"},
        "duration_s": 1.235,
    }


def test_an_outcome_in_json_tells_the_error_and_its_kind() -> None:
    bad = TargetResult("a", TargetKind.DOCKER, Arrival.FAILED, IMAGE.digest, error="away", error_kind="unavailable")
    assert bad.to_json()["error"] == {"kind": "unavailable", "message": "away"}


@given(st.text(max_size=20))
def test_a_record_is_json_and_names_image_plan_reason_and_outcomes(reason: str) -> None:
    result = TargetResult("vch-a", TargetKind.VCH, Arrival.PRESENT, IMAGE.digest)
    record = PromotionRecord(
        IMAGE, PLAN.digest, reason, "2026-11-22T16:00:00Z", "2026-11-22T16:01:00Z", PLAN.gates, (result,)
    )
    predicate = json.loads(json.dumps(record.to_predicate()))
    assert (predicate["image"], predicate["plan"], predicate["reason"]) == (str(IMAGE), str(PLAN.digest), reason)
    assert predicate["targets"] == [json.loads(json.dumps(result.to_json()))]
    assert predicate["gates"] == [{"gate": "signature", "passed": True, "reason": "signed by ci"}]
