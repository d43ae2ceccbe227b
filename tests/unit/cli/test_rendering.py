from dataclasses import replace
from pathlib import Path

import pytest

from imagepipe.cli.outcome import (
    bundle_document,
    describe_bundle,
    describe_plan,
    describe_plans,
    describe_promotion,
    outcome_error,
    promotion_document,
)
from imagepipe.cli.progress import open_drawing, plain_line, short
from imagepipe.cli.run_command import run_document
from imagepipe.cli.session import Session
from imagepipe.cli.status import describe_status
from imagepipe.errors import (
    BuildError,
    CredentialsError,
    ImagepipeError,
    PartialError,
    UnavailableError,
    UsageError,
)
from imagepipe.events import Event, Output, Progress, Retried, StepFailed, StepFinished, StepStarted, Warned
from imagepipe.fanout import Outcome
from imagepipe.model.digest import Digest
from imagepipe.model.evidence import SIGNATURE_PREDICATE
from imagepipe.model.host import Target, TargetKind
from imagepipe.model.pipeline import BuildSpec, Pipeline
from imagepipe.model.promotion import Arrival, GateVerdict, PromotionPlan, TargetPlan, TargetResult
from imagepipe.model.reference import Repository
from imagepipe.model.result import EvidenceResult, RunResult
from imagepipe.promote.bundle import bundled
from imagepipe.promote.record import Promotion
from imagepipe.promote.status import HeldImage, TargetStatus
from tests.unit.promote.world import CI

HELLO = Repository("vic.example", "es-sandbox/hello")
D = Digest.of(b"manifest")
IMAGE = HELLO.pin(D)
PIPELINE = Pipeline("hello", "es-sandbox", BuildSpec(Path("/src")), file=Path("/src/hello.yaml"), digest=D)
RESULT = RunResult(
    "hello",
    IMAGE,
    (HELLO.tagged("1.4"),),
    None,
    {"linux/amd64": D},
    {"linux/amd64": Digest.of(b"config")},
    size_bytes=7,
    evidence=(EvidenceResult(SIGNATURE_PREDICATE, Digest.of(b"evidence"), CI, created=True),),
)


def target(name: str, kind: TargetKind = TargetKind.VCH) -> TargetPlan:
    carrier = IMAGE.carrier if kind is TargetKind.VCH else None
    return TargetPlan(Target(name, kind, f"tcp://{name}:2376", policy="prod"), IMAGE, carrier)


def result(name: str, error: ImagepipeError | None = None) -> TargetResult:
    good = TargetResult(name, TargetKind.VCH, Arrival.PROMOTED, D, {"pull": "Digest"})
    if error is None:
        return good
    return replace(
        good,
        arrival=Arrival.FAILED,
        error=error.message,
        error_kind=error.kind,
        hint=error.hint,
        exit_code=error.exit_code,
    )


PLAN = PromotionPlan(
    "es-sandbox/hello:1.4",
    IMAGE,
    (target("vch-a"), target("engine-a", TargetKind.DOCKER)),
    (GateVerdict("signature (prod)", passed=True, reason="by ci"), GateVerdict("x", passed=False, reason="no")),
)


def test_the_three_digests_are_named_apart() -> None:
    document = run_document((Outcome(PIPELINE, RESULT),), None)
    (image,) = document["images"]
    assert document["schema"] == "imagepipe.run/v1"
    assert image["index"] is None
    assert image["platforms"] == [
        {"platform": "linux/amd64", "manifest": str(D), "image_id": str(Digest.of(b"config"))}
    ]
    assert "error" not in document


def test_a_failed_pipeline_is_in_the_document_with_its_error() -> None:
    error = BuildError("no", hint="mend it")
    document = run_document((Outcome(PIPELINE, error=error),), error)
    assert document["images"][0]["error"]["exit_code"] == 7
    assert document["error"]["hint"] == "mend it"


def test_an_unpushed_image_has_no_manifest() -> None:
    unpushed = replace(RESULT, image=None, manifests={}, evidence=())
    (image,) = run_document((Outcome(PIPELINE, unpushed),), None)["images"]
    assert image["image"] is None
    assert image["platforms"][0]["manifest"] is None


def test_the_plan_says_what_will_be_pulled_where_and_every_verdict() -> None:
    text = describe_plan(PLAN)
    assert f"pull {IMAGE.carrier.tag}" in text
    assert "engine-a (docker)" in text
    assert "pull by digest" in text
    assert "x: NO: no" in text


def test_all_done_is_no_error() -> None:
    promotion = Promotion(PLAN, (result("vch-a"), result("engine-a")), D)
    assert outcome_error(promotion) is None
    assert describe_promotion(promotion).splitlines()[0].split("\t") == ["vch-a", "promoted", str(D)]
    assert "error" not in promotion_document(promotion, None)


