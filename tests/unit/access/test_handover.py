"""A command takes a secret on its stdin, and whatever it does the secret is not lost."""

import json
import stat
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from imagepipe.access.forms import SecretForm
from imagepipe.access.handover import SecretCommand
from imagepipe.errors import InputError, PartialError
from imagepipe.events import Event, Output
from imagepipe.model.access import Robot, RobotSecret
from imagepipe.model.result import Credential

ROBOT = Robot("ci.g2", "robot$es+ci.g2", "es", frozenset(), None, disabled=False)
MADE = RobotSecret(ROBOT, "S3cret'with$odd\"chars")


@dataclass
class Taker:
    """A folder in which a script is the command; `{0}` in the script is the folder."""

    folder: Path
    told: list[Event] = field(default_factory=list)

    def command(
        self, script: str, *more: str, form: SecretForm = SecretForm.SECRET, timeout_s: float = 20.0
    ) -> SecretCommand:
        file = self.folder / "take"
        file.write_text(f"#!/bin/sh\n{script.replace('{0}', str(self.folder))}\n")
        file.chmod(0o755)
        made = SecretCommand(
            words=(str(file), *more),
            form=form,
            kept=self.folder / "kept",
            timeout_s=timeout_s,
            redact=lambda text: text.replace("hunter2", "***"),
            sink=self.told.append,
        )
        made.check()
        return made

    def read(self, name: str) -> str:
        return (self.folder / name).read_text()

    @property
    def kept(self) -> list[str]:
        return [path.name for path in (self.folder / "kept").iterdir()]


@pytest.fixture
def taker(tmp_path: Path) -> Taker:
    return Taker(tmp_path)


@pytest.mark.parametrize(
    ("form", "said"),
    [
        (SecretForm.SECRET, MADE.secret),
        (SecretForm.JSON, json.dumps({"username": ROBOT.login, "password": MADE.secret})),
        (
            SecretForm.ENV,
            "HARBOR_USERNAME='robot$es+ci.g2'\nHARBOR_PASSWORD='S3cret'\"'\"'with$odd\"chars'",
        ),
    ],
    ids=["secret", "json", "env"],  # pytest writes ids into the environment
)
def test_the_secret_is_on_stdin_alone(taker: Taker, form: SecretForm, said: str) -> None:
    script = 'cat > {0}/stdin; echo "$@" > {0}/argv; env > {0}/env'
    command = taker.command(script, "{project}/{robot}", "{login}", "{other}", form=form)
    command.deliver(MADE)
    assert taker.read("stdin") == said
    assert taker.read("argv") == "es/ci.g2 robot$es+ci.g2 {other}\n"
    assert MADE.secret not in taker.read("env")
    assert taker.kept == []
    assert command.pending(ROBOT) is None
    assert (command.readable, command.held()) == (False, None)


def test_no_shell_reads_the_words(taker: Taker) -> None:
    taker.command('echo "$1" > {0}/argv', "$(touch {0}/pwned); *").deliver(MADE)
    assert taker.read("argv") == "$(touch {0}/pwned); *\n"


@pytest.mark.parametrize(
    ("script", "said"),
    [
        (
            "cat > {0}/taken; echo one; echo 'no \x1b[31mspace'; exit 3",
            r"it ended with 3: no  \[31mspace; the",
        ),
        ("exit 3", "it ended with 3; the robot is there"),
        ("kill -9 $$", "signal 9 ended it"),
        ("echo password hunter2; exit 1", r"password \*\*\*;"),
    ],
)
def test_a_command_that_fails_loses_nothing(taker: Taker, script: str, said: str) -> None:
    command = taker.command(script)
    with pytest.raises(PartialError, match=said) as caught:
        command.deliver(MADE)
    copy = taker.folder / "kept" / "es+ci.json"
    assert str(copy) in caught.value.message
    assert "imagepipe robot rotate es ci" in str(caught.value.hint)
    assert stat.S_IMODE(copy.stat().st_mode) == 0o600
    assert stat.S_IMODE(copy.parent.stat().st_mode) == 0o700
    assert command.pending(ROBOT) == Credential(ROBOT.login, MADE.secret)
    taker.command("cat > {0}/taken").deliver(MADE)
    assert taker.read("taken") == MADE.secret
    assert taker.kept == []


