"""Runs that are cut short: nothing is half-done, and the same command takes up what is left."""

import json
import re
import signal
import subprocess
import time
from collections.abc import Callable

import pytest

from tests.e2e.box import Box
from tests.e2e.cli import Cli
from tests.e2e.images import hand_made
from tests.e2e.workspace import DOCKERFILE, Workspace

pytestmark = pytest.mark.sandbox

# So that a signal arrives in the middle of signing, and in the middle of writing a record, on a busy machine too.
SLOW_TO_LIST = {"path": "/referrers/", "delay_s": 2.0}
SLOW_TO_STORE = {"path": "/blobs/uploads/", "method": "POST", "delay_s": 2.0}


@pytest.mark.parametrize("step", ["tag", "sign"])
def test_a_run_killed_between_push_and_signature_is_healed_by_the_same_command(
    box: Box, cli: Cli, workspace: Callable[..., Workspace], step: str
) -> None:
    made = workspace(f"killed-at-{step}")
    argv = ("run", made.name, "--progress", "plain", "--json")
    with box.registry_faults(rules=[SLOW_TO_LIST]):
        killed = cli.signalled(*argv, when=rf"^-> {step} ", number=signal.SIGKILL, cwd=made.folder)
    assert (killed.code, killed.out) == (-signal.SIGKILL, "")
    digest = box.registry.digest(made.repository, "1.0")
    assert box.registry.attached(made.repository, digest) == []
    cli.run("verify", f"{made.repository}:1.0").fails(6, "has no signature")

    healed = cli.run(*argv, cwd=made.folder).ok()
    (image,) = healed.json()["images"]
    assert image["image"].endswith(f"@{digest}")
    assert "was there already" in healed.err
    assert [one["created"] for one in image["evidence"]] == [True, True]
    cli.run("verify", image["image"]).ok()
    assert all(box.registry.digest(made.repository, tag) == digest for tag in box.registry.tags(made.repository))
    assert len(box.registry.tags(made.repository)) == 3


def test_ctrl_c_in_a_build_is_exit_130_and_pushes_nothing(
    box: Box, cli: Cli, workspace: Callable[..., Workspace]
) -> None:
    made = workspace("stopped", DOCKERFILE + "RUN echo asleep && sleep 60\n")
    began = time.monotonic()
    run = cli.signalled(
        *("run", "stopped", "-v", "--progress", "plain", "--json"),
        when=r"\| asleep",
        number=signal.SIGINT,
        cwd=made.folder,
    )
    assert time.monotonic() - began < 30
    run.fails(130, "interrupted", hint="again", kind="interrupted")
    assert box.registry.tags(made.repository) == []
    until = time.monotonic() + 10
    while box.build_host.containers() and time.monotonic() < until:
        time.sleep(0.2)
    assert box.build_host.containers() == []


def test_a_promotion_killed_on_its_way_is_taken_up_by_the_same_command(box: Box, cli: Cli) -> None:
    pinned = box.registry.push("es-sandbox/cut-short", "1", hand_made("cut-short"))
    cli.run("sign", pinned).ok()
    argv = ("promote", pinned, "--to", "vch-a", "--to", "engine-a", "--yes", "--progress", "plain", "--json")
    with box.registry_faults(rules=[SLOW_TO_STORE]):
        killed = cli.signalled(*argv, when=r"^ok promote ", number=signal.SIGKILL)
    assert (killed.code, killed.out) == (-signal.SIGKILL, "")
    again = cli.run(*argv).ok()
    for name in ("vch-a", "engine-a"):
        assert re.search(rf"{name}: took over the lock that .* left on this machine", again.err), again.said
    assert {one["outcome"] for one in again.json()["targets"]} <= {"promoted", "present"}
    assert all(box.host(name).holds(pinned) for name in ("vch-a", "engine-a"))
    (record,) = box.registry.records("es-sandbox/cut-short", pinned.partition("@")[2])
    assert [one["target"] for one in record["targets"]] == ["vch-a", "engine-a"]


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_ctrl_c_in_a_promotion_or_a_cancelled_job_is_exit_130_and_lets_go(
    box: Box, cli: Cli, number: signal.Signals
) -> None:
    pinned = box.registry.push("es-sandbox/halted", "1", hand_made(f"halted by {number.name}"))
    cli.run("sign", pinned).ok()
    argv = ("promote", pinned, "--to", "vch-a", "--yes", "--progress", "plain", "--json")
    with box.vch_faults("vch-a", pause_between_reads_s=8):
        run = cli.signalled(*argv, when=r"^-> promote ", number=number)
    run.fails(130, "interrupted", kind="interrupted")
    assert json.loads(run.out)["error"]["exit_code"] == 130
    assert box.host("vch-a").get("/v1.25/volumes/imagepipe-lock").status_code == 404


@pytest.mark.parametrize("pause_s", [0.0, 0.3])
def test_a_promotion_that_is_stopped_twice_in_a_breath_lets_go_all_the_same(box: Box, cli: Cli, pause_s: float) -> None:
    pinned = box.registry.push("es-sandbox/halted-twice", "1", hand_made(f"halted twice, {pause_s} s apart"))
    cli.run("sign", pinned).ok()
    targets = ("vch-a", "vch-b", "engine-a")

    def stop(child: "subprocess.Popen[str]") -> None:
        child.send_signal(signal.SIGINT)
        time.sleep(pause_s)
        child.send_signal(signal.SIGTERM)

    to = [word for name in targets for word in ("--to", name)]
    argv = ("promote", pinned, *to, "--yes", "--progress", "plain", "--json")
    with box.registry_faults(rules=[SLOW_TO_STORE]):
        cli.disturbed(*argv, when=r"^ok promote ", act=stop).fails(130, "interrupted", kind="interrupted")
    assert [name for name in targets if box.host(name).get("/v1.25/volumes/imagepipe-lock").status_code != 404] == []


def test_a_terminal_that_is_closed_ends_a_promotion_as_ctrl_c_does(box: Box, cli: Cli) -> None:
    pinned = box.registry.push("es-sandbox/hung-up", "1", hand_made("hung-up"))
    cli.run("sign", pinned).ok()
    argv = ("promote", pinned, "--to", "engine-a", "--yes", "--progress", "plain", "--json")
    # Who starts the tests may have told them to live on without a terminal, which commands inherit, and heed.
    inherited = signal.signal(signal.SIGHUP, signal.SIG_DFL)
    try:
        with box.registry_faults(rules=[SLOW_TO_STORE]):
            run = cli.signalled(*argv, when=r"^ok promote ", number=signal.SIGHUP)
    finally:
        signal.signal(signal.SIGHUP, inherited)
    run.fails(130, "interrupted", kind="interrupted")
    assert box.host("engine-a").get("/v1.25/volumes/imagepipe-lock").status_code == 404
