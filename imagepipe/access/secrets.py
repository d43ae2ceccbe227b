"""Files that robots' secrets are delivered to: for their owner's eyes only, and never half written.

>>> SecretFile.at(Path(".env")).form
<SecretForm.ENV: 'env'>
"""

import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from imagepipe.access.forms import PREFIX, SecretForm, from_env, from_json, is_secret, merged, variables, written
from imagepipe.access.names import family_of
from imagepipe.errors import ImagepipeError, InputError
from imagepipe.model.access import Robot, RobotRequest, RobotSecret
from imagepipe.model.result import Credential

__all__ = ["SecretFile", "SecretFolder", "nowhere"]

_MARK: Final = ".begun"
# A name and a secret take some 200 bytes; an environment file is written by people.
_MOST_BYTES: Final = 64 * 1024


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
    prefix: str = PREFIX

    @classmethod
    def at(cls, path: Path, prefix: str = PREFIX) -> "SecretFile":
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
            InputError: The file cannot be written, or holds the secret of another robot, whose user would lose it.
        """
        try:
            self._check_kind()
            self._check_own()
            self._check_robot(made.robot)
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
                return from_json(text)
            case SecretForm.ENV:
                return from_env(text, self.prefix)
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
        if content.strip() and not is_secret(content, self.form):
            raise InputError(
                f"{self.path}: it holds something that is no robot's secret, and would be gone",
                hint="name another file, or empty this one",
            )

    def _check_robot(self, robot: Robot) -> None:
        held = self.held()
        if held is not None and _is_other(held.username, robot):
            raise InputError(
                f"{self.path}: it holds the secret of {held.username}, which would be gone",
                hint="name another file, or take that one's login out of this one",
            )

    def _content(self, made: RobotSecret) -> str:
        if self.form is SecretForm.ENV:
            return merged(self._others(), variables(made, self.prefix))
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


def _is_other(login: str, robot: Robot) -> bool:
    """Tells whether a login is that of another robot; whoever moves from a user to a robot moves on purpose."""
    own = f"{robot.project}+{robot.name}" if robot.project else robot.name
    prefix = robot.login.removesuffix(own)
    of_robot = bool(prefix) and login.startswith(prefix)
    return of_robot and family_of(login.removeprefix(prefix))[0] != family_of(own)[0]


@contextmanager
def _alone(folder: Path) -> Iterator[None]:
    """Lets one process at a time change files in a folder: two may write robots into the same environment file."""
    handle = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        fcntl.flock(handle, fcntl.LOCK_EX)
        yield
    finally:
        os.close(handle)