def test_some_failed_is_partial_and_names_what_is_done() -> None:
    away = UnavailableError("nobody answers", hint="start it")
    error = outcome_error(Promotion(PLAN, (result("vch-a"), result("engine-a", away)), D))
    assert isinstance(error, PartialError)
    assert "nobody answers (done: vch-a)" in error.message
    assert error.hint == "start it"


def test_all_failed_ends_in_their_own_exit_code() -> None:
    expired = CredentialsError("expired", hint="renew it")
    promotion = Promotion(PLAN, (result("vch-a", expired), result("engine-a", expired)), D)
    error = outcome_error(promotion)
    assert isinstance(error, CredentialsError)
    document = promotion_document(promotion, error)
    assert document["error"]["exit_code"] == 5
    assert document["targets"][0]["hint"] == "renew it"


def bundle(*second: TargetResult) -> tuple[Promotion, Promotion]:
    """A bundle of two images: the first arrives everywhere, or is left out where the second says so."""
    other = Repository("vic.example", "es-sandbox/other").pin(Digest.of(b"other"))
    spoilt = [
        replace(one, error=f"left out with its bundle: {one.error}", left_out_for=other)
        if one.error
        else result(one.target)
        for one in second
    ]
    plans = bundled((PLAN, replace(PLAN, image=other)))
    return Promotion(plans[0], tuple(spoilt), D), Promotion(plans[1], second, D)


def test_a_bundle_is_told_by_target_and_image_and_its_plan_says_that_it_is_one() -> None:
    done = bundle(result("vch-a"), result("engine-a"))
    other = done[1].plan.image
    assert outcome_error(*done) is None
    assert describe_bundle(done).splitlines() == [
        f"{target}\tpromoted\t{image}" for target in ("vch-a", "engine-a") for image in (IMAGE, other)
    ]
    assert describe_bundle(done[:1]) == describe_promotion(done[0])
    text = describe_plans([each.plan for each in done])
    assert text.startswith("a bundle of 2 images: a target takes all of them, or counts as failed\npromote ")
    document = bundle_document(done, None)
    assert document["schema"] == "imagepipe.promote-bundle/v1"
    assert [(row["target"], row["outcome"]) for row in document["targets"]] == [
        ("vch-a", "promoted"),
        ("engine-a", "promoted"),
    ]
    assert [row["image"] for row in document["images"]] == [str(IMAGE), str(other)]
    assert bundle_document(done[:1], None)["schema"] == "imagepipe.promote/v1"


def test_a_bundle_that_failed_on_one_target_is_partial_and_tells_the_cause_once() -> None:
    done = bundle(result("vch-a"), result("engine-a", UnavailableError("nobody answers", hint="start it")))
    error = outcome_error(*done)
    assert isinstance(error, PartialError)
    assert error.message == "nobody answers (done: vch-a)"
    document = bundle_document(done, error)
    assert document["targets"][1] == {
        "target": "engine-a",
        "kind": "vch",
        "outcome": "failed",
        "failed_image": str(done[1].plan.image),
        "error": {"kind": "unavailable", "message": "nobody answers"},
        "hint": "start it",
    }
    assert document["error"]["exit_code"] == 10


def test_a_bundle_that_failed_everywhere_ends_in_the_first_failures_own_exit_code() -> None:
    error = outcome_error(*bundle(result("vch-a", CredentialsError("expired")), result("vch-b", UnavailableError("x"))))
    assert isinstance(error, CredentialsError)
    assert error.message == "expired; x"


def test_an_unknown_kind_of_failure_is_still_an_error() -> None:
    odd = replace(result("vch-a", UnavailableError("x")), error_kind="odd")
    assert type(outcome_error(Promotion(PLAN, (odd,), D))) is ImagepipeError


def test_arrived_without_a_record_is_partial() -> None:
    promotion = Promotion(PLAN, (result("vch-a"),), None, UnavailableError("the log is away"))
    error = outcome_error(promotion)
    assert isinstance(error, PartialError)
    assert "not on record" in error.message
    assert promotion_document(promotion, error)["record"] is None


def test_status_tells_each_image_and_each_absence() -> None:
    held = (HeldImage(IMAGE, "promoted", str(CI), "2026"), HeldImage(IMAGE, "present", None, None))
    found = (
        TargetStatus("vch-a", "vch", None, held),
        TargetStatus("vch-b", "vch", None, ()),
        TargetStatus("vch-c", "vch", None, (), UnavailableError("gone")),
    )
    lines = describe_status(found).splitlines()
    assert f"signed by {CI}" in lines[0]
    assert lines[1].endswith("UNSIGNED")
    assert "holds none" in lines[2]
    assert lines[3].endswith("away\tgone")


