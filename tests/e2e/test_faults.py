"""What breaks in the middle of a promotion: nothing is lost, the report is true, and the same command heals it."""

import json
import os
import signal
import subprocess
import threading
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest

from tests.e2e.box import Box
from tests.e2e.cli import Cli, Run
from tests.e2e.images import hand_made

pytestmark = pytest.mark.sandbox

PROMOTE = "imagepipe.promote/v1"
BOTH = ("vch-a", "engine-a")
LIFE_S = 8  # room for what comes before a pull, on a busy machine too


@pytest.fixture
def image(box: Box, cli: Cli, request: pytest.FixtureRequest) -> str:
    """A signed image in a repository of the test's own, pinned."""
    name = request.node.name.removeprefix("test_").partition("[")[0].replace("_", "-")[:40].rstrip("-")
    pinned = box.registry.push(f"es-sandbox/{name}", "1", hand_made(request.node.name))
    cli.run("sign", pinned).ok()
    return pinned


def promote(image: str, *targets: str) -> tuple[str, ...]:
    to = [word for target in targets for word in ("--to", target)]
    return "promote", image, *to, "--yes", "--progress", "plain", "--json"


def outcomes(document: dict[str, Any]) -> dict[str, str]:
    return {row["target"]: row["outcome"] for row in document["targets"]}


def chains(cli: Cli, image: str) -> dict[str, int]:
    """Returns how many records each target has, once `history` has proven that none is missing."""
    told = cli.run("history", image.partition("/")[2].partition("@")[0], "--json").ok().json()
    assert all(chain["intact"] for chain in told["chains"])
    return {chain["target"]: chain["records"] for chain in told["chains"] if chain["records"]}


def disturbed(
    box: Box, cli: Cli, image: str, targets: Sequence[str], act: Callable[[], None], changes: dict[str, Any]
) -> Run:
    """Promotes, and does something as soon as every target fetches its first layer."""

    def during(_: "subprocess.Popen[str]") -> None:
        for target in targets:
            box.wait_for_pull(target)
        act()

    repository, _, digest = image.partition("/")[2].partition("@")
    layer = json.loads(box.registry.manifest(repository, digest))["layers"][0]["digest"]
    # Once per target, and longer than any of them takes to come so far; who is broken off does not wait for it.
    slow = {"path": f"/blobs/{layer}", "method": "GET", "delay_s": 8.0, "times": len(targets)}
    with box.registry_faults(rules=[slow]):
        return cli.disturbed(*promote(image, *targets), when=r"^-> promote ", act=during, config=box.config(changes))


def arrived(box: Box, cli: Cli, image: str, run: Run, *targets: str) -> None:
    """Proves that a run came to a good end, and that the same command finds nothing left to do."""
    assert outcomes(run.ok().json()) == dict.fromkeys(targets, "promoted")
    for target in targets:
        assert box.host(target).holds(image)
        assert box.host(target).containers() == []
    again = cli.run(*promote(image, *targets)).ok().json()
    assert (outcomes(again), again["record"]) == (dict.fromkeys(targets, "present"), run.json()["record"])
    assert chains(cli, image) == dict.fromkeys(targets, 1)


def test_what_proves_and_signs_may_be_killed_in_the_middle(box: Box, cli: Cli, image: str) -> None:
    killed = list[int]()

    def kill(process: "subprocess.Popen[str]") -> None:
        children = Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text().split()
        assert len(children) == min(len(os.sched_getaffinity(0)) - 1, 1), "one, where there is a processor for it"
        for pid in map(int, children):
            os.kill(pid, signal.SIGKILL)
            killed.append(pid)

    run = cli.disturbed(*promote(image, "engine-a"), when=r"^-> promote ", act=kill)
    arrived(box, cli, image, run, "engine-a")
    assert not any(Path(f"/proc/{pid}").exists() for pid in killed)


def test_a_registry_that_restarts_during_a_pull_is_outlasted(box: Box, cli: Cli, image: str) -> None:
    def restart() -> None:
        box.kill("harbor")
        box.start_again("harbor")

    run = disturbed(box, cli, image, BOTH, restart, {})
    arrived(box, cli, image, run, *BOTH)


