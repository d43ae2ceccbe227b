import json
from datetime import UTC, datetime
from pathlib import Path

import pytest

from imagepipe.cli.history import describe_history, history_document, rollback_document
from imagepipe.cli.main import run
from imagepipe.cli.status import describe_past, describe_status, moment_of
from imagepipe.errors import PartialError, UnavailableError
from imagepipe.model.digest import Digest
from imagepipe.model.host import Container, Target, TargetKind
from imagepipe.model.ledger import Entry, Link, RecordKind
from imagepipe.model.promotion import Arrival, GateVerdict, PromotionPlan, TargetPlan, TargetResult
from imagepipe.model.reference import Pinned
from imagepipe.promote.drift import Drift, DriftKind
from imagepipe.promote.history import Happening, OnTarget
from imagepipe.promote.ledger import Chain, Place, Standing
from imagepipe.promote.past import Past, PastImage
from imagepipe.promote.record import Promotion
from imagepipe.promote.status import HeldImage, TargetStatus

D, RECORD, BEFORE = Digest.of(b"m"), Digest.of(b"r"), Digest.of(b"b")
IMAGE = Pinned.parse(f"vic.example/es-sandbox/hello@{D}")
VCH = Target("vch-a", TargetKind.VCH, "tcp://vch-a:2376", None, "prod")
PLAN = PromotionPlan("x", IMAGE, (TargetPlan(VCH, IMAGE, None, current=BEFORE),), (GateVerdict("g", True, "yes"),))
CONFIG = """\
registry = "vic.example"
[targets.vch-a]
kind = "vch"
host = "tcp://127.0.0.1:1"
"""


def done(error: UnavailableError | None = None) -> Promotion:
    failed = {} if error is None else {"error": error.message, "error_kind": error.kind, "hint": "mend it"}
    arrival = Arrival.FAILED if error else Arrival.PROMOTED
    result = TargetResult("vch-a", TargetKind.VCH, arrival, D, **failed)  # type: ignore[arg-type] # texts all
    return Promotion(PLAN, (result,), RECORD)


def test_a_rollback_says_from_where_to_where_and_on_which_record() -> None:
    document = rollback_document(IMAGE.repository, (done(),), None)
    (target,) = document["targets"]
    assert document["schema"] == "imagepipe.rollback/v1"
    assert (target["from"], target["image"], target["record"]) == (str(BEFORE), str(IMAGE), str(RECORD))
    assert document["plans"][0]["gates"] == [{"gate": "g", "passed": True, "reason": "yes"}]
    assert "error" not in document


def test_a_rollback_that_failed_carries_error_and_hint() -> None:
    document = rollback_document(IMAGE.repository, (done(UnavailableError("away")),), PartialError("away", hint="x"))
    assert document["targets"][0]["hint"] == "mend it"
    assert document["error"]["exit_code"] == 10


def test_history_is_one_line_per_entry_with_its_standing() -> None:
    told = Happening(
        "2026", "rollback", D, RECORD, Standing.VERIFIED, "ci", "it burns", (OnTarget("a", "promoted", 3),)
    )
    gap = Happening("", "?", D, RECORD, Standing.MISSING, targets=(OnTarget("a", "", 2),), why="deleted")
    first, second = describe_history((told, gap)).splitlines()
    assert first.split("\t") == ["2026", "rollback", D.short, "a #3 promoted", "verified", "ci", "it burns"]
    assert second.split("\t") == ["-", "?", D.short, "a #2", "MISSING", "-", "deleted"]


def test_history_says_of_each_chain_whether_it_is_whole() -> None:
    place = Place(1, RECORD, D, Standing.MISSING)
    document = history_document("x", (), (Chain("vch-a", (place,), ("broken",)), Chain("vch-b", (), ())))
    assert [(one["intact"], one["records"], one["current"]) for one in document["chains"]] == [
        (False, 1, None),
        (True, 0, None),
    ]


@pytest.mark.parametrize(
    ("age_s", "told"), [(0, "0 s ago"), (59, "59 s ago"), (61, "1 min ago"), (7300, "2 h ago"), (200000, "2 d ago")]
)
def test_status_tells_the_age_in_the_largest_unit(age_s: int, told: str) -> None:
    held = HeldImage(IMAGE, "promoted", "ci", "2026", current=True, age_s=age_s)
    (line,) = describe_status((TargetStatus("vch-a", "vch", None, (held,)),)).splitlines()
    assert line.endswith(f"\t{told}, current")


