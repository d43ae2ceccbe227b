"""What is written is what is read, nobody else may read it, and one owner holds it."""

import dataclasses
import json
import stat
import subprocess
import sys
from pathlib import Path

import pytest

from imagepipe.errors import InputError, UnavailableError
from imagepipe.sandbox.state import ProcessRecord, Record, State, locked, write_private

ENGINE = ProcessRecord("build", 42, 4200, ("dockerd", "--debug"), "/logs/build.log")
STATE = State("abc123", "harbor", "own", "up", 7, ("n",), ("l",), (ENGINE,), {"registry": "h:1"}, {"ci": "r"}, ("/d",))


def test_a_state_survives_being_written_and_read(tmp_path: Path) -> None:
    Record(tmp_path / "state.json", STATE)
    assert Record.read(tmp_path / "state.json") == STATE


def test_no_file_is_no_state(tmp_path: Path) -> None:
    assert Record.read(tmp_path / "nothing" / "state.json") is None


@pytest.mark.parametrize("text", ["", "{", "[]x", '{"schema": "imagepipe.sandbox.state/v9"}'])
def test_a_file_that_is_no_state_is_named(tmp_path: Path, text: str) -> None:
    (tmp_path / "state.json").write_text(text)
    with pytest.raises(InputError, match="state"):
        Record.read(tmp_path / "state.json")


def test_a_state_with_a_field_too_many_or_too_few_is_refused() -> None:
    with pytest.raises(InputError):
        State.of({**STATE.plain(), "surplus": 1})
    with pytest.raises(InputError):
        State.of({key: value for key, value in STATE.plain().items() if key != "processes"})


def test_a_started_process_is_on_disk_at_once_and_replaces_its_namesake(tmp_path: Path) -> None:
    record = Record(tmp_path / "state.json", dataclasses.replace(STATE, processes=()))
    record.add_process(ENGINE)
    record.add_process(dataclasses.replace(ENGINE, pid=43))
    read = Record.read(tmp_path / "state.json")
    assert read is not None
    assert [process.pid for process in read.processes] == [43]


def test_files_are_private_and_nothing_is_left_beside_them(tmp_path: Path) -> None:
    write_private(tmp_path / "new" / "secret", "s")
    assert stat.S_IMODE((tmp_path / "new" / "secret").stat().st_mode) == 0o600
    assert stat.S_IMODE((tmp_path / "new").stat().st_mode) == 0o700
    assert [path.name for path in (tmp_path / "new").iterdir()] == ["secret"]


def test_a_second_owner_is_refused_while_the_first_lives(tmp_path: Path) -> None:
    with locked(tmp_path / "box"), pytest.raises(UnavailableError, match="another process"), locked(tmp_path / "box"):
        pass
    with locked(tmp_path / "box"):
        pass


def test_the_lock_of_a_killed_owner_is_free(tmp_path: Path) -> None:
    script = (
        "import os, sys; from pathlib import Path; from imagepipe.sandbox.state import locked\n"
        "with locked(Path(sys.argv[1])): os.kill(os.getpid(), 9)"
    )
    done = subprocess.run([sys.executable, "-c", script, str(tmp_path / "box")], timeout=30, check=False)
    assert done.returncode == -9
    with locked(tmp_path / "box"):
        pass


def test_a_lock_on_a_directory_that_was_removed_meanwhile_is_not_taken_for_the_new_one(tmp_path: Path) -> None:
    with locked(tmp_path / "box"):
        (tmp_path / "box").rmdir()
        with locked(tmp_path / "box"):
            assert (tmp_path / "box").is_dir()


def test_the_state_is_plain_json() -> None:
    assert State.of(json.loads(json.dumps(STATE.plain()))) == STATE
