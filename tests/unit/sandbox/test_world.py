"""What the sandbox answers before anything runs, and what it refuses to touch."""

import json
import os
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from imagepipe.errors import NotFoundError, SettingsError, UnavailableError, UsageError
from imagepipe.sandbox import seed, teardown
from imagepipe.sandbox.layout import Layout
from imagepipe.sandbox.probing import failure, wait_for, wait_listening
from imagepipe.sandbox.processes import start_time
from imagepipe.sandbox.state import ProcessRecord, Record, State
from imagepipe.sandbox.world import Options, World


@pytest.fixture
def box() -> Iterator[Path]:
    with tempfile.TemporaryDirectory(prefix="ipu-", dir="/tmp") as folder:
        yield Path(folder) / "deep" / "box"


def crashed(box: Path, *, made: tuple[str, ...] = ()) -> Layout:
    """Returns a sandbox whose owner died early: a record, a log, no process."""
    layout = Layout.at(box)
    Record(layout.state_file, State(layout.world_id, "harbor", "own", "starting", made_directories=made))
    layout.log("harbor").parent.mkdir()
    layout.log("harbor").write_text("hello\n")
    return layout


@pytest.mark.parametrize("options", [{"flavour": "quay"}, {"engine": "podman"}])
def test_an_option_out_of_range_is_a_usage_error_that_names_the_choices(options: dict[str, str]) -> None:
    with pytest.raises(UsageError, match="is not one of"):
        Options(**options)  # type: ignore[arg-type]  # the parameters are texts, never the directory


def test_where_nothing_is_the_answer_is_down_and_nothing_is_made(box: Path) -> None:
    world = World.load(box)
    assert world.status() == {"schema": "imagepipe.sandbox/v1", "state": "down", "dir": str(box)}
    assert world.down() is False
    assert not box.parent.exists()


def test_the_environment_of_a_sandbox_that_is_not_up_is_refused_with_what_to_do(box: Path) -> None:
    with pytest.raises(NotFoundError) as caught:
        World.load(box).environment()
    assert "sandbox up" in str(caught.value.hint)


def test_a_directory_that_holds_something_else_is_never_cleared(box: Path) -> None:
    box.mkdir(parents=True)
    (box / "thesis.tex").write_text("years of work")
    for act in (World.load(box).down, lambda: World.up(Options(box))):
        with pytest.raises(SettingsError, match="holds something else"):
            act()
    assert (box / "thesis.tex").read_text() == "years of work"


@pytest.mark.parametrize("doing", ["up", "down"])
def test_a_directory_that_cannot_be_is_told_with_the_systems_words(box: Path, doing: str) -> None:
    box.parent.mkdir()
    box.write_text("a file")
    world = World.load(box / "below")

    with pytest.raises(SettingsError, match=f"sandbox {doing} in {box}/below: Not a directory: {box}/below") as caught:
        world.down() if doing == "down" else world.start(Options(box / "below", engine="none"))

    assert caught.value.hint == "make room or give a right there, or choose another directory"
    assert box.read_text() == "a file"


def test_a_machine_that_lacks_something_is_told_before_anything_is_made(
    box: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", "/nowhere")
    with pytest.raises(SettingsError, match="dockerd"):
        World.up(Options(box))
    assert not box.exists()


def test_what_a_crash_left_is_told_and_goes_down(box: Path) -> None:
    layout = crashed(box)
    world = World.load(box)
    assert world.status()["state"] == "starting"
    assert world.logs("harbor") == "hello\n"
    assert world.down() is True
    assert not layout.directory.exists()


def test_folders_above_it_that_up_had_made_go_with_it_unless_somebody_else_uses_them(box: Path) -> None:
    shared = box.parent / "shared"
    layout = crashed(shared / "box", made=(str(shared), str(box.parent)))
    (box.parent / "other").touch()
    teardown.remove(layout)
    assert not shared.exists()
    assert (box.parent / "other").exists()


def test_a_log_that_is_not_there_is_named_with_those_that_are(box: Path) -> None:
    crashed(box)
    with pytest.raises(NotFoundError) as caught:
        World.load(box).logs("nginx")
    assert "harbor" in str(caught.value.hint)


def test_a_process_that_ended_is_reported_with_the_end_of_its_log(tmp_path: Path) -> None:
    (tmp_path / "log").write_text("".join(f"line {number}\n" for number in range(50)))
    gone = ProcessRecord("harbor", 2**22 + 1, 1, (), str(tmp_path / "log"))
    with pytest.raises(UnavailableError) as caught:
        wait_for(gone, "http://127.0.0.1:9/", timeout_s=5)
    assert "start harbor" in caught.value.message
    assert "line 49" in caught.value.message
    assert "line 40" not in caught.value.message
    with pytest.raises(UnavailableError, match="line 49"):
        wait_listening(gone, 9, timeout_s=5)
    assert "has ended" in failure(gone, "gone").message


def test_a_process_that_does_not_answer_in_time_is_reported(tmp_path: Path) -> None:
    here = ProcessRecord("harbor", os.getpid(), start_time(os.getpid()) or 0, (), str(tmp_path / "none"))
    with pytest.raises(UnavailableError, match="Connection refused"):
        wait_for(here, "http://127.0.0.1:9/", timeout_s=0.2)
    with pytest.raises(UnavailableError, match="nothing listens"):
        wait_listening(here, 9, timeout_s=0.2)


def test_passwords_are_what_harbor_accepts_and_never_twice_the_same() -> None:
    passwords = {seed.generate_password() for _ in range(50)}
    assert len(passwords) == 50
    for password in passwords:
        assert 8 <= len(password) <= 128
        assert any(c.isupper() for c in password)
        assert any(c.islower() for c in password)
        assert any(c.isdigit() for c in password)


def test_the_scripts_are_valid_shell() -> None:
    scripts = Path(__file__).parents[3] / ".ci"
    for script in sorted(scripts.iterdir()):
        assert os.access(script, os.X_OK), script
        subprocess.run(["sh", "-n", str(script)], check=True, timeout=10)


def test_the_document_of_a_crash_is_json(box: Path) -> None:
    crashed(box)
    assert json.loads(json.dumps(World.load(box).status()))["schema"] == "imagepipe.sandbox/v1"