@pytest.mark.parametrize(
    ("text", "moment"),
    [
        ("2026-03-01T14:00:00+01:00", datetime(2026, 3, 1, 13, tzinfo=UTC)),
        ("2026-03-01T14:00:00", datetime(2026, 3, 1, 14, tzinfo=UTC)),
        ("2026-03-01", datetime(2026, 3, 1, tzinfo=UTC)),
    ],
)
def test_a_time_has_its_own_zone_or_utc(text: str, moment: datetime) -> None:
    assert moment_of(text) == moment


def test_the_past_is_one_line_per_image_and_says_what_was_held_back() -> None:
    entry = Entry(
        RECORD, D, "vch-a", RecordKind.ROLLBACK, "present", D, Link(3, None, ()), "", "it burns", "2026", "ci"
    )
    past = PastImage(IMAGE.repository, entry, ("x: held since then",), 5)
    told = describe_past((Past("vch-a", "vch", (past,), ()), Past("vch-b", "vch", (), ())))
    assert [line.split("\t") for line in told.splitlines()] == [
        ["vch-a", str(IMAGE), "rollback", "by ci", "#3 2026", "it burns"],
        ["vch-a", "-", "held back", "x: held since then"],
        ["vch-b", "-", "nothing on record then", ""],
    ]


def test_status_says_what_runs_and_what_drifted() -> None:
    container = Container("web", "running", str(IMAGE), (IMAGE,))
    held = HeldImage(IMAGE, "promoted", "ci", "2026", current=True, age_s=1, containers=(container,))
    drift = Drift(DriftKind.UNRECORDED, IMAGE.repository, None, "odd", "odd runs something")
    first, second = describe_status((TargetStatus("vch-a", "vch", None, (held,), drift=(drift,)),)).splitlines()
    assert first.endswith("\t1 s ago, current\tweb running")
    assert second.split("\t") == ["vch-a", "-", "DRIFT", "odd runs something"]


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty folder with a configuration of one target that nobody answers for."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HOME", str(tmp_path))
    for name in ("XDG_CONFIG_HOME", "IMAGEPIPE_CONFIG", "DOCKER_HOST"):
        monkeypatch.delenv(name, raising=False)
    (tmp_path / "imagepipe.toml").write_text(CONFIG)
    return tmp_path


def test_status_without_any_target_is_no_good_news(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (here / "imagepipe.toml").write_text('registry = "vic.example"\n')
    assert run(["status", "p/x", "--detailed-exitcode"]) == 3
    assert capsys.readouterr().err.startswith("error: no target is configured\nhint: add one with `imagepipe targets")


@pytest.mark.usefixtures("here")
@pytest.mark.parametrize(
    ("argv", "code", "said"),
    [
        (["promote", "x:1", "--plan", "p.json"], 2, "--plan holds"),
        (["promote", "--to", "vch-a"], 2, "name an IMAGE"),
        (["promote", "--plan", "p.json"], 4, "p.json: no such file"),
        (["rollback", "p/x", "--on", "nowhere"], 4, "no target named"),
        (["rollback", "p/x"], 2, "--on"),
        (["reject", "p/x:1"], 2, "--reason"),
        (["promote", "p/x:1", "--to", "vch-a", "--reason", "caf\udce9"], 2, "--reason 'caf\\udce9' is not UTF-8"),
        (["history"], 2, "IMAGE|NAME"),
        (["status", "vch-b"], 4, "no target, group or pipeline named 'vch-b'; did you mean 'vch-a'?"),
        (["status", "other"], 4, "no pipeline named 'other'"),
        (["targets", "remove", "vch-b"], 4, "hint: see `imagepipe targets list`"),
        (["status", "p/x", "--at", "yesterday"], 2, "no ISO 8601 time"),
        (["status", "p/x", "--at", "0001-01-01T00:00:00+14:00"], 2, "no ISO 8601 time"),
        (["status", "p/x", "--at", "2999-01-01"], 2, "still to come"),
        (["status", "p/x", "--at", "2026-01-01", "--detailed-exitcode"], 2, "asks no target"),
    ],
)
def test_what_makes_no_sense_is_told(argv: list[str], code: int, said: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert run([*argv, "--json"]) == code
    error = json.loads(capsys.readouterr().out)["error"]
    assert said in f"{error['message']}\nhint: {error['hint']}"


@pytest.mark.parametrize("content", [b"{}", b"\xff\xfe"])
def test_a_file_that_is_no_plan_is_told_with_its_name(
    here: Path, content: bytes, capsys: pytest.CaptureFixture[str]
) -> None:
    (here / "p.json").write_bytes(content)
    assert run(["promote", "--plan", "p.json", "--json"]) == 3
    assert json.loads(capsys.readouterr().out)["error"]["message"].startswith("p.json: ")
