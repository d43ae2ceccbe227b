"""What others wrote moves no cursor, makes no line of its own, and is no command to a CI system."""

from dataclasses import replace
from datetime import UTC, datetime

import pytest

from imagepipe.cli.approval import describe_saved
from imagepipe.cli.history import describe_history
from imagepipe.cli.outcome import describe_plan
from imagepipe.cli.printing import clean, in_a_log, shown
from imagepipe.cli.progress import open_drawing
from imagepipe.cli.session import Session
from imagepipe.cli.status import describe_status
from imagepipe.cli.tables import table
from imagepipe.errors import VerificationError
from imagepipe.events import Output, Warned
from imagepipe.model.digest import Digest
from imagepipe.model.host import Container
from imagepipe.model.promotion import GateVerdict, PromotionPlan
from imagepipe.model.reference import Pinned
from imagepipe.promote.drift import Drift, DriftKind
from imagepipe.promote.history import Happening
from imagepipe.promote.ledger import Standing
from imagepipe.promote.saved import SavedPlan
from imagepipe.promote.status import HeldImage, TargetStatus
from tests.unit.cli.test_rendering import Terminal

IMAGE = Pinned.parse(f"vic.example/es-sandbox/hello@{Digest.of(b'm')}")
# Up a line, erase it; the next letters from right to left; a line of its own, and a column.
EVIL = "\x1b[1A\x1b[2K\u202egood\r\n2026\tpromotion\tverified\x9b2J"
GOOD = EVIL.translate(dict.fromkeys(map(ord, "\x1b\u202e\r\n\t\x9b"), "\ufffd"))


def test_what_somebody_attached_is_one_line_of_the_history() -> None:
    """Its type and its time are its annotations, which whoever may push chooses."""
    entry = Happening(EVIL, EVIL, IMAGE.digest, IMAGE.digest, Standing.UNVERIFIED, EVIL, EVIL, why=EVIL)
    (line,) = describe_history((entry,)).splitlines()
    assert line.split("\t") == [GOOD, GOOD, IMAGE.digest.short, "-", "UNVERIFIED", GOOD, GOOD, GOOD]


def test_what_a_host_calls_its_containers_is_one_column_of_the_status() -> None:
    held = HeldImage(IMAGE, "promoted", "ci", "2026", containers=(Container(EVIL, EVIL, "", ()),))
    drift = Drift(DriftKind.UNRECORDED, IMAGE.repository, None, "", EVIL)
    away = TargetStatus("vch-b", "vch", None, (), VerificationError(EVIL))
    lines = describe_status((TargetStatus("vch-a", "vch", None, (held,), drift=(drift,)), away)).splitlines()
    assert [line.split("\t")[-1] for line in lines] == [f"{GOOD} {GOOD}", GOOD, GOOD]


def test_what_is_in_a_plan_adds_no_line_to_what_an_approver_reads() -> None:
    plan = PromotionPlan(EVIL, IMAGE, (), (GateVerdict("signature (prod)", passed=False, reason=EVIL),))
    saved = SavedPlan((plan,), datetime(2026, 1, 2, tzinfo=UTC), {}, EVIL, made_by=EVIL)
    lines = describe_saved(saved).splitlines()
    assert len(lines) == len(
        describe_saved(replace(saved, plans=(PromotionPlan("x", IMAGE, (), plan.gates),))).splitlines()
    )
    assert lines[2] == f"  gate signature (prod): NO: {GOOD}"
    assert lines[3] == f"  made by {GOOD} on 2026-01-02T00:00:00Z: {GOOD}"
    assert GOOD in describe_plan(plan)


def test_messages_keep_their_lines_and_steer_no_terminal(capsys: pytest.CaptureFixture[str]) -> None:
    session = Session()
    session.say(f"one\n\ttwo{EVIL}")
    session.warn(EVIL)
    session.fail(VerificationError(f"one\ntwo: {EVIL}", hint=EVIL))
    told = capsys.readouterr().err
    assert told.startswith("one\n\ttwo\ufffd[1A")
    assert "error: one\ntwo: \ufffd[1A" in told
    assert not {"\x1b", "\u202e", "\r", "\x9b"} & set(told)


def test_progress_steers_no_terminal(monkeypatch: pytest.MonkeyPatch) -> None:
    terminal = Terminal()
    monkeypatch.setattr("sys.stderr", terminal)
    drawing = open_drawing("plain", quiet=False, verbose=True)
    drawing.draw(Output("build", "hello", "a\tb\x1b[2J"))
    drawing.draw(Warned("hello", EVIL))
    drawing.close()
    assert terminal.text.startswith("   build hello | a\tb\ufffd[2J\nwarning: hello: \ufffd[1A")
    assert "\x1b" not in terminal.text


def test_an_answer_is_exact_for_a_program_and_harmless_on_a_terminal(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    Session().answer({}, "text: \u202e\u00a0")
    assert capsys.readouterr().out == "text: \u202e\u00a0\n"
    terminal = Terminal()
    monkeypatch.setattr("sys.stdout", terminal)
    monkeypatch.setenv("TERM", "xterm")
    drawn = table(("project",), [[EVIL]])
    Session().answer({}, f"{drawn}\x1b[2J")
    assert "\x1b[1mproject" in terminal.text
    assert terminal.text.replace("\x1b[1m", "").replace("\x1b[0m", "").count("\x1b") == 0


def test_nothing_that_others_wrote_is_a_command_to_githubs_runner(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A failed build is told with what it printed last, and a pull request chooses what that is."""
    said = "build hello:\n::set-output name=hello_image::evil\n  ::stop-commands::x\nand ##[add-mask]x, a::b"
    monkeypatch.delenv("GITHUB_ACTIONS", raising=False)
    assert in_a_log(said) == said
    monkeypatch.setenv("GITHUB_ACTIONS", "true")
    session = Session()
    session.fail(VerificationError(said, hint="::debug::x"))
    session.say("::add-path::/evil")
    session.answer({}, "::add-mask::x")
    told = capsys.readouterr()
    assert told.err.splitlines() == [
        "error: build hello:",
        "| ::set-output name=hello_image::evil",
        "|   ::stop-commands::x",
        "and ## [add-mask]x, a::b",
        "hint: ::debug::x",
        "| ::add-path::/evil",
    ]
    assert told.out == "| ::add-mask::x\n"


def test_cleaning_is_done_once() -> None:
    assert clean(clean(EVIL)) == clean(EVIL) == GOOD
    assert shown(shown(EVIL)) == shown(EVIL)
