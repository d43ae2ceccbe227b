"""Asks `git` what is checked out and what changed; never writes, never fetches, never prompts.

>>> Git().revision(Path("/"))
"""

import os
import re
import subprocess
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Final
from urllib.parse import urlsplit, urlunsplit

from imagepipe.errors import DeadlineError, InputError, NotFoundError
from imagepipe.events import EventSink, Warned, silent
from imagepipe.model.result import SourceRevision

__all__ = ["Git", "without_credentials"]

# A status of a very large work tree on a slow disk takes tens of seconds.
_TIMEOUT_S: Final = 60.0
_TOP: Final = ("rev-parse", "--show-toplevel")
_OPTIONS: Final = (
    # CI checks out as one user and builds as another. Source: git-config(1) safe.directory.
    *("-c", "safe.directory=*"),
    # With that guard off, a checkout must not name programs for git to run.
    *("-c", "core.fsmonitor=false", "-c", "core.hooksPath=/dev/null"),
    *("-c", "core.quotePath=false", "-c", "status.relativePaths=false"),
)
# Set by git in its own hooks, where they would name another work tree than the path. Source: git(1) "ENVIRONMENT".
_INHERITED: Final = ("GIT_DIR", "GIT_WORK_TREE", "GIT_INDEX_FILE", "GIT_PREFIX", "GIT_COMMON_DIR", "GIT_NAMESPACE")


