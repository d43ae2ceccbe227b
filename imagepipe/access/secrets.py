"""Files that robots' secrets are delivered to: for their owner's eyes only, and never half written.

>>> SecretFile.at(Path(".env")).form
<SecretForm.ENV: 'env'>
"""

import fcntl
import json
import os
import re
import shlex
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import Final

from imagepipe.access.names import family_of
from imagepipe.errors import ImagepipeError, InputError
from imagepipe.model.access import Robot, RobotRequest, RobotSecret
from imagepipe.model.received import json_in
from imagepipe.model.result import Credential

__all__ = ["SecretFile", "SecretFolder", "SecretForm", "nowhere", "written"]

# Our own variables, HARBOR_USERNAME and HARBOR_PASSWORD, begin so.
_PREFIX: Final = "HARBOR"
_MARK: Final = ".begun"
# A name and a secret take some 200 bytes; an environment file is written by people.
_MOST_BYTES: Final = 64 * 1024
# A name of at most 255 characters and what is round it, with a secret of at most 128 characters.
# Source: goharbor/harbor v2.15.2 src/server/v2.0/handler/robot.go, src/pkg/robot (secret: 8 to 128 characters)
_LONGEST_SECRET_BYTES: Final = 4096
# Source: POSIX.1-2017 XCU 2.9.1 (assignments), 2.14 export
_ASSIGNMENT: Final = re.compile(r"(?P<lead>\s*(?:export\s+)?)(?P<name>[A-Za-z_][A-Za-z0-9_]*)=(?P<value>.*)")


class SecretForm(StrEnum):
    """How a secret is written.

    `env` is for a shell (`. ci.env`) and our own variables; `json` has username and password; `secret` is the secret
    alone, as in a password file.
    """

    ENV = "env"
    JSON = "json"
    SECRET = "secret"  # noqa: S105 - the name of a form


@dataclass(frozen=True, slots=True)
class SecretFile:
    """One file for one robot; an environment file may hold more, which is kept.

    Attributes:
        path: Where; replaced whole, mode 0600.
        form: How.
        prefix: What the two variables of an environment file begin with.
    """

    path: Path
    form: SecretForm
    prefix: str = _PREFIX

    @classmethod
    def at(cls, path: Path, prefix: str = _PREFIX) -> "SecretFile":
        """Returns the file, its form told by its name: `.env`, `.json`, else the secret alone."""
        known = {".env": SecretForm.ENV, ".json": SecretForm.JSON}
        return cls(path, known.get(path.suffix or path.name, SecretForm.SECRET), prefix)

    def __str__(self) -> str:
        return str(self.path)

    @property
    def readable(self) -> bool:
        """True: what it holds can be looked at."""
        return True

    def check(self) -> None:
        """Returns when the file can be written: better known before a secret is made than after.

        Raises:
            InputError: It cannot.
        """
        try:
            self._check_kind()
            self._check_own()
            self._others()
            self._beside(b"").unlink()
        except OSError as error:
            raise _unwritable(self.path, error) from error

    def deliver(self, made: RobotSecret) -> None:
        """Writes a robot's login and secret; other lines of an environment file stay as they are.

        Raises:
            InputError: The file cannot be written.
        """
        try:
            self._check_kind()
            self._check_own()
            with _alone(self.path.parent):
                self._beside(self._content(made).encode()).replace(self.path)
        except OSError as error:
            raise _unwritable(self.path, error) from error

    def held(self) -> Credential | None:
        """Returns what the file holds, the name empty where the form has none; None for nothing that we wrote."""
        try:
            self._check_kind()
            text = self.path.read_bytes()[:_MOST_BYTES].decode()
        except (OSError, UnicodeDecodeError):
            return None
        match self.form:
            case SecretForm.JSON:
                return _from_json(text)
            case SecretForm.ENV:
                return _from_env(text, self.prefix)
            case _:
                return Credential("", text.strip()) if text.strip() else None

    def pending(self, robot: Robot) -> Credential | None:
        """Returns None: what is written is delivered."""
        del robot
        return None

    def _check_kind(self) -> None:
        """Returns when there is a file, or nothing: anything else would be gone once a file is in its place.

        Raises:
            OSError: There is something else. Whoever reads a link's target would go on with the old secret, and a
                root that gives /dev/null would have no /dev/null any more.
        """
        if self.path.is_symlink():
            raise OSError(0, f"it is a link to {self.path.readlink()}")
        if self.path.is_dir():
            raise OSError(0, "it is a folder")
        if self.path.exists() and not self.path.is_file():
            raise OSError(0, "it is no file, but a device or a pipe")

    def _check_own(self) -> None:
        """Returns when the file holds nothing, or what a robot's secret may take the place of.

        Raises:
            InputError: It holds something else, which would be gone: Docker's config.json, or somebody's key.
            OSError: It cannot be read.
        """
        if self.form is SecretForm.ENV or not self.path.exists():
            return
        content = self.path.read_bytes()
        if content.strip() and not _is_secret(content, self.form):
            raise InputError(
                f"{self.path}: it holds something that is no robot's secret, and would be gone",
                hint="name another file, or empty this one",
            )

    def _content(self, made: RobotSecret) -> str:
        if self.form is SecretForm.ENV:
            return _merged(self._others(), _variables(made, self.prefix))
        return written(made, self.form) + "\n"

    def _others(self) -> str:
        """Returns what an environment file holds already.

        Raises:
            OSError: It cannot be read, or is no text: it is not ours to replace.
        """
        if self.form is not SecretForm.ENV or not self.path.exists():
            return ""
        content = self.path.read_bytes()
        try:
            text = content.decode()
        except UnicodeDecodeError as error:
            raise OSError(0, "it holds something that is no text") from error
        if len(content) > _MOST_BYTES:
            raise OSError(0, f"it is larger than {_MOST_BYTES} bytes")
        return text

    def _beside(self, content: bytes) -> Path:
        """Returns a new file beside this one, complete, on disk and for its owner only."""
        made = self.path.with_name(f".{self.path.name}.{os.getpid()}.new")
        with suppress(FileNotFoundError):
            made.unlink()
        handle = os.open(made, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW, 0o600)
        try:
            with os.fdopen(handle, "wb") as stream:
                stream.write(content)
                stream.flush()
                os.fsync(stream.fileno())
        except BaseException:
            # Half a secret on a full disk is nobody's.
            made.unlink()
            raise
        return made


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

    @contextmanager
    def making(self, request: RobotRequest) -> Iterator[RobotRequest]:
        """Leaves a mark for a robot that is being made if we die meanwhile: Harbor tells a secret only once.

        Raises:
            InputError: The mark cannot be written.
        """
        mark = self.path / f".{request.project or ''}+{request.name}{_MARK}"
        try:
            mark.touch(mode=0o600)
        except OSError as error:
            raise _unwritable(mark, error) from error
        try:
            yield request
        except ImagepipeError:
            # Whatever it was, nobody died: a robot without a secret is deleted again.
            mark.unlink(missing_ok=True)
            raise
        mark.unlink(missing_ok=True)

    def unfinished(self) -> tuple[tuple[str, str], ...]:
        """Returns project and name of robots that a run that died may have made, and whose secret is not here."""
        found: list[tuple[str, str]] = []
        for mark in sorted(self.path.glob(f".*+*{_MARK}")):
            project, _, name = mark.name[1:].removesuffix(_MARK).partition("+")
            held = self.file(project, name).held()
            if held is not None and family_of(held.username.rpartition("+")[2]) >= family_of(name):
                mark.unlink()
            else:
                found.append((project, name))
        return tuple(found)


