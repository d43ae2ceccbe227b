"""One Harbor of each kind that is administered in the same words, and what each of them cannot do."""

import io
import os
import shlex
import shutil
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, redirect_stderr, redirect_stdout
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from imagepipe.cli import main
from tests.e2e.box import Box
from tests.e2e.cli import DEADLINE_S, PROGRAM, Cli, Run
from tests.e2e.traces import traces
from tests.watching import watched

UP_S: Final = 120.0


@dataclass(frozen=True, slots=True)
class Dialect:
    """What one flavour of the sandbox speaks, and what it refuses by name.

    Attributes:
        name: As `doctor` tells it.
        version: Of Harbor.
        domain: What its users' names end in.
        hidden: What a project ends in that is there and not for us: Admiral says as little of it as of none at all.
        facts: What it tells of the size of an empty project.
        refuses: Patterns of message and hint by what it cannot do, none where it can do everything.
    """

    name: str
    version: str
    domain: str = ""
    hidden: int = 5
    facts: Mapping[str, int | None] = field(
        default_factory=lambda: {"repositories": 0, "used_bytes": None, "limit_bytes": None}
    )
    refuses: Mapping[str, tuple[str, str]] = field(default_factory=dict)


DIALECTS: Final[Mapping[str, Dialect]] = {
    "harbor": Dialect("harbor-2", "2.15.2", facts={"repositories": 0, "used_bytes": 0, "limit_bytes": -1}),
    "harbor-1": Dialect(
        "harbor-1",
        "1.10.3",
        refuses={
            "robots": (r"need Harbor ≥ 2\.2, this is harbor-1 1\.10\.3", "from 2.2 on"),
            "cosign": (r"harbor-1 1\.10\.3 has no setting require_cosign", r"it needs Harbor ≥ 2\.5"),
        },
    ),
    "vic": Dialect(
        "admiral",
        "1.7.8",
        domain="@vsphere.local",
        facts={"repositories": None, "used_bytes": None, "limit_bytes": None},
        hidden=4,
        refuses={
            "makes projects": ("lee@vsphere.local is no cloud administrator", "ask"),
            "robots": (r"need Harbor ≥ 2\.2, this is admiral 1\.7\.8", "from 2.2 on"),
            "roles": (r"admiral 1\.7\.8 has no role {role}", r"it needs Harbor ≥ 1\.(8|10)"),
            "cosign": (r"admiral 1\.7\.8 has no setting require_cosign", r"it needs Harbor ≥ 2\.5"),
            "log": (r"admiral 1\.7\.8 does not show one", "portal"),
        },
    ),
}


class Within(Cli):
    """Runs the whole command line within this process: hundreds of commands need not all import it first."""

    def run(
        self,
        *argv: str,
        cwd: Path | None = None,
        config: Path | None = None,
        env: Mapping[str, str] | None = None,
        deadline_s: float = DEADLINE_S,
    ) -> Run:
        """Runs one command to its end, with nothing around it but what `Cli.run` gives; see there."""
        del deadline_s  # every request that a command makes has one
        before, wanted, place = dict(os.environ), self._environment(env), Path.cwd()
        line, out, err = self._line(argv, config), io.StringIO(), io.StringIO()
        os.environ.clear()
        os.environ.update(wanted)
        os.chdir(cwd or self.home)
        try:
            with redirect_stdout(out), redirect_stderr(err):
                code = main.run(line[len(PROGRAM) :])
        finally:
            os.chdir(place)
            os.environ.clear()
            os.environ.update(before)
        return self._keep(line, code, out.getvalue(), err.getvalue())


