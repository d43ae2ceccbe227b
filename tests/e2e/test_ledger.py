"""The ledger from end to end: two versions, the way back, what is held and rejected, and plans that went stale."""

import json
import os
import pty
import subprocess
import sys
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from imagepipe import fanout
from tests.e2e.ledger import Ledger, digest

pytestmark = pytest.mark.sandbox


def test_the_way_back_runs_the_digest_asked_for(ledger: Ledger) -> None:
    one, two = ledger.built("one\n"), ledger.built("two\n")
    assert digest(one) != digest(two)
    ledger.promote(one, "vch-a", "engine-a")
    ledger.promote(two, "vch-a", "engine-a")
    back = ledger.rollback("--reason", "it burns", targets=("vch-a", "engine-a"))
    assert back["schema"] == "imagepipe.rollback/v1"
    assert [(row["target"], row["image"], row["from"]) for row in back["targets"]] == [
        ("vch-a", one, digest(two)),
        ("engine-a", one, digest(two)),
    ]
    for target in ("vch-a", "engine-a"):
        assert ledger.run_on(target, one) == "one\n"
    record = ledger.record(one)
    assert (record["kind"], record["hold"], record["reason"]) == ("rollback", True, "it burns")
    (before,) = {target["previous"]["image"] for target in record["targets"]}
    assert before == digest(two)
    assert [target["sequence"] for target in record["targets"]] == [3, 3]


def test_a_tag_that_a_vch_has_seen_cannot_bring_the_wrong_image_back(ledger: Ledger) -> None:
    one, two = ledger.built("one\n"), ledger.built("two\n")
    tag = f"{ledger.box.registry.host}/{ledger.repository}:1.0"
    ledger.promote(one)
    ledger.promote(two)
    ledger.rollback()
    # The tag of the pipeline still means the second; the VCH was never asked by it.
    assert ledger.box.registry.digest(ledger.repository, "1.0") == digest(two)
    assert tag not in ledger.box.host("vch-a").images(ledger.repository)
    assert ledger.run_on("vch-a", one) == "one\n"
    assert ledger.run_on("vch-a", two) == "two\n"


def test_what_was_left_is_held_until_it_is_released(ledger: Ledger) -> None:
    one, two, three = ledger.version("one\n"), ledger.version("two\n"), ledger.version("three\n")
    for image in (one, two):
        ledger.promote(image)
    ledger.rollback("--reason", "it burns")
    again = ("promote", two, "--to", "vch-a", "--yes", "--json")
    ledger.cli.run(*again, config=ledger.box.everybody_away()).fails(
        6, r"hold \(vch-a\): held since .* by .*: it burns", hint="--release-hold", kind="gate"
    )
    ledger.promote(two, "vch-b")
    ledger.promote(three)
    ledger.cli.run(*again).fails(6, "it burns", kind="gate")
    ledger.promote(two, more=("--release-hold", "--reason", "mended"))
    ledger.promote(two)
    assert ledger.record(two)["reason"] == "mended"


def test_going_back_twice_goes_one_step(ledger: Ledger) -> None:
    one, two, three = (ledger.version(f"{page}\n") for page in ("one", "two", "three"))
    for image in (one, two, three):
        ledger.promote(image)
    assert ledger.rollback()["targets"][0]["image"] == two
    second = ledger.rollback()
    assert [(row["image"], row["outcome"]) for row in second["targets"]] == [(two, "present")]
    assert ledger.rollback("--to", digest(one))["targets"][0]["image"] == one