def test_a_command_that_hangs_is_ended_with_all_that_it_started(taker: Taker) -> None:
    command = taker.command("sh -c 'sleep 60; touch {0}/late' & echo $! > {0}/child; wait", timeout_s=0.5)
    with pytest.raises(PartialError, match=r"did not end within 0\.5 s"):
        command.deliver(MADE)
    # Who is killed needs a moment to be gone; nobody may have collected it.
    state, deadline = Path(f"/proc/{taker.read('child').strip()}/stat"), time.monotonic() + 5
    while state.exists() and state.read_text().rpartition(")")[2].split()[0] != "Z":
        assert time.monotonic() < deadline
        time.sleep(0.01)


def test_a_command_that_leaves_a_child_behind_does_not_keep_us(taker: Taker) -> None:
    command = taker.command("sleep 5 & exit 0", timeout_s=2.0)
    command.deliver(MADE)
    assert taker.kept == []


@pytest.mark.parametrize("print_it", ["cat", "base64 -w 0"])
def test_what_it_prints_is_not_shown_when_it_holds_the_secret(taker: Taker, print_it: str) -> None:
    command = taker.command(f"echo got it:; {print_it}; echo; echo end")
    command.deliver(MADE)
    assert taker.told == [Output("deliver", ROBOT.login, "(what it printed holds the secret, and is not shown)")]
    with pytest.raises(PartialError, match="holds the secret, and is not shown") as caught:
        taker.command(f"{print_it}; exit 1").deliver(MADE)
    assert MADE.secret not in caught.value.message


def test_of_much_that_it_prints_the_end_is_told_in_whole_lines(taker: Taker) -> None:
    command = taker.command("yes 0123456789 | head -n 3000; echo done", form=SecretForm.JSON)
    command.deliver(MADE)
    lines = [event.line for event in taker.told if isinstance(event, Output)]
    assert set(lines) == {"0123456789", "done"}
    assert lines[-1] == "done"
    assert len(lines) < 1600


def test_a_command_that_is_not_there_is_known_before_there_is_a_secret(taker: Taker) -> None:
    command = SecretCommand(words=("no-such-program",), form=SecretForm.SECRET, kept=taker.folder / "kept")
    with pytest.raises(InputError, match="`no-such-program`: no such program"):
        command.check()


def test_a_folder_that_cannot_be_is_known_before_there_is_a_secret(taker: Taker) -> None:
    (taker.folder / "kept").write_text("")
    with pytest.raises(InputError, match="no folder for secrets"):
        taker.command("true")


@pytest.fixture
def unstartable(taker: Taker) -> Callable[[], SecretCommand]:
    def make() -> SecretCommand:
        command = taker.command("true")
        (taker.folder / "take").chmod(0o644)
        return command

    return make


def test_a_command_that_cannot_be_started_has_taken_nothing(
    taker: Taker, unstartable: Callable[[], SecretCommand]
) -> None:
    with pytest.raises(InputError, match="cannot be started: Permission denied"):
        unstartable().deliver(MADE)
    assert taker.kept == []


def test_what_was_kept_stays_kept_when_a_command_cannot_be_started(
    taker: Taker, unstartable: Callable[[], SecretCommand]
) -> None:
    failing = taker.command("exit 1")
    with pytest.raises(PartialError):
        failing.deliver(MADE)
    with pytest.raises(InputError, match="cannot be started"):
        unstartable().deliver(MADE)
    assert failing.pending(ROBOT) == Credential(ROBOT.login, MADE.secret)


def test_what_is_kept_of_another_generation_is_not_pending(taker: Taker) -> None:
    command = taker.command("exit 1")
    with pytest.raises(PartialError):
        command.deliver(MADE)
    older = Robot("ci", "robot$es+ci", "es", frozenset(), None, disabled=False)
    assert command.pending(older) is None
    assert str(command).startswith("`/")
