"""Exactly our own processes end, and a pid alone never says which those are."""

import dataclasses
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from imagepipe.errors import UnavailableError
from imagepipe.sandbox.processes import (
    ENVIRONMENT_MARK,
    Starter,
    alive,
    end_all,
    end_containers,
    end_one,
    marked,
    run,
    start_time,
)
from imagepipe.sandbox.state import ProcessRecord

SLEEP = [sys.executable, "-c", "import time; print('ready', flush=True); time.sleep(60)"]
STUBBORN = [
    sys.executable,
    "-c",
    "import signal, time; signal.signal(15, signal.SIG_IGN); print('ready', flush=True); time.sleep(60)",
]


@pytest.fixture
def world_id(tmp_path: Path) -> Iterator[str]:
    name = f"test-{os.getpid()}-{tmp_path.name}"
    yield name
    end_all((), world_id=name)


@pytest.fixture
def starter(world_id: str, tmp_path: Path) -> Starter:
    return Starter(world_id=world_id, directory=tmp_path)


def started(starter: Starter, argv: list[str], log: Path) -> ProcessRecord:
    record = starter.start("part", argv, log)
    deadline = time.monotonic() + 20
    while "ready" not in log.read_text() and time.monotonic() < deadline:
        time.sleep(0.02)
    return record


def test_a_started_process_is_alive_in_a_session_of_its_own_and_writes_its_log(
    starter: Starter, tmp_path: Path
) -> None:
    record = started(starter, SLEEP, tmp_path / "logs" / "part.log")
    assert alive(record)
    assert os.getsid(record.pid) == record.pid
    assert (tmp_path / "logs" / "part.log").read_text() == "ready\n"


def test_a_process_that_ignores_the_request_is_killed(starter: Starter, world_id: str, tmp_path: Path) -> None:
    record = started(starter, STUBBORN, tmp_path / "log")
    end_all([record], world_id=world_id, grace_s=0.2)
    assert not alive(record)


def test_one_process_may_be_ended_by_itself(starter: Starter, tmp_path: Path) -> None:
    one, other = started(starter, SLEEP, tmp_path / "one"), started(starter, SLEEP, tmp_path / "other")
    end_one(one)
    assert (alive(one), alive(other)) == (False, True)


def test_another_process_that_got_the_pid_is_left_alone(world_id: str) -> None:
    bystander = subprocess.Popen(SLEEP, stdout=subprocess.DEVNULL)
    try:
        actual = start_time(bystander.pid)
        assert actual is not None
        record = ProcessRecord("part", bystander.pid, actual - 1, (), "")
        assert not alive(record)
        end_all([record], world_id=world_id, grace_s=0.1)
        assert bystander.poll() is None
    finally:
        bystander.kill()
        bystander.wait()


def test_a_process_that_was_never_recorded_is_found_by_its_mark(
    starter: Starter, world_id: str, tmp_path: Path
) -> None:
    record = started(starter, SLEEP, tmp_path / "log")
    assert marked(world_id) == [record.pid]
    end_all((), world_id=world_id, grace_s=0.2)
    assert not alive(record)


def test_children_of_a_started_process_carry_the_mark(starter: Starter, world_id: str, tmp_path: Path) -> None:
    started(starter, ["sh", "-c", "sleep 60 & echo ready"], tmp_path / "log")
    assert marked(world_id)
    end_all((), world_id=world_id, grace_s=0.2)
    assert marked(world_id) == []


def test_the_mark_of_another_world_does_not_count(world_id: str) -> None:
    other = subprocess.Popen(SLEEP, stdout=subprocess.DEVNULL, env={ENVIRONMENT_MARK: f"{world_id}-other"})
    try:
        end_all((), world_id=world_id, grace_s=0.1)
        assert other.poll() is None
    finally:
        other.kill()
        other.wait()


def test_no_container_of_ours_means_nobody_is_killed() -> None:
    end_containers("imagepipe-no-such-world")


def test_variables_that_lead_out_of_the_sandbox_do_not_enter_it(
    starter: Starter, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HTTPS_PROXY", "http://proxy.example:3128")
    monkeypatch.setenv("DOCKER_HOST", "tcp://production:2376")
    show = "import os; print(os.environ.get('HTTPS_PROXY'), os.environ.get('DOCKER_HOST'), 'ready', flush=True)"
    started(starter, [sys.executable, "-c", show], tmp_path / "log")
    assert (tmp_path / "log").read_text() == "None None ready\n"


def test_a_closed_starter_starts_nothing(starter: Starter, world_id: str, tmp_path: Path) -> None:
    starter.close()
    with pytest.raises(UnavailableError, match="being taken down"):
        starter.start("part", SLEEP, tmp_path / "log")
    assert marked(world_id) == []


def test_a_program_that_does_not_exist_is_named(starter: Starter, tmp_path: Path) -> None:
    with pytest.raises(UnavailableError, match="no-such-program"):
        starter.start("part", ["no-such-program"], tmp_path / "log")


def test_a_process_that_ended_is_not_alive_though_nobody_waited_for_it(starter: Starter, tmp_path: Path) -> None:
    record = starter.start("part", [sys.executable, "-c", "pass"], tmp_path / "log")
    deadline = time.monotonic() + 20
    while alive(record) and time.monotonic() < deadline:
        time.sleep(0.02)
    assert not alive(record)
    assert not alive(dataclasses.replace(record, pid=2**22 + 1))


@pytest.mark.parametrize("argv", [["false"], ["no-such-program"], ["sleep", "5"]])
def test_a_command_that_fails_or_hangs_says_which(argv: list[str]) -> None:
    with pytest.raises(UnavailableError, match=argv[0]):
        run(argv, timeout_s=0.3)
