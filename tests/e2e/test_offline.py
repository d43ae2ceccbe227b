"""The way back while the registry is away, and the record that comes once it is back."""

import base64
import json
import signal
from contextlib import closing
from pathlib import Path

import pytest

from tests.e2e.ledger import Ledger, digest
from tests.e2e.mortal import Death, Life
from tests.e2e.sweeping import Sweep, deaths

pytestmark = pytest.mark.sandbox
# A Harbor that gives nobody a token: that is told at once, and not tried again for seconds. One test kills it.
AWAY = {"rules": [{"path": "/service/token", "status": 500}]}


def test_a_target_goes_back_to_what_it_holds_while_the_registry_is_away_and_the_record_follows(ledger: Ledger) -> None:
    one, two = ledger.version("one\n"), ledger.version("two\n")
    ledger.promote(one)
    ledger.promote(two)
    back = ("rollback", ledger.repository, "--on", "vch-a", "--yes", "--reason", "it burns", "--json", "--offline")
    ledger.box.kill("harbor")
    try:
        run = ledger.cli.run(*back).ok()
    finally:
        ledger.box.start_again("harbor")
    done = run.json()
    (row,) = done["targets"]
    assert (row["image"], row["from"], row["outcome"], row["record"]) == (one, digest(two), "present", None)
    assert set(row["proof"]) == {"inspect", "probe"}
    gates = {gate["gate"]: gate["reason"] for gate in done["plans"][0]["gates"] if gate["passed"]}
    assert gates.keys() >= {"signature (sandbox)", "rejection (sandbox)", "hold (vch-a)"}
    assert ledger.history(one)["entries"][1]["record"] in gates["held before (vch-a)"]
    assert "what was rejected, held, promoted or signed since" in done["offline"]["unverified"][0]
    assert run.err.count("NOT VERIFIED") == len(done["offline"]["unverified"]) == 2
    assert "roll back, OFFLINE, to" in run.err
    assert "nothing is pulled" in run.err
    (waiting,) = done["offline"]["waiting"]
    assert ledger.history()["waiting"] == [waiting]
    assert (waiting["image"], waiting["targets"], waiting["reason"]) == (one, ["vch-a"], "it burns")
    # The next promotion from here sends the record first, so that what was left is held back from it.
    again = ledger.cli.run("promote", two, "--to", "vch-a", "--yes", "--json")
    again.fails(6, "hold .*it burns", hint="--release-hold", kind="gate")
    assert not Path(waiting["file"]).exists()
    told = ledger.history()
    assert [row["kind"] for row in told["entries"]] == ["promotion", "promotion", "rollback"]
    assert told["entries"][-1]["offline"] == {"unverified": done["offline"]["unverified"]}
    assert "rollback OFFLINE\t" in ledger.cli.run("history", ledger.repository).ok().out
    chain = next(row for row in told["chains"] if row["target"] == "vch-a")
    assert (chain["intact"], chain["current"], told["waiting"]) == (True, digest(one), [])
    record = ledger.record(one)
    assert (record["finishedOn"], record["offline"]["unverified"]) == (waiting["at"], done["offline"]["unverified"])


def test_what_is_held_back_or_was_done_already_is_known_without_the_registry(ledger: Ledger) -> None:
    one, two = ledger.version("one\n"), ledger.version("two\n")
    ledger.promote(one)
    ledger.promote(two)
    back = ("rollback", ledger.repository, "--on", "vch-a", "--yes", "--json")
    with ledger.box.registry_faults(**AWAY):
        ledger.cli.run(*back).fails(8, "imagepipe-head.vch-a: .*HTTP 5", hint="--offline", kind="unavailable")
        tag = ledger.cli.run(*back, "--offline", "--to", "1.0")
        tag.fails(8, "resolve .*:1.0", hint="by digest", kind="unavailable")
        first = ledger.cli.run(*back, "--offline").ok().json()
        left = ledger.cli.run(*back, "--offline", "--to", digest(two))
        left.fails(6, r"hold \(vch-a\): held since", hint="--release-hold", kind="gate")
        assert ledger.cli.run(*back, "--offline").ok().json()["offline"]["waiting"] == first["offline"]["waiting"]
        away = ledger.cli.run("status", "vch-a", ledger.repository, "--json")
        unknown = away.fails(8, "what is on record", kind="unavailable", schema="imagepipe.status/v1")
    assert {image["state"] for image in unknown["targets"][0]["images"]} == {"unknown"}
    assert unknown["waiting"] == first["offline"]["waiting"]
    # Somebody else works with this outbox: they cannot send the record, and it holds back what was left all the same.
    stranger = ledger.box.token(sub="eve", email="eve@es-sandbox.test")
    promote = ledger.cli.run("promote", two, "--to", "vch-a", "--yes", "--json", env=stranger)
    promote.fails(6, r"hold \(vch-a\): held since", kind="gate")
    assert "it was signed by ci@es-sandbox.test" in promote.err