def test_who_may_push_cannot_steer_a_rollback_nor_hide_what_it_left(ledger: Ledger) -> None:
    targets, registry = ("vch-a", "engine-a"), ledger.box.registry
    _, two, three = images = [ledger.version(f"{page}\n") for page in ("one", "two", "three")]
    first, *_ = [ledger.promote(image, *targets)["record"] for image in images]
    for target in targets:
        old = registry.manifest(ledger.repository, first)
        registry.put_manifest(ledger.repository, f"imagepipe-head.{target}", old, json.loads(old)["mediaType"])
        assert registry.digest(ledger.repository, f"imagepipe-head.{target}") == first
    done = ledger.rollback(targets=targets)
    assert [(row["target"], row["image"]) for row in done["targets"]] == [(target, two) for target in targets]
    chains = {row["target"]: row for row in ledger.history()["chains"]}
    for target in targets:
        assert (chains[target]["intact"], chains[target]["records"], chains[target]["current"]) == (
            True,
            4,
            digest(two),
        )
    again = ("promote", three, "--to", "vch-a", "--to", "engine-a", "--yes")
    ledger.cli.run(*again).fails(6, r"hold \(vch-a\): held since .*; hold \(engine-a\): held since ", kind="gate")


def test_a_rejected_image_goes_nowhere_and_is_not_gone_back_to(ledger: Ledger) -> None:
    one, two, three = (ledger.version(f"{page}\n") for page in ("one", "two", "three"))
    for image in (one, two, three):
        ledger.promote(image)
    told = ledger.cli.run("reject", two, "--reason", "leaks keys", "--json").ok().json()
    assert (told["schema"], told["image"]) == ("imagepipe.reject/v1", two)
    ledger.cli.run("promote", two, "--to", "vch-b", "--yes", config=ledger.box.everybody_away()).fails(
        6, "rejection .*leaks keys"
    )
    assert ledger.rollback()["targets"][0]["image"] == one
    entries = ledger.history(two)["entries"]
    assert [row["kind"] for row in entries] == ["signature", "promotion", "rejection"]
    assert entries[-1]["reason"] == "leaks keys"
    told = ledger.history()["entries"]
    assert [row["kind"] for row in told] == ["promotion", "promotion", "promotion", "rejection", "rollback"]
    assert (told[3]["image"], told[3]["standing"]) == (digest(two), "verified")


def test_two_who_reject_at_once_are_both_told_and_a_rejection_that_is_deleted_shows(ledger: Ledger) -> None:
    images = [ledger.version(f"{page}\n") for page in ("one", "two", "three")]

    def reject(image: str) -> dict[str, Any]:
        return ledger.cli.run("reject", image, "--reason", f"no {digest(image)}", "--json").ok().json()

    first, second = (one.unwrap() for one in fanout.each(images[:2], reject, jobs=2))
    reject(images[2])
    told = ledger.history()["entries"]
    assert sorted(row["reason"] for row in told) == sorted(f"no {digest(image)}" for image in images)
    assert {(row["kind"], row["standing"]) for row in told} == {("rejection", "verified")}
    assert reject(images[0])["records"] == first["records"]
    (gone,) = [one["record"] for one in second["records"]]
    ledger.box.admin.delete(ledger.repository, gone)
    broken = ledger.cli.run("history", ledger.repository, "--json").fails(
        6, f"rejection . is MISSING: {gone}", kind="verification", schema="imagepipe.history/v1"
    )
    assert [row["standing"] for row in broken["entries"]].count("MISSING") == 1


def test_a_history_is_whole_until_a_record_is_deleted(ledger: Ledger) -> None:
    one, two = ledger.version("one\n"), ledger.version("two\n")
    first = ledger.promote(one)["record"]
    second = ledger.promote(two)["record"]
    third = ledger.rollback()["targets"][0]["record"]
    told = ledger.history()
    assert told["schema"] == "imagepipe.history/v1"
    assert [row["record"] for row in told["entries"]] == [first, second, third]
    assert [row["kind"] for row in told["entries"]] == ["promotion", "promotion", "rollback"]
    assert {row["standing"] for row in told["entries"]} == {"verified"}
    chain = next(row for row in told["chains"] if row["target"] == "vch-a")
    assert (chain["intact"], chain["records"], chain["current"]) == (True, 3, digest(one))
    ledger.box.admin.delete(ledger.repository, second)
    run = ledger.cli.run("history", ledger.repository, "--json")
    broken = run.fails(6, "sequence 2 is MISSING", kind="verification", schema="imagepipe.history/v1")
    assert [row["standing"] for row in broken["entries"]] == ["verified", "MISSING", "verified"]


