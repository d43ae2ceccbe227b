"""Files that robots' secrets are delivered to: for their owner's eyes only, and never half written.

>>> SecretFile.at(Path("ci.env")).form
<SecretForm.ENV: 'env'>
"""

import json
import os
import shlex
from contextlib import suppress
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import Final

from imagepipe.access.names import family_of
from imagepipe.errors import InputError
from imagepipe.model.access import RobotSecret
from imagepipe.model.result import Credential

__all__ = ["SecretFile", "SecretFolder", "SecretForm", "nowhere"]

_NAME: Final = "HARBOR_USERNAME"
_PASSWORD: Final = "HARBOR_PASSWORD"  # noqa: S105 - the name of a variable
# A name and a secret take some 200 bytes.
_MOST_BYTES: Final = 64 * 1024


class SecretForm(StrEnum):
    """How a secret is written.

    `env` is for a shell (`. ci.env`) and our own variables; `json` has username and password; `secret` is the secret
    alone, as a password file.
    """

    ENV = "env"
    JSON = "json"
    SECRET = "secret"  # noqa: S105 - the name of a form


@dataclass(frozen=True, slots=True)
class SecretFile:
    """One file for one robot.

    Attributes:
        path: Where; replaced whole, mode 0600.
        form: How.
    """

    path: Path
    form: SecretForm

    @classmethod
    def at(cls, path: Path) -> "SecretFile":
        """Returns the file, its form told by its name: `.env`, `.json`, else the secret alone."""
        known = {".env": SecretForm.ENV, ".json": SecretForm.JSON}
        return cls(path, known.get(path.suffix, SecretForm.SECRET))

    def check(self) -> None:
        """Returns when the file can be written: better known before a secret is made than after.

        Raises:
            InputError: It cannot.
        """
        try:
            if self.path.is_dir():
                raise IsADirectoryError(21, "it is a folder")
            self._beside(b"").unlink()
        except OSError as error:
            raise self._unwritable(error) from error

    def deliver(self, made: RobotSecret) -> None:
        """Writes a robot's login and secret.

        Raises:
            InputError: The file cannot be written.
        """
        try:
            self._beside(self._content(made.robot.login, made.secret).encode()).replace(self.path)
        except OSError as error:
            raise self._unwritable(error) from error

    def held(self) -> Credential | None:
        """Returns what the file holds, the name empty where the form has none; None for nothing that we wrote."""
        try:
            text = self.path.read_bytes()[:_MOST_BYTES].decode()
        except (OSError, UnicodeDecodeError):
            return None
        match self.form:
            case SecretForm.JSON:
                return _from_json(text)
            case SecretForm.ENV:
                return _from_env(text)
            case _:
                return Credential("", text.strip()) if text.strip() else None

    def _content(self, login: str, secret: str) -> str:
        match self.form:
            case SecretForm.JSON:
                return json.dumps({"username": login, "password": secret}) + "\n"
            case SecretForm.ENV:
                return f"{_NAME}={shlex.quote(login)}\n{_PASSWORD}={shlex.quote(secret)}\n"
            case _:
                return f"{secret}\n"

    def _beside(self, content: bytes) -> Path:
        """Returns a new file beside this one, complete, on disk and for its owner only."""
        made = self.path.with_name(f".{self.path.name}.{os.getpid()}.new")
        with suppress(FileNotFoundError):
            made.unlink()
        handle = os.open(made, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW, 0o600)
        with os.fdopen(handle, "wb") as stream:
            stream.write(content)
            stream.flush()
            os.fsync(stream.fileno())
        return made

    def _unwritable(self, error: OSError) -> InputError:
        return InputError(
            f"{self.path}: the secret cannot be written there: {error.strerror}",
            hint="name a file in a folder that is there and that you may write to",
        )


@dataclass(frozen=True, slots=True)
class SecretFolder:
    """A folder with one file per robot, `<project>+<robot>.env`, whatever the robot's generation."""

    path: Path

    def check(self) -> None:
        """Returns when files can be written there; makes the folder, for its owner only.

        Raises:
            InputError: They cannot.
        """
        try:
            self.path.mkdir(mode=0o700, parents=True, exist_ok=True)
        except OSError as error:
            raise InputError(
                f"{self.path}: no folder for secrets: {error.strerror}", hint="name another folder"
            ) from error
        self.file("project", "robot").check()

    def file(self, project: str, robot: str) -> SecretFile:
        """Returns the file of a robot."""
        return SecretFile.at(self.path / f"{project}+{family_of(robot)[0]}.env")

    def deliver(self, made: RobotSecret) -> None:
        """Writes a robot's login and secret into its file."""
        self.file(made.robot.project or "", made.robot.name).deliver(made)


def nowhere(made: RobotSecret) -> None:
    """Takes a secret to no file: there is none to take, or somebody wants to see it."""
    del made


def _from_json(text: str) -> Credential | None:
    try:
        data = json.loads(text)
        return Credential(str(data["username"]), str(data["password"]))
    except (ValueError, KeyError, TypeError):
        return None


def _from_env(text: str) -> Credential | None:
    try:
        words = [word.partition("=") for word in shlex.split(text)]
    except ValueError:
        return None
    held = {key: value for key, _, value in words}
    return Credential(held[_NAME], held[_PASSWORD]) if {_NAME, _PASSWORD} <= set(held) else None
