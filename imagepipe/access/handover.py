"""Hands a robot's secret to a command on its standard input, and keeps a copy until the command has taken it.

>>> str(SecretCommand(words=("vault", "kv", "put", "ci/{robot}", "-"), form=SecretForm.JSON, kept=Path("kept")))
'`vault`'
"""

import base64
import os
import shutil
import signal
import subprocess
import tempfile
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Final

from imagepipe.access.forms import SecretForm, written
from imagepipe.access.names import family_of
from imagepipe.access.secrets import SecretFile
from imagepipe.errors import InputError, PartialError
from imagepipe.events import EventSink, Output, silent
from imagepipe.model.access import Robot, RobotSecret
from imagepipe.model.result import Credential

__all__ = ["SecretCommand"]

# A command that stores one secret in another service makes a few requests; a minute is long for that.
_TIMEOUT_S: Final = 60.0
# What a command says last is what counts.
_SAID_BYTES: Final = 16 * 1024
_SAID_CHARS: Final = 300


@dataclass(frozen=True, slots=True, kw_only=True)
class SecretCommand:
    """A command that takes secrets: nothing of them is in its arguments or environment.

    The secret is written to a file of our own first and taken away once the command has ended well, so that whatever
    ends us or the command in between, the same secret can be handed over again.

    Attributes:
        words: The program and its arguments; `{project}`, `{robot}` and `{login}` in them stand for the robot's.
        form: What is on its standard input.
        kept: Our folder for secrets that are not handed over yet.
        prefix: What the two variables of the form `env` begin with.
        timeout_s: A command that takes longer is ended.
        redact: Takes other secrets out of what the command prints.
        sink: Hears what it prints.
    """

    words: tuple[str, ...]
    form: SecretForm
    kept: Path
    prefix: str = "HARBOR"
    timeout_s: float = _TIMEOUT_S
    redact: Callable[[str], str] = str
    sink: EventSink = silent

    def __str__(self) -> str:
        # Arguments may be long.
        return f"`{self.words[0]}`"

    @property
    def readable(self) -> bool:
        """False: nobody can ask a command for what it was given."""
        return False

    def check(self) -> None:
        """Returns when the command is there, and what it fails to take can be kept.

        Raises:
            InputError: It is not, or cannot.
        """
        if shutil.which(self.words[0]) is None:
            raise InputError(f"{self}: no such program", hint="give a program on PATH, or its whole path")
        try:
            self.kept.mkdir(mode=0o700, parents=True, exist_ok=True)
        except OSError as error:
            raise InputError(
                f"{self.kept}: no folder for secrets: {error.strerror}",
                hint="let XDG_STATE_HOME name a folder that can be written",
            ) from error
        self._copy("project", "robot").check()

    def deliver(self, made: RobotSecret) -> None:
        """Hands a robot's secret over.

        Raises:
            InputError: The command cannot be started; nobody has the secret.
            PartialError: It was started and failed: it may have the secret or not. The robot stays, and its secret is
                kept to be handed over again.
        """
        copy, again = self._copy(made.robot.project, made.robot.name), self.pending(made.robot)
        copy.deliver(made)
        with tempfile.TemporaryFile() as printed:
            try:
                failure = self._run(made, printed)
            except OSError as error:
                if again is None:
                    copy.path.unlink()
                raise InputError(
                    f"{self}: cannot be started: {error.strerror}", hint="give a program that you may run"
                ) from error
            said = self._said(printed, made)
        if failure:
            robot, where = made.robot, made.robot.project or "/"
            raise PartialError(
                f"hand the secret of {robot.login} to {self}: {failure}{f': {said[-1]}' if said else ''}; "
                f"the robot is there, and its secret is kept in {copy}",
                hint=f"repair the command, then run `imagepipe robot rotate {where} {family_of(robot.name)[0]}` "
                "with it: that hands the same secret over",
            )
        copy.path.unlink()
        for line in said:
            self.sink(Output("deliver", made.robot.login, line))

    def held(self) -> Credential | None:
        """Returns None: see `readable`."""

    def pending(self, robot: Robot) -> Credential | None:
        """Returns what is kept of a robot because the command has not taken it yet."""
        found = self._copy(robot.project, robot.name).held()
        return found if found is not None and found.username == robot.login else None

    def _copy(self, project: str | None, robot: str) -> SecretFile:
        return SecretFile(self.kept / f"{project or ''}+{family_of(robot)[0]}.json", SecretForm.JSON)

    def _run(self, made: RobotSecret, printed: IO[bytes]) -> str:
        """Runs the command to its end and returns how it failed, or nothing."""
        # What it prints goes to a file: a child that it leaves behind cannot keep us waiting for a pipe's end.
        child = subprocess.Popen(
            [_filled(word, made.robot) for word in self.words],
            stdin=subprocess.PIPE,
            stdout=printed,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
        with child:
            try:
                child.communicate(written(made, self.form, self.prefix).encode(), timeout=self.timeout_s)
            except subprocess.TimeoutExpired:
                return f"it did not end within {self.timeout_s:g} s"
            finally:
                if child.poll() is None:
                    with suppress(ProcessLookupError):
                        os.killpg(child.pid, signal.SIGKILL)
        code = child.returncode
        return f"it ended with {code}" if code > 0 else f"signal {-code} ended it" if code else ""

    def _said(self, printed: IO[bytes], made: RobotSecret) -> list[str]:
        """Returns the last lines that the command printed; nothing of what holds the secret."""
        start = printed.seek(max(0, printed.seek(0, os.SEEK_END) - _SAID_BYTES))
        text = printed.read().decode(errors="replace")
        if start:
            # Half a line may hold half a secret.
            text = text.partition("\n")[2]
        encoded = base64.b64encode(made.secret.encode()).decode().rstrip("=")
        if made.secret in text or encoded in text:
            return ["(what it printed holds the secret, and is not shown)"]
        lines = ("".join(char if char.isprintable() else " " for char in line).strip() for line in text.splitlines())
        return [self.redact(line)[:_SAID_CHARS] for line in lines if line]


def _filled(word: str, robot: Robot) -> str:
    """Returns a word of the command with its placeholders filled; other braces are its own business."""
    for name, value in (("project", robot.project or ""), ("robot", robot.name), ("login", robot.login)):
        word = word.replace(f"{{{name}}}", value)
    return word