def test_a_history_without_its_newest_record_is_not_whole(ledger: Ledger) -> None:
    records = [ledger.promote(ledger.version(f"{page}\n"))["record"] for page in ("one", "two", "three")]
    ledger.box.admin.delete(ledger.repository, records.pop())
    told = ledger.cli.run("history", ledger.repository, "--json").fails(
        6, "vch-a: the tag of the newest record is gone after sequence 2", schema="imagepipe.history/v1"
    )
    assert [row["record"] for row in told["entries"]] == records
    ledger.box.admin.delete(ledger.repository, records.pop())
    left = ledger.cli.run("history", ledger.repository, "--json").ok()
    assert [row["record"] for row in left.json()["entries"]] == records
    assert "note: vch-a: the tag of the newest record is gone after sequence 1: records may be too" in left.err


def test_status_tells_what_is_current_and_what_drifted(ledger: Ledger) -> None:
    one, two = ledger.version("one\n"), ledger.version("two\n")
    ledger.promote(one)
    ledger.promote(two)
    status = ("status", "vch-a", "vch-b", ledger.repository, "--detailed-exitcode", "--json")
    told = ledger.cli.run(*status).ok().json()
    rows = {row["image"]: (row["state"], row["current"]) for row in told["targets"][0]["images"]}
    assert rows == {one: ("promoted", False), two: ("promoted", True)}
    tag = next(name for name in ledger.box.host("vch-a").images(ledger.repository) if digest(two)[7:39] in name)
    ledger.docker("vch-a", "rmi", "--force", tag.partition("@")[0])
    assert not ledger.box.host("vch-a").holds(two)
    drifted = ledger.cli.run(*status).fails(9, "vch-a: lacks", kind="drift", schema="imagepipe.status/v1")
    assert [held["state"] for held in drifted["targets"][0]["images"] if held["image"] == two] == ["drifted"]
    ledger.cli.run(*status[:-2]).ok()


def test_a_plan_is_saved_agreed_to_and_carried_out(ledger: Ledger, tmp_path: Path) -> None:
    one, two = ledger.version("one\n"), ledger.version("two\n")
    ledger.promote(one)
    file = tmp_path / "plan.json"
    tag = f"{ledger.repository}:1.0"
    saved = (
        ledger.cli.run("promote", tag, "--to", "vch-a", "-o", str(file), "--reason", "release", "--json").ok().json()
    )
    assert saved == json.loads(file.read_text())
    assert saved["schema"] == "imagepipe.promotion-plan/v1"
    assert saved["targets"][0]["previous"] == [digest(one)]
    assert not ledger.box.host("vch-a").holds(two)
    ledger.cli.run("promote", "--plan", str(file)).fails(2, "no terminal", hint="--yes")
    done = ledger.cli.run("promote", "--plan", str(file), "--yes", "--json").ok().json()
    assert (done["image"], done["plan"]) == (two, saved["digest"])
    assert ledger.record(two)["reason"] == "release"
    again = ledger.cli.run("promote", "--plan", str(file), "--yes", "--json").ok().json()
    assert again["record"] == done["record"]


@pytest.fixture
def plan(ledger: Ledger, tmp_path: Path) -> tuple[str, ...]:
    """The command that carries out a plan for the second version, made while vch-a is at the first."""
    ledger.promote(ledger.version("one\n"))
    ledger.version("two\n")
    file = tmp_path / "plan.json"
    ledger.cli.run("promote", f"{ledger.repository}:1.0", "--to", "vch-a", "-o", str(file)).ok()
    return "promote", "--plan", str(file), "--yes", "--json"