@dataclass(frozen=True, slots=True)
class Harbor:
    """A sandbox of one flavour, as the users of its team see it.

    Attributes:
        dialect: What it speaks.
        cli: The command line, in a process of its own for each command.
        within: The same, within this process.
        box: The sandbox.
    """

    dialect: Dialect
    cli: Cli
    within: Within
    box: Box

    def who(self, name: str) -> str:
        """Returns a user's name, as this Harbor spells it."""
        return f"{name}{self.dialect.domain}"

    def env(self, part: str) -> dict[str, str]:
        """Returns the variables that make one of the team act."""
        user = self.box.document["registry"]["users"][part]
        return {
            "IMAGEPIPE_HARBOR__USERNAME": user["username"],
            "IMAGEPIPE_HARBOR__PASSWORD_FILE": user["password_file"],
        }

    def run(self, *argv: str, part: str = "project_admin", **more: str) -> Run:
        """Runs a command as one of the team, lee unless another is named; `more` are further variables."""
        return self.within.run(*argv, env={**self.env(part), **more})

    def apart(self, *argv: str, **more: str) -> Run:
        """Runs a command as lee in a process of its own."""
        return self.cli.run(*argv, env={**self.env("project_admin"), **more})

    def refused(self, what: str, *argv: str, part: str = "project_admin", code: int = 6, **words: str) -> bool:
        """Tells whether this Harbor cannot do it; then the command is run and says so, or the test fails."""
        if what not in self.dialect.refuses:
            return False
        message, hint = self.dialect.refuses[what]
        kind = "unsupported" if code == 6 else None
        self.run(*argv, "--json", part=part).fails(code, message.format(**words), hint=hint, kind=kind)
        return True

    def make(self, name: str, *settings: str) -> None:
        """Makes a project with lee as its admin, by whoever may."""
        assert self.run("project", "create", name, *settings, "--yes", part=self.owner).ok().out == f"{name}\n"
        if self.owner != "project_admin":
            self.run("member", "add", name, self.who("lee"), "--role", "admin", "--yes", part=self.owner).ok()

    @property
    def owner(self) -> str:
        """Who of the team makes and deletes projects."""
        return "admin" if "makes projects" in self.dialect.refuses else "project_admin"

    def members(self, project: str, part: str = "project_admin") -> dict[str, str]:
        """Returns the roles in a project by name, as one of the team sees them, without who only made it."""
        rows = self.run("member", "list", project, "--json", part=part).ok().json()["members"]
        roles = {one["name"].removesuffix(self.dialect.domain): one["role"] for one in rows}
        if self.owner == "admin":
            roles.pop("admin", None)
        return roles

    def show(self, project: str) -> dict[str, Any]:
        """Returns what is shown of a project."""
        return self.run("project", "show", project, "--json").ok().json()


@contextmanager
def opened(flavour: str, engine: str = "none") -> Iterator[Harbor]:
    """Brings up a sandbox by the command line; at the end nothing is left of it, and no password was ever printed."""
    folder = Path(tempfile.mkdtemp(prefix="hb-"))  # short, as sockets allow no long path
    (folder / "home").mkdir()
    (folder / "tests").mkdir()
    cli, within, directory = Cli(folder / "home"), Within(folder / "home"), str(folder / "box")
    where = ("--dir", directory)
    with watched(folder):
        try:
            up = cli.run("sandbox", "up", "--flavour", flavour, "--engine", engine, *where, "--json", deadline_s=UP_S)
            exports = cli.run("sandbox", "env", *where).ok().out.splitlines()
            cli.environ = within.environ = dict(shlex.split(line)[1].split("=", 1) for line in exports)
            users = up.ok().json()["registry"]["users"].values()
            passwords = [Path(user["password_file"]).read_text().strip() for user in users]
            yield Harbor(DIALECTS[flavour], cli, within, Box(up.json(), folder / "tests"))
            said = "".join(run.out + run.err for run in (*cli.runs, *within.runs))
            assert not [password for password in passwords if password in said]
        finally:
            cli.environ = {}
            down = cli.run("sandbox", "down", *where, deadline_s=UP_S)
            shutil.rmtree(folder)
    down.ok()
    assert traces(Path(directory)) == set()