def test_without_what_was_kept_there_is_no_way_back_and_a_changed_record_is_not_sent(
    ledger: Ledger, tmp_path: Path
) -> None:
    one, two, never = (ledger.version(f"{page}\n") for page in ("one", "two", "never"))
    for image in (one, two):
        ledger.promote(image)
    ledger.promote(never, "vch-b")
    back = ("rollback", ledger.repository, "--on", "vch-a", "--yes", "--offline", "--json")
    with ledger.box.registry_faults(**AWAY):
        elsewhere = ledger.cli.run(*back, env={"XDG_CACHE_HOME": str(tmp_path)})
        elsewhere.fails(6, "this machine has kept nothing of it", kind="refused")
        ledger.cli.run(*back, "--to", digest(never)).fails(6, "no record that was kept proves", kind="gate")
        (waiting,) = ledger.cli.run(*back).ok().json()["offline"]["waiting"]
    file = Path(waiting["file"])
    whole = file.read_text()
    file.write_text(json.dumps(json.loads(whole) | {"image": two}))
    send = ("outbox", "--send", "--yes", "--json")
    ledger.cli.run(*send).fails(6, f"send the record in {file}", kind="verification", schema="imagepipe.outbox/v1")
    file.write_text("{")
    ledger.cli.run(*send).fails(3, f"{file}: no record that can be read", schema="imagepipe.outbox/v1")
    promote = ledger.cli.run("promote", one, "--to", "vch-a", "--yes", "--json")
    promote.fails(3, "no record that can be read", hint="move it away")
    assert "no record that can be read" in ledger.cli.run("rollback", ledger.repository, "--on", "vch-b", "--yes").err
    file.write_text(whole)
    sent = ledger.cli.run(*send).ok().json()
    assert (sent["waiting"], sent["sent"][0]["image"]) == ([], one)
    # What happened on two targets within one second has no order.
    on_vch_a = [row for row in ledger.history()["entries"] if row["targets"][0]["target"] == "vch-a"]
    assert on_vch_a[-1]["record"] == sent["sent"][0]["record"]


def test_containers_go_back_offline_to_the_digest_that_is_asked_for_whatever_a_stale_name_means(
    ledger: Ledger, tmp_path: Path
) -> None:
    file = ledger.workspace.context / "Dockerfile"
    file.write_text('ARG BASE\nFROM ${BASE}\nCOPY index.html /srv/\nSTOPSIGNAL SIGKILL\nCMD ["sleep", "600"]\n')
    one, two = ledger.built("one\n"), ledger.built("two\n")
    registry, web = ledger.box.registry, "web-offline"
    name = f"{registry.host}/{ledger.repository}:prod"
    login = base64.b64encode(":".join(registry.credentials).encode()).decode()
    (tmp_path / "config.json").write_text(json.dumps({"auths": {registry.host: {"auth": login}}}))
    ledger.promote(one)
    # A VCH takes a name for good for what its newest layer came with, however it is moved: contracts/vch.md 3.6
    for image in (two, one):
        raw = registry.manifest(ledger.repository, digest(image))
        registry.put_manifest(ledger.repository, "prod", raw, "application/vnd.docker.distribution.manifest.v2+json")
        ledger.docker("vch-a", "--config", str(tmp_path), "pull", name)
    ledger.promote(two)
    ledger.docker("vch-a", "run", "--detach", "--name", web, two)
    back = ("rollback", ledger.repository, "--on", "vch-a", "--activate", web, "--yes", "--offline", "--json")
    try:
        with ledger.box.registry_faults(**AWAY):
            (row,) = ledger.cli.run(*back).ok().json()["targets"]
        assert [(one["container"], one["outcome"]) for one in row["activation"]] == [(web, "switched")]
        (found,) = json.loads(ledger.docker("vch-a", "inspect", web))
        assert (found["Config"]["Image"], found["State"]["Running"]) == (one, True)
        assert ledger.docker("vch-a", "exec", web, "cat", "/srv/index.html") == "one\n"
        assert ledger.docker("vch-a", "run", "--rm", name, "cat", "/srv/index.html") == "two\n"
    finally:
        ledger.docker("vch-a", "rm", "--force", web)
    ledger.cli.run("outbox", "--send", "--yes").ok()
    (told,) = ledger.record(one)["targets"]
    assert [(one["container"], one["outcome"]) for one in told["activation"]] == [(web, "switched")]


SENDING = ("manifests/sha256:", "manifests/imagepipe-head.vch-a", "event ok send")


def test_a_rollback_is_kept_and_sent_once_whenever_we_are_killed(ledger: Ledger, tmp_path: Path) -> None:
    with closing(Sweep.of(ledger.box, ledger.cli, tmp_path, "es-sandbox/kept")) as sweep:
        common = ("--yes", "--progress", "plain", "--json")
        back = ("rollback", sweep.repository, "--on", "vch-a", "--offline", *common)
        send = ("outbox", "--send", *common)

        def survived(keeping: Death | None, sending: Death | None) -> tuple[Life, Life]:
            """Promotes, goes back offline and sends the record, each once it was killed on the way."""
            sweep.promoted(None)
            with ledger.box.registry_faults(**AWAY):
                kept = _survived(sweep, back, keeping)
            (waiting,) = json.loads(kept.out)["offline"]["waiting"]
            sent = _survived(sweep, send, sending)
            assert [one["file"] for one in json.loads(sent.out)["sent"]] == [waiting["file"]]
            return kept, sent

        sweep.promoted(None)
        kept, sent = survived(None, None)
        (keeping,), all_sending = deaths(kept, ("event -> keep",)), deaths(sent, SENDING)
        assert len(all_sending) == 3
        for sending in all_sending:
            survived(keeping, sending)
        told = ledger.history("es-sandbox/kept")
    assert [row["kind"] for row in told["entries"]].count("rollback") == 1 + len(all_sending)
    chain = next(one for one in told["chains"] if one["target"] == "vch-a")
    assert (chain["breaks"], chain["notes"], told["waiting"]) == ([], [], [])


def _survived(sweep: Sweep, argv: tuple[str, ...], death: Death | None) -> Life:
    if death is not None:
        killed = sweep.mortals.live(*argv, death=death)
        assert killed.code == -signal.SIGKILL, (death, killed)
    life = sweep.mortals.live(*argv)
    assert life.code == 0, (death, life)
    return life