def test_targets_that_are_killed_during_a_pull_and_come_back_are_asked_again(box: Box, cli: Cli, image: str) -> None:
    def restart() -> None:
        for target in BOTH:
            box.kill(target)
            box.start_again(target)

    run = disturbed(box, cli, image, BOTH, restart, {})
    assert run.err.count("the connection broke off in the middle of an answer); trying again in 5.0 s") == 2, run.said
    arrived(box, cli, image, run, *BOTH)


def test_a_network_that_is_cut_during_a_pull_is_noticed_and_waited_for(box: Box, cli: Cli, image: str) -> None:
    """The targets go on alone; to us they are silent, as they are in any long pull."""
    with ExitStack() as cut:

        def cut_and_mend() -> None:
            for target in BOTH:
                cut.enter_context(box.cut_off(target))
            # It takes us 4 x connect_s to notice, and 5 s until we ask again.
            mending = threading.Timer(7.0, cut.close)
            mending.start()
            cut.callback(mending.cancel)

        run = disturbed(box, cli, image, BOTH, cut_and_mend, {"timeouts.connect_s": 1})
    assert run.err.count("the connection broke off in the middle of an answer); trying again in 5.0 s") == 2, run.said
    arrived(box, cli, image, run, *BOTH)


def test_an_engine_whose_disk_is_full_is_told_as_such(box: Box, cli: Cli, image: str) -> None:
    with box.full_disk("engine-a"):
        run = cli.run(*promote(image, "engine-a"))
    run.fails(8, "no space left on device", hint="free space", kind="storage_full", schema=PROMOTE)
    assert "trying again" not in run.err
    assert chains(cli, image) == {"engine-a": 1}
    assert outcomes(cli.run(*promote(image, "engine-a")).ok().json()) == {"engine-a": "promoted"}
    assert chains(cli, image) == {"engine-a": 2}


def test_what_harbor_forbids_a_target_to_pull_is_told_in_its_words(box: Box, cli: Cli, image: str) -> None:
    def trust(value: str) -> None:
        box.admin.api("PUT", "projects/es-sandbox", {"metadata": {"enable_content_trust": value}})

    trust("true")
    try:
        run = cli.run(*promote(image, *BOTH))
    finally:
        trust("false")
    told = run.fails(6, "The image is not signed by notation", hint="notation sign", schema=PROMOTE)
    assert outcomes(told) == dict.fromkeys(BOTH, "failed")
    assert "trying again" not in run.err
    assert outcomes(cli.run(*promote(image, *BOTH)).ok().json()) == dict.fromkeys(BOTH, "promoted")
    assert chains(cli, image) == dict.fromkeys(BOTH, 2)


def test_a_record_that_cannot_be_attached_is_told_and_attached_by_the_same_command(
    box: Box, cli: Cli, image: str
) -> None:
    with box.registry_faults(rules=[{"path": "/blobs/uploads/", "method": "POST", "status": 403}]):
        run = cli.run(*promote(image, *BOTH))
    told = run.fails(
        10, "every target holds the image, but it is not on record", hint="the same command again", schema=PROMOTE
    )
    assert (outcomes(told), told["record"]) == (dict.fromkeys(BOTH, "promoted"), None)
    assert chains(cli, image) == {}
    again = cli.run(*promote(image, *BOTH)).ok().json()
    assert outcomes(again) == dict.fromkeys(BOTH, "present")
    assert chains(cli, image) == dict.fromkeys(BOTH, 1)


def test_an_identity_that_expires_during_a_pull_costs_nothing(box: Box, cli: Cli, image: str) -> None:
    """The certificate for the record is got while the target pulls, and outlives the token."""
    token = box.token(email=box.document["sigstore"]["identity"], exp_s=LIFE_S)
    with box.vch_faults("vch-a", pause_between_reads_s=LIFE_S):
        run = cli.run(*promote(image, "vch-a"), env=token).ok()
    assert outcomes(run.json()) == {"vch-a": "promoted"}
    assert chains(cli, image) == {"vch-a": 1}
    cli.run(*promote(image, "vch-a"), env=token).fails(5, "expired at", kind="identity")


def test_a_client_certificate_that_expires_during_a_pull_costs_nothing(box: Box, cli: Cli, image: str) -> None:
    """What the host let in before goes on, up to the lock that is let go over the same connection."""
    short = box.world.short_lived_client("vch-a", LIFE_S)
    with box.vch_faults("vch-a", pause_between_reads_s=LIFE_S):
        run = cli.run(*promote(image, "vch-a"), config=box.config({"targets.vch-a.cert_path": str(short)})).ok()
    assert outcomes(run.json()) == {"vch-a": "promoted"}
    assert "warning" not in run.err
    assert outcomes(cli.run(*promote(image, "vch-a")).ok().json()) == {"vch-a": "present"}
    assert chains(cli, image) == {"vch-a": 1}