def _unwritable(path: Path, error: OSError) -> InputError:
    return InputError(
        f"{path}: the secret cannot be written there: {error.strerror}",
        hint="name a file in a folder that is there and that you may write to",
    )


def nowhere(made: RobotSecret) -> None:
    """Takes a secret to no file: there is none to take, or somebody wants to see it."""
    del made


def _is_secret(content: bytes, form: SecretForm) -> bool:
    """Tells whether it looks like what we write: a secret alone is one word."""
    if len(content) > _LONGEST_SECRET_BYTES:
        return False
    if form is SecretForm.SECRET:
        return len(content.split()) == 1
    try:
        data = json_in(content)
    except ValueError:
        return False
    return isinstance(data, dict) and data.keys() == {"username", "password"}


def _from_json(text: str) -> Credential | None:
    try:
        data = json.loads(text)
        return Credential(str(data["username"]), str(data["password"]))
    except (ValueError, KeyError, TypeError):
        return None


def written(made: RobotSecret, form: SecretForm, prefix: str = _PREFIX) -> str:
    """Returns a robot's login and secret in one form, without a line break at the end."""
    match form:
        case SecretForm.JSON:
            return json.dumps({"username": made.robot.login, "password": made.secret})
        case SecretForm.ENV:
            return _merged("", _variables(made, prefix)).rstrip("\n")
        case _:
            return made.secret


def _variables(made: RobotSecret, prefix: str) -> dict[str, str]:
    return {f"{prefix}_USERNAME": made.robot.login, f"{prefix}_PASSWORD": made.secret}


def _merged(text: str, values: Mapping[str, str]) -> str:
    """Returns a shell's assignments with these values in place; every other line stays as it is."""
    left, lines = dict(values), []
    for line in text.removesuffix("\n").split("\n") if text else ():
        found = _ASSIGNMENT.fullmatch(line)
        if found is None or found["name"] not in values:
            lines.append(line)
        elif found["name"] in left:
            name = found["name"]
            lines.append(f"{found['lead']}{name}={shlex.quote(left.pop(name))}")
    lines += [f"{name}={shlex.quote(value)}" for name, value in left.items()]
    return "".join(f"{line}\n" for line in lines)


def _from_env(text: str, prefix: str) -> Credential | None:
    held: dict[str, str] = {}
    for line in text.split("\n"):
        found = _ASSIGNMENT.fullmatch(line)
        with suppress(ValueError):
            words = shlex.split(found["value"]) if found else ()
            if found and len(words) == 1:
                held[found["name"]] = words[0]
    name, password = held.get(f"{prefix}_USERNAME"), held.get(f"{prefix}_PASSWORD")
    return Credential(name, password) if name and password else None


@contextmanager
def _alone(folder: Path) -> Iterator[None]:
    """Lets one process at a time change files in a folder: two may write robots into the same environment file."""
    handle = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        fcntl.flock(handle, fcntl.LOCK_EX)
        yield
    finally:
        os.close(handle)