def test_a_plan_is_stale_once_its_tag_moved(ledger: Ledger, plan: tuple[str, ...]) -> None:
    three = ledger.version("three\n")
    ledger.cli.run(*plan).fails(9, f"1.0 is now {digest(three)}, the plan says", hint="new plan", kind="stale_plan")
    assert not ledger.box.host("vch-a").holds(three)


def test_a_plan_is_stale_once_its_policy_changed(ledger: Ledger, plan: tuple[str, ...]) -> None:
    strict = ledger.box.config({"policies.sandbox.require_provenance": True})
    ledger.cli.run(*plan, config=strict).fails(9, "policy sandbox was changed", kind="stale_plan")


def test_a_plan_is_stale_once_its_target_is_another(ledger: Ledger, plan: tuple[str, ...]) -> None:
    ledger.cli.run(*plan, config=ledger.box.everybody_away()).fails(9, "target vch-a: host is now", kind="stale_plan")


def test_a_plan_is_stale_once_its_target_was_brought_elsewhere(ledger: Ledger, plan: tuple[str, ...]) -> None:
    three = ledger.version("three\n")
    ledger.promote(three)
    ledger.version("two\n")  # the tag is where it was
    ledger.cli.run(*plan).fails(9, f"target vch-a: it was at .*, and is now at {digest(three)}", kind="stale_plan")


def test_a_plan_is_stale_after_a_day_and_worthless_when_changed(ledger: Ledger, plan: tuple[str, ...]) -> None:
    ledger.cli.run(*plan, "--max-age", "0").fails(9, "h old", kind="stale_plan")
    file = Path(plan[2])
    file.write_text(file.read_text().replace('"reason": ""', '"reason": "other"'))
    ledger.cli.run(*plan).fails(3, "changed after it was written", kind="input")


def test_on_a_terminal_the_plan_shows_from_and_to_and_asks(ledger: Ledger) -> None:
    one, two = ledger.version("one\n"), ledger.version("two\n")
    ledger.promote(one)
    ours, theirs = pty.openpty()
    environ = {**os.environ, **ledger.cli.environ, "HOME": str(ledger.cli.home), "TERM": "dumb"}
    argv = [sys.executable, "-m", "imagepipe", "promote", two, "--to", "vch-a", "--progress", "none"]
    with subprocess.Popen(argv, stdin=theirs, stderr=theirs, stdout=subprocess.DEVNULL, env=environ) as child:
        os.close(theirs)
        said = b""
        while b"[y/N]" not in said:
            said += os.read(ours, 4096)
        os.write(ours, b"n\n")
        assert child.wait(timeout=30) == 2
    os.close(ours)
    assert f"vch-a (vch): from {digest(one)} (holds 1 of this repository) to manifest {digest(two)}" in said.decode()
    assert not ledger.box.host("vch-a").holds(two)


def test_who_only_reads_needs_nobody_to_sign(ledger: Ledger) -> None:
    image = ledger.version("one\n")
    ledger.promote(image)
    looks = (
        ("status", "vch-a", ledger.repository),
        ("status", "vch-a", ledger.repository, "--at", f"{datetime.now(UTC):%Y-%m-%dT%H:%M:%SZ}"),
        ("history", ledger.repository),
        ("verify", image),
        ("tree", image),
        ("protect", ledger.repository),
    )
    for signing, told in (({"mode": "none"}, "signing.mode"), ({"mode": "key", "key": "/nowhere/ci.key"}, "ci.key")):
        config = ledger.box.config({f"signing.{key}": value for key, value in signing.items()})
        for words in looks:
            answer = ledger.cli.run(*words, config=config).ok().out
            assert digest(image).removeprefix("sha256:")[:12] in answer
        ledger.cli.run("promote", image, "--to", "vch-a", "--yes", config=config).fails(3, told, kind="settings")