@pytest.mark.parametrize(
    ("event", "line"),
    [
        (StepStarted("push", f"p/n@{D}"), f"-> push p/n@{D.short}"),
        (StepFinished("push", "p/n", 1.25, "d"), "ok push p/n (1.2 s) d"),
        (StepFinished("push", "p/n", 1.0), "ok push p/n (1.0 s)"),
        (StepFailed("push", "p/n", 1.0, "why"), "FAILED push p/n (1.0 s)"),
        (Warned("p/n", "odd"), "warning: p/n: odd"),
        (Retried("pull", 1, 5.0, "EOF"), "   pull: attempt 1 failed (EOF); trying again in 5.0 s"),
        (Output("build", "n", "Step 1"), None),
        (Progress("push", "p/n", "abc", "Pushing"), None),
    ],
)
def test_an_event_is_one_plain_line_or_none(event: Event, line: str | None) -> None:
    assert plain_line(event, verbose=False) == line


def test_what_the_other_side_prints_is_shown_on_request() -> None:
    assert plain_line(Output("build", "n", "Step 1"), verbose=True) == "   build n | Step 1"


def test_a_digest_is_cut_in_progress_only() -> None:
    assert short("no digest") == "no digest"
    assert short(f"a@{D} b") == f"a@{D.short} b"


def test_plain_progress_goes_to_stderr(capsys: pytest.CaptureFixture[str]) -> None:
    drawing = open_drawing("plain", quiet=False, verbose=False)
    drawing.draw(StepStarted("push", "p/n"))
    drawing.draw(Progress("push", "p/n", "abc", "Pushing"))
    drawing.close()
    printed = capsys.readouterr()
    assert printed.err == "-> push p/n\n"
    assert printed.out == ""


@pytest.mark.parametrize(("mode", "quiet"), [("none", False), ("auto", True)])
def test_quiet_progress_says_nothing(mode: str, quiet: bool, capsys: pytest.CaptureFixture[str]) -> None:
    drawing = open_drawing(mode, quiet=quiet, verbose=False)
    drawing.draw(StepStarted("push", "p/n"))
    drawing.close()
    assert capsys.readouterr().err == ""


class Terminal:
    """A stderr that says it is a terminal and keeps what is written."""

    encoding = "utf-8"

    def __init__(self) -> None:
        self.text = ""

    def isatty(self) -> bool:
        return True

    def write(self, text: str) -> int:
        self.text += text
        return len(text)

    def flush(self) -> None:
        return None


def test_on_a_terminal_steps_are_drawn_live_and_finished_ones_stay(monkeypatch: pytest.MonkeyPatch) -> None:
    terminal = Terminal()
    monkeypatch.setattr("sys.stderr", terminal)
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.delenv("CI", raising=False)
    drawing = open_drawing("auto", quiet=False, verbose=True)
    drawing.draw(StepStarted("push", "p/n"))
    drawing.draw(Progress("push", "p/n", "abc", "Pushing", 1_000_000, 2_000_000))
    drawing.draw(Progress("push", "p/n", "abc", "Pushed"))
    drawing.draw(Progress("pull", "unknown", "abc", "Pulling"))
    drawing.draw(Warned("p/n", "odd"))
    drawing.draw(StepFinished("push", "p/n", 1.0, "done"))
    drawing.draw(StepFailed("sign", "p/n", 1.0, "no"))
    drawing.close()
    assert "ok push p/n (1.0 s) done" in terminal.text
    assert "warning: p/n: odd" in terminal.text
    assert "FAILED sign" in terminal.text


def test_without_a_terminal_nobody_is_asked() -> None:
    with pytest.raises(UsageError, match="no terminal") as refused:
        Session().confirm("Promote?", yes=False)
    assert refused.value.hint == "add --yes"
    Session().confirm("Promote?", yes=True)


class Keyboard(Terminal):
    """A stdin that is a terminal where somebody types one line."""

    def __init__(self, line: str) -> None:
        super().__init__()
        self.line = line

    def readline(self) -> str:
        return self.line


@pytest.mark.parametrize(("typed", "agreed"), [("y\n", True), ("YES\n", True), ("n\n", False), ("\n", False)])
def test_on_a_terminal_the_user_is_asked(typed: str, agreed: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    terminal = Terminal()
    monkeypatch.setattr("sys.stderr", terminal)
    monkeypatch.setattr("sys.stdin", Keyboard(typed))
    if agreed:
        Session().confirm("Promote?", yes=False)
    else:
        with pytest.raises(UsageError, match="nothing was changed"):
            Session().confirm("Promote?", yes=False)
    assert "Promote? [y/N]" in terminal.text


def test_one_document_is_printed_at_most(capsys: pytest.CaptureFixture[str]) -> None:
    session = Session(as_json=True)
    session.answer({"schema": "x"}, "text")
    session.fail(UnavailableError("late", hint="wait"))
    printed = capsys.readouterr()
    assert printed.out.count("schema") == 1
    assert printed.err == "error: late\nhint: wait\n"
