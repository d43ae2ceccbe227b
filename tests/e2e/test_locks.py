"""Two machines at one target: one waits, one that was killed is told of, and its lock is broken with a reason only."""

import re
import signal
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from tests.e2e.box import Box
from tests.e2e.cli import Cli
from tests.e2e.images import hand_made

pytestmark = pytest.mark.sandbox

TARGETS = ("vch-a", "engine-a")
TO = tuple(word for name in TARGETS for word in ("--to", name))
SLOW_TO_STORE = {"path": "/blobs/uploads/", "method": "POST", "delay_s": 1.0}


@pytest.fixture
def elsewhere(tmp_path: Path) -> dict[str, str]:
    """Another machine, as far as locks go: it keeps its own in another folder."""
    return {"XDG_STATE_HOME": str(tmp_path)}


@pytest.fixture
def unlocked(box: Box) -> Iterator[None]:
    """Whatever happens, no target is left locked."""
    yield
    assert [name for name in TARGETS if locked(box, name)] == []


def locked(box: Box, name: str) -> bool:
    return box.host(name).get("/v1.25/volumes/imagepipe-lock").status_code == 200


@pytest.mark.usefixtures("unlocked")
def test_two_machines_that_promote_to_one_target_at_once_do_so_one_after_the_other(
    box: Box, cli: Cli, elsewhere: dict[str, str]
) -> None:
    images = [box.registry.push("es-sandbox/rivals", tag, hand_made(f"rivals {tag}")) for tag in ("1", "2")]
    for image in images:
        cli.run("sign", image).ok()

    def promote(image: str, machine: dict[str, str]) -> list[int]:
        cli.run("promote", image, *TO, "--yes", "--json", env=machine).ok()
        (record,) = box.registry.records("es-sandbox/rivals", image.partition("@")[2])
        return [one["sequence"] for one in record["targets"]]

    with ThreadPoolExecutor(2) as pool, box.registry_faults(rules=[SLOW_TO_STORE]):
        first, second = pool.map(promote, images, ({}, elsewhere))
    assert sorted((first, second)) == [[1, 1], [2, 2]]
    assert all(box.host(name).holds(image) for name in TARGETS for image in images)
    history = cli.run("history", "es-sandbox/rivals", "--json").ok().json()
    assert [(one["records"], one["intact"]) for one in history["chains"] if one["target"] in TARGETS] == [(2, True)] * 2


@pytest.mark.usefixtures("unlocked")
def test_a_lock_that_a_killed_machine_left_is_broken_with_a_reason_that_goes_on_record(
    box: Box, cli: Cli, elsewhere: dict[str, str]
) -> None:
    image = box.registry.push("es-sandbox/left-locked", "1", hand_made("left-locked"))
    cli.run("sign", image).ok()
    argv = ("promote", image, *TO, "--yes", "--progress", "plain", "--json")
    with box.registry_faults(rules=[SLOW_TO_STORE]):
        cli.signalled(*argv, when=r"^ok promote ", number=signal.SIGKILL)
    assert all(locked(box, name) for name in TARGETS)

    impatient = {**elsewhere, "IMAGEPIPE_TIMEOUTS__LOCK_S": "1"}
    held = r"lock target vch-a: another promotion holds it for .*: \S+@\S+, process \d+, since 20.*; waited 1 s"
    cli.run(*argv, env=impatient).fails(8, held, hint="--break-lock", kind="unavailable")
    told = cli.run("doctor", *TARGETS, "--json", env=elsewhere).ok().json()["findings"]
    found = {one["subject"]: one for one in told if one["check"] == "lock"}
    assert set(found) == set(TARGETS)
    assert all(
        re.match(r"a promotion holds it: \S+@\S+, process \d+, since 20", one["detail"]) for one in found.values()
    )
    assert all("--break-lock" in one["hint"] for one in found.values())
    back = ("rollback", "es-sandbox/left-locked", "--on", "vch-a", "--to", image.partition("@")[2], "--yes", "--json")
    cli.run(*back, env=impatient).fails(8, "lock target vch-a", hint="--break-lock", kind="unavailable")
    cli.run(*argv, "--break-lock", env=impatient).fails(2, "--break-lock goes on record", hint="--reason", kind="usage")
    reason = "the runner was deleted"
    broken = cli.run(*argv, "--break-lock", "--reason", reason, env=impatient).ok()
    assert "vch-a: broke the lock of" in broken.err
    (record,) = box.registry.records("es-sandbox/left-locked", image.partition("@")[2])
    assert record["reason"] == reason
    assert sorted(one["target"] for one in record["brokenLocks"]) == sorted(TARGETS)


@pytest.mark.usefixtures("unlocked")
def test_what_was_killed_is_taken_up_by_the_same_command_also_once_its_engine_was_started_again(
    box: Box, cli: Cli
) -> None:
    image = box.registry.push("es-sandbox/power-cut", "1", hand_made("power-cut"))
    cli.run("sign", image).ok()
    argv = ("promote", image, "--to", "engine-a", "--yes", "--progress", "plain")
    with box.registry_faults(rules=[SLOW_TO_STORE]):
        cli.signalled(*argv, when=r"^ok promote ", number=signal.SIGKILL)
    box.kill("engine-a")
    box.start_again("engine-a")
    assert locked(box, "engine-a")
    cli.run(*argv, env={"IMAGEPIPE_TIMEOUTS__LOCK_S": "1"}).ok()


@pytest.mark.usefixtures("unlocked")
def test_what_is_deleted_while_a_lock_is_waited_for_is_not_brought_back(
    box: Box, cli: Cli, elsewhere: dict[str, str]
) -> None:
    repository, to = "es-sandbox/deleted-meanwhile", ("--to", "vch-a", "--yes", "--progress", "plain", "--json")
    held, gone = (box.registry.push(repository, tag, hand_made(f"deleted {tag}")) for tag in ("1", "2"))
    for image in (held, gone):
        cli.run("sign", image).ok()
    with box.registry_faults(rules=[SLOW_TO_STORE]):
        cli.signalled("promote", held, *to, when=r"^ok promote ", number=signal.SIGKILL)

    def meanwhile(_: object) -> None:
        box.admin.delete(repository, gone.partition("@")[2])
        box.host("vch-a").delete("/v1.25/volumes/imagepipe-lock")

    waited = cli.disturbed("promote", gone, *to, when="another promotion", act=meanwhile, env=elsewhere)
    waited.fails(4, "MANIFEST_UNKNOWN|not found", kind="not_found")
    assert not box.host("vch-a").holds(gone)
    cli.run("digest", gone).fails(4, "not found", kind="not_found")