@dataclass(frozen=True, slots=True)
class Git:
    """The port `SourceControl` by the `git` on PATH.

    Attributes:
        program: The program's name or path.
        timeout_s: Longest time for one call, in seconds.
        branch_of: Tells the branch of a commit where none is checked out: CI systems check out a commit.
        events: Where warnings go, each once for a work tree.
    """

    program: str = "git"
    timeout_s: float = _TIMEOUT_S
    branch_of: Callable[[str], str | None] = lambda _: None
    events: EventSink = silent
    _told: set[str] = field(default_factory=set, init=False, repr=False, compare=False)

    def revision(self, path: Path) -> SourceRevision | None:
        """Returns where the work tree round `path` stands; None outside one, without git, or before the first commit.

        Raises:
            DeadlineError: git did not answer in time.
        """
        root = self._root(path)
        if root is None:
            self._miss(path)
            return None
        head = self._ask(root, "show", "--no-patch", "--no-show-signature", "--format=%H %ct", "HEAD")
        if head is None:
            return None
        commit, seconds = head.split()
        version = self._ask(root, "describe", "--tags", "--always") or commit[:7]
        if commit.startswith(version) and self._ask(root, "rev-parse", "--is-shallow-repository") == "true":
            # GitHub and GitLab clone so where nobody says otherwise.
            self._warn(
                root,
                f"a shallow clone without tags: its version is {version}, where another clone may know a tag; "
                "fetch history and tags (fetch-depth: 0, GIT_DEPTH: 0), or all that names the version differs",
            )
        url = self._ask(root, "config", "--get", "remote.origin.url")
        return SourceRevision(
            url=without_credentials(url) or None if url else None,
            commit=commit,
            committed_at=datetime.fromtimestamp(int(seconds), UTC).strftime("%Y-%m-%dT%H:%M:%SZ"),
            branch=self._ask(root, "symbolic-ref", "--short", "--quiet", "HEAD") or self.branch_of(commit),
            version=re.sub(r"^v(?=\d)", "", version),
            # What git cannot tell, because its index is broken or not ours to read, is not vouched for as clean.
            dirty=self._ask(root, "status", "--porcelain", "--untracked-files=normal") != "",
            root=root,
        )

    def commit(self, path: Path) -> str | None:
        """Returns the commit that is checked out round `path` now; None outside a work tree, or before the first.

        Raises:
            DeadlineError: git did not answer in time.
        """
        return self._ask(path if path.is_dir() else path.parent, "rev-parse", "--verify", "--quiet", "HEAD")

    def changed_since(
        self, path: Path, revision: str, *, globs: Sequence[str] = (), places: Sequence[Path] = ()
    ) -> tuple[str, ...]:
        """Returns the files changed since a revision, uncommitted and untracked ones too, relative to the root, sorted.

        A renamed file counts under both names; an ignored one does not count.

        Args:
            path: Where in the work tree we are.
            revision: What it is held against.
            globs: Which files count, relative to `path`; `**` stands for any folders, and a folder for all in it.
            places: Files and folders that count, absolute. Without globs and places all of the work tree does.

        Raises:
            NotFoundError: The revision is unknown, or `path` is in no work tree.
            InputError: git cannot compare them: a glob leads out of the work tree, for instance.
            DeadlineError: git did not answer in time.
        """
        root = self._root(path)
        if root is None:
            raise NotFoundError(
                f"{path}: not in a git work tree", hint="run inside a checkout, without --changed-since"
            )
        commit = self._ask(root, "rev-parse", "--verify", "--quiet", "--end-of-options", f"{revision}^{{commit}}")
        if commit is None:
            raise NotFoundError(
                f"revision {revision!r} is unknown in {root}",
                hint="correct it, or fetch more history (a shallow clone has only the last commits)",
            )
        # Source: gitglossary(7) "pathspec"
        only = [*(f":(glob){glob}" for glob in globs), *(f":(literal){place}" for place in places)] or [":/"]
        folder, options = path if path.is_dir() else path.parent, ("--no-renames", "--no-relative", "--no-ext-diff")
        changed = self._ask(folder, "diff", "--name-only", *options, "-z", commit, "--", *only)
        untracked = self._ask(folder, "ls-files", "--others", "--exclude-standard", "--full-name", "-z", "--", *only)
        if changed is None or untracked is None:
            what = f"{', '.join(globs)} in {folder}" if globs else str(root)
            raise InputError(f"git cannot compare {what} with {revision!r}", hint="run git diff there to see why")
        return tuple(sorted({name for name in f"{changed}\0{untracked}".split("\0") if name}))

    def _root(self, path: Path) -> Path | None:
        top = self._ask(path if path.is_dir() else path.parent, *_TOP)
        return Path(top) if top else None

    def _miss(self, path: Path) -> None:
        """Tells why nothing is known of a work tree: there is no git, git must not look, or a part of it is gone."""
        root = next((one for one in (path, *path.parents) if _is_there(one / ".git")), None)
        if root is not None:
            done = self._run(path, *_TOP)
            said = "there is no git to ask" if done is None else os.fsdecode(done.stderr).strip()
            self._warn(root, f"neither labels nor provenance name its source: {said}")

    def _warn(self, root: Path, message: str) -> None:
        if str(root) not in self._told:
            self._told.add(str(root))
            self.events(Warned(str(root), message))

    def _ask(self, folder: Path, *arguments: str) -> str | None:
        """Returns what git prints, None when it says no or is not there."""
        done = self._run(folder, *arguments)
        return os.fsdecode(done.stdout).rstrip("\n") if done is not None and done.returncode == 0 else None

    def _run(self, folder: Path, *arguments: str) -> "subprocess.CompletedProcess[bytes] | None":
        try:
            return subprocess.run(
                [self.program, "-C", str(folder), *_OPTIONS, *arguments],
                stdin=subprocess.DEVNULL,
                capture_output=True,
                check=False,
                timeout=self.timeout_s,
                env=_environment(os.environ),
            )
        except (FileNotFoundError, PermissionError):
            return None
        except subprocess.TimeoutExpired as error:
            raise DeadlineError(
                f"git {arguments[0]} in {folder}: no answer within {self.timeout_s:g} s",
                hint="check the disk that holds the work tree",
            ) from error


def without_credentials(url: str) -> str:
    """Returns a remote's URL without user names and passwords; `git@host:path` stays, its user is no secret.

    What looks like a URL and is none might hide one: nothing is left of it.
    """
    if "://" not in url:
        return url
    try:
        parts = urlsplit(url)
    except ValueError:  # no URL at all, and git takes it nowhere
        return ""
    userinfo, _, host = parts.netloc.rpartition("@")
    # Over SSH the user is part of the address; over HTTP a token may stand in its place.
    user = userinfo.partition(":")[0] if parts.scheme.endswith("ssh") else ""
    return urlunsplit((parts.scheme, f"{user}@{host}" if user else host, parts.path, "", ""))


def _is_there(path: Path) -> bool:
    try:
        return path.exists()
    except OSError:  # a folder that we may not look into
        return False


def _environment(inherited: Mapping[str, str]) -> dict[str, str]:
    kept = {name: value for name, value in inherited.items() if name not in _INHERITED}
    return {**kept, "GIT_TERMINAL_PROMPT": "0", "GIT_OPTIONAL_LOCKS": "0", "LC_ALL": "C"}