def test_a_second_promotion_to_a_target_waits_for_the_first(box: Box, cli: Cli, image: str) -> None:
    repository = image.partition("/")[2].partition("@")[0]
    other = box.registry.push(repository, "2", hand_made(f"{image} the other"))
    cli.run("sign", other).ok()
    seen = dict[str, Run]()

    def meanwhile() -> None:
        hasty = box.config({"timeouts.lock_s": 1})
        seen["hasty"] = cli.run(*promote(other, "vch-a"), config=hasty)
        seen["patient"] = cli.run(*promote(other, "vch-a"))

    with box.vch_faults("vch-a", pause_between_reads_s=6):
        first = cli.disturbed(*promote(image, "vch-a"), when=r"^-> promote ", act=lambda _: meanwhile())
    seen["hasty"].fails(8, "another promotion holds it for", r"process \d+", hint="wait until it is done")
    assert outcomes(first.ok().json()) == outcomes(seen["patient"].ok().json()) == {"vch-a": "promoted"}
    assert chains(cli, image) == {"vch-a": 2}


def test_two_promotions_from_two_machines_at_once_are_both_on_record(box: Box, cli: Cli, image: str) -> None:
    """What one machine locks for itself tells the other nothing; the lock on the target does, and the second waits."""
    repository = image.partition("/")[2].partition("@")[0]
    other = box.registry.push(repository, "2", hand_made(f"{image} the other"))
    cli.run("sign", other).ok()
    slow = {"path": "/blobs/uploads/", "method": "POST", "delay_s": 3.0, "times": 1}
    seen = dict[str, Run]()

    def elsewhere() -> None:
        seen["second"] = cli.run(*promote(other, "vch-a"), env={"XDG_STATE_HOME": str(box.folder / "elsewhere")})

    with box.registry_faults(rules=[slow]):
        first = cli.disturbed(*promote(image, "vch-a"), when=r"^-> record ", act=lambda _: elsewhere())
    assert outcomes(first.ok().json()) == outcomes(seen["second"].ok().json()) == {"vch-a": "promoted"}
    assert chains(cli, image) == {"vch-a": 2}


@pytest.mark.parametrize(("hours", "said"), [(-1, "expired at"), (1, "is valid from .* on, and here it is")])
def test_a_clock_that_is_an_hour_off_is_told_before_any_host_is_touched(
    box: Box, cli: Cli, image: str, hours: int, said: str
) -> None:
    who = box.document["sigstore"]["identity"]
    with box.sigstore_beside(same_keys=True, clock_offset_s=hours * 3600) as (issuer, trust):
        signers = [{"identity": who, "issuer": one} for one in (box.issuer, issuer)]
        config = box.config({"signing.trust_config": str(trust), "policies.sandbox.signed_by": signers})
        run = cli.run(*promote(image, "vch-a"), config=config, env=box.token(issuer=issuer, email=who))
        run.fails(5, said, hint="this machine's clock", kind="identity")
        assert not box.host("vch-a").holds(image)
    assert chains(cli, image) == {}


def test_a_certificate_that_is_too_old_when_it_comes_costs_the_record_only(box: Box, cli: Cli, image: str) -> None:
    """Sigstore's clock is an hour behind ours, and the token lives long enough for both."""
    who = box.document["sigstore"]["identity"]
    with box.sigstore_beside(same_keys=True, clock_offset_s=-3600) as (issuer, trust):
        signers = [{"identity": who, "issuer": one} for one in (box.issuer, issuer)]
        config = box.config({"signing.trust_config": str(trust), "policies.sandbox.signed_by": signers})
        token = box.token(issuer=issuer, email=who, exp_s=7200)
        run = cli.run(*promote(image, "vch-a"), config=config, env=token)
    told = run.fails(
        10, "not on record", "a certificate that has expired already", "this machine's differ", schema=PROMOTE
    )
    assert outcomes(told) == {"vch-a": "promoted"}
    assert outcomes(cli.run(*promote(image, "vch-a")).ok().json()) == {"vch-a": "present"}
    assert chains(cli, image) == {"vch-a": 1}
