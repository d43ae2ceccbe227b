"""The commands of Harbor's administration, on a Harbor in memory: what is printed, asked and refused."""

import io
import json
import os
import re
import stat
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, redirect_stdout
from dataclasses import dataclass, field, replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from imagepipe.access.apply import Applied
from imagepipe.access.apply import Failure as NotMade
from imagepipe.access.document import load_access
from imagepipe.access.plan import plan_access
from imagepipe.access.read import read_access
from imagepipe.cli import access, member, project, robot
from imagepipe.cli.applying import outcome
from imagepipe.cli.command import Failure
from imagepipe.cli.printing import clean
from imagepipe.cli.review import review
from imagepipe.cli.session import Session
from imagepipe.cli.tables import size, table
from imagepipe.errors import (
    DriftError,
    ImagepipeError,
    InputError,
    NotFoundError,
    PartialError,
    RefusedError,
    UnsupportedError,
    UsageError,
)
from imagepipe.events import silent
from imagepipe.model.access import AuditEntry, Caller, ProjectFacts, RobotSecret, Role
from imagepipe.model.result import Credential
from imagepipe.ports.administration import Administration
from imagepipe.settings import Settings
from imagepipe.wiring import SystemClock, Wiring
from tests.contract.harbor_memory import MemoryHarbor


class Trusting:
    """Lets everybody in."""

    def prove(self, credential: Credential, project: str, rights: object) -> None:
        """Tries nothing."""


class Wired(Wiring):
    """The composition root, with a Harbor in memory."""

    def __init__(self, harbor: MemoryHarbor, state: Path) -> None:
        super().__init__(Settings(), events=silent, environ={"XDG_STATE_HOME": str(state)})
        self._harbor = harbor

    @property
    def administration(self) -> Administration:
        return self._harbor.administration()

    def credential_proof(self) -> Any:
        return Trusting()


@dataclass(slots=True)
class Desk(Session):
    """A session at a Harbor in memory."""

    harbor: MemoryHarbor = field(default_factory=MemoryHarbor)
    state: Path = field(default_factory=Path)

    def settings(self, **flags: Any) -> Settings:
        return Settings(registry="harbor.example")

    def wiring(self, settings: Settings) -> Wiring:
        return Wired(self.harbor, self.state)


@dataclass
class Run:
    """What a command printed."""

    out: str
    err: str

    @property
    def rows(self) -> list[list[str]]:
        return [line.split("\t") for line in self.out.splitlines()]

    @property
    def document(self) -> dict[str, Any]:
        found: dict[str, Any] = json.loads(self.out)
        return found


Command = Callable[..., Run]


@pytest.fixture
def harbor() -> MemoryHarbor:
    made = MemoryHarbor(now=SystemClock().now())
    made.add_project("es", {"admin": Role.PROJECT_ADMIN, "bob": Role.GUEST, "group:devs": Role.DEVELOPER})
    return made


@pytest.fixture
def run(harbor: MemoryHarbor, capsys: pytest.CaptureFixture[str], tmp_path: Path) -> Command:
    """Runs a command's function and returns what it printed."""

    def call(
        command: Callable[..., None], *args: Any, as_json: bool = False, progress: str = "none", **flags: Any
    ) -> Run:
        capsys.readouterr()
        command(Desk(as_json=as_json, harbor=harbor, state=tmp_path / "state", progress=progress), *args, **flags)
        return Run(*capsys.readouterr())

    return call


@contextmanager
def unread() -> Iterator[None]:
    """Lets nobody read what is printed on stdout meanwhile."""
    reading, writing = os.pipe()
    os.close(reading)
    with os.fdopen(writing, "w") as stream, redirect_stdout(stream):
        yield


@contextmanager
def full() -> Iterator[None]:
    """Leaves no room for what is printed on stdout meanwhile."""
    with Path("/dev/full").open("w") as stream, redirect_stdout(stream):
        yield


def test_projects_are_listed(run: Command, harbor: MemoryHarbor) -> None:
    harbor.add_project("open", {}, public=True, storage_limit_bytes=10 * 2**30)
    del harbor.projects["es"]["storage_limit_bytes"]
    assert run(project.list_projects).rows == [["es", "private", "-"], ["open", "public", "10.0 GiB"]]
    document = run(project.list_projects, as_json=True).document
    assert document["schema"] == "imagepipe.project-list/v1"
    assert [one["name"] for one in document["projects"]] == ["es", "open"]


def test_a_project_is_shown_with_all_that_it_holds(run: Command, harbor: MemoryHarbor) -> None:
    harbor.facts["es"] = ProjectFacts(2, 1536, harbor.now)
    harbor.add_robot("ci", "es", "repository:push", expires_at=harbor.now)
    harbor.add_robot("old", "es", "repository:pull")
    off = harbor.add_robot("off", "es", "repository:pull")
    harbor.robots[off.login] = replace(off, disabled=True)
    rows = run(project.show, "es").rows
    today = f"{harbor.now:%Y-%m-%d}"
    assert ["used", "1.5 KiB of unlimited"] in rows
    assert ["last push", today] in rows
    assert [row for row in rows if row[0] in tuple(Role)] == [
        ["projectAdmin", "admin"],
        ["developer", "group:devs"],
        ["guest", "bob"],
    ]
    assert ["robot", f"robot$es+ci repository:push expires {today}"] in rows
    assert ["robot", "robot$es+old repository:pull never expires"] in rows
    assert ["robot", "robot$es+off repository:pull switched off"] in rows
    assert run(project.show, "es", as_json=True).document["facts"]["repositories"] == 2


def test_a_harbor_without_robots_shows_a_project_all_the_same(run: Command, harbor: MemoryHarbor) -> None:
    harbor.has_robots = False
    harbor.facts["es"] = ProjectFacts(None, None, None)
    rows = run(project.show, "es").rows
    assert ["used", "- of unlimited"] in rows
    del harbor.projects["es"]["storage_limit_bytes"]
    untold = f"not told by {harbor.dialect} {harbor.version}"
    rows = run(project.show, "es").rows
    assert [["used", untold], ["last push", untold]] == rows[2:4]
    assert rows[-1] == ["robots", untold]
    assert run(project.show, "es", as_json=True).document["robots"] is None
    deleted = run(project.delete, "es", yes=True).err
    assert "es holds an unknown number of repositories, 3 members, " in deleted
    assert "last push unknown" in deleted


def test_a_project_is_made_and_set(run: Command, harbor: MemoryHarbor) -> None:
    made = run(project.create, "new", ["storage_limit_bytes=10GiB", "max_severity=high"], public=True, yes=True)
    assert made.out == "new\n"
    assert harbor.projects["new"]["storage_limit_bytes"] == 10 * 2**30
    assert harbor.projects["new"]["public"] is True
    done = run(project.set_, "new", ["public=FALSE", "storage_limit_bytes=unlimited"], yes=True)
    assert done.rows == [["public=false"], ["storage_limit_bytes=-1"]]
    assert "~ new: public: true -> false" in done.err
    assert "nothing to change" in run(project.set_, "new", ["public=false"]).err


@pytest.mark.parametrize(
    ("text", "size_bytes"), [("0", 0), ("-1", -1), ("5", 5), ("5k", 5120), ("5 MiB", 5 * 2**20), ("2TB", 2 * 2**40)]
)
def test_sizes_may_have_units(text: str, size_bytes: int) -> None:
    assert project.settings_of([f"storage_limit_bytes={text}"]) == {"storage_limit_bytes": size_bytes}


@pytest.mark.parametrize("text", ["public", "public=1", "pubilc=true", "storage_limit_bytes=ten", "=x"])
def test_settings_that_cannot_be_meant_are_usage(text: str) -> None:
    with pytest.raises(UsageError) as caught:
        project.settings_of([text])
    assert caught.value.hint


def test_a_setting_that_this_harbor_does_not_have_is_told_before_anything_is_asked(
    run: Command, harbor: MemoryHarbor
) -> None:
    harbor.settings = ("public",)
    for command, name in ((project.create, "new"), (project.set_, "es")):
        with pytest.raises(UnsupportedError, match=r"harbor-2 2\.15\.2 has no setting auto_sbom"):
            run(command, name, ["auto_sbom=true"])


def test_deleting_a_project_shows_what_it_holds_and_needs_a_yes(run: Command, harbor: MemoryHarbor) -> None:
    harbor.add_robot("ci", "es", "repository:push")
    with pytest.raises(UsageError, match="Delete project es"):
        run(project.delete, "es")
    assert "es" in harbor.projects
    done = run(project.delete, "es", yes=True)
    assert "es holds 0 repositories (0 B), 3 members, 1 robot; last push never" in done.err
    assert "robot robot$es+ci would stop working" in done.err
    assert harbor.projects == {}


def test_members_are_listed(run: Command) -> None:
    assert run(member.list_members, "es").rows == [
        ["admin", "user", "projectAdmin"],
        ["bob", "user", "guest"],
        ["devs", "group", "developer"],
    ]


def test_members_are_added_set_and_removed(run: Command, harbor: MemoryHarbor) -> None:
    assert run(member.add, "es", "ops", role="MAINTAINER", group=True, yes=True).rows == [
        ["ops", "group", "maintainer"]
    ]
    assert "nothing to change" in run(member.add, "es", "group:ops", role="maintainer").err
    run(member.set_, "es", "group:ops", role="limited_guest", yes=True)
    assert "nothing to change" in run(member.set_, "es", "ops", role="limitedGuest", group=True).err
    assert run(member.remove, "es", "ops", group=True, yes=True).out == ""
    assert len(harbor.members["es"]) == 3
    with pytest.raises(RefusedError, match="bob is guest of es already"):
        run(member.add, "es", "bob", role="developer", yes=True)
    with pytest.raises(NotFoundError, match="bobb is no member of es; did you mean 'bob'"):
        run(member.remove, "es", "bobb", yes=True)


def test_oneself_and_the_last_admin_stay_unless_it_is_forced(run: Command, harbor: MemoryHarbor) -> None:
    for command, flags in ((member.remove, {}), (member.set_, {"role": "guest"})):
        with pytest.raises(RefusedError, match="last projectAdmin"):
            run(command, "es", "admin", yes=True, **flags)
    run(member.set_, "es", "bob", role="admin", yes=True)
    for command, flags in ((member.remove, {}), (member.set_, {"role": "guest"})):
        with pytest.raises(RefusedError, match="admin is you"):
            run(command, "es", "admin", yes=True, **flags)
    run(member.remove, "es", "admin", yes=True, force=True)
    assert [str(who) for who in harbor.members["es"]] == ["bob", "group:devs"]


def test_roles_that_there_are_not_or_not_here_are_told(run: Command, harbor: MemoryHarbor) -> None:
    with pytest.raises(UsageError, match="no role named 'gest'; did you mean 'guest'") as caught:
        run(member.add, "es", "carol", role="gest")
    assert "limitedGuest" in str(caught.value.hint)
    harbor.roles = (Role.PROJECT_ADMIN, Role.GUEST)
    with pytest.raises(UnsupportedError, match="has no role maintainer"):
        run(member.add, "es", "carol", role="maintainer")


def test_robots_are_listed_by_project_or_all(run: Command, harbor: MemoryHarbor) -> None:
    harbor.add_robot("ci", "es", "repository:push", expires_at=harbor.now - timedelta(days=1))
    harbor.add_robot("ops", None, "repository:pull", expires_at=harbor.now + timedelta(days=9))
    harbor.add_robot("old", "es", "repository:pull")
    assert [row[0] for row in run(robot.list_robots).rows] == ["robot$ops", "robot$es+ci", "robot$es+old"]
    assert [row[0] for row in run(robot.list_robots, "es").rows] == ["robot$es+ci", "robot$es+old"]
    assert run(robot.list_robots, "es").rows[0][3] == "expired"


def test_robots_that_are_not_shown_are_told(run: Command, harbor: MemoryHarbor) -> None:
    harbor.add_project("public", {})
    harbor.hidden_robots = {None, "public"}
    done = run(robot.list_robots, as_json=True)
    assert done.document["unseen"] == ["/", "public"]
    assert run(robot.list_robots, "es").err == ""


def test_a_robot_of_the_whole_harbor_says_where_it_may_do_what(
    run: Command, harbor: MemoryHarbor, tmp_path: Path
) -> None:
    file = tmp_path / "s"
    made = run(
        robot.create, "/", "ops", can="pull", places=["es", "*"], system_can="project:list", days=1, out=file, yes=True
    )
    assert "+ /: robot ops may pull in *; project:list in /; pull in es for 1 days" in made.err
    assert run(robot.list_robots, "/").rows[0][1] == "pull in all projects; project:list in the system; pull in es"
    with pytest.raises(NotFoundError):
        run(robot.create, "/", "two", can="pull", places=["nowhere"], days=1, out=file, yes=True)
    odd: tuple[dict[str, Any], ...] = ({"can": "pull"}, {"places": ["es"]}, {})
    for flags in odd:
        with pytest.raises(UsageError, match="in which projects"):
            run(robot.create, "/", "two", days=1, out=file, **flags)
    odd = ({"can": "pull", "places": ["es"]}, {"can": "pull", "system_can": "project:list"}, {})
    for flags in odd:
        with pytest.raises(UsageError):
            run(robot.create, "es", "two", days=1, out=file, **flags)
    run(robot.delete, "/", "ops", yes=True)
    assert harbor.robots == {}


def test_robots_that_end_soon_are_an_exit_code(
    run: Command, harbor: MemoryHarbor, capsys: pytest.CaptureFixture[str]
) -> None:
    harbor.add_robot("late", "es", "repository:push", expires_at=harbor.now + timedelta(days=9))
    harbor.add_robot("soon", "es", "repository:push", expires_at=harbor.now + timedelta(days=5))
    harbor.add_robot("ever", "es", "repository:push")
    with pytest.raises(Failure) as caught:
        run(robot.list_robots, "es", expiring=30)
    assert caught.value.exit_code == 9
    assert [line.split("\t")[0] for line in capsys.readouterr().out.splitlines()] == ["robot$es+soon", "robot$es+late"]
    assert run(robot.list_robots, "es", expiring=1).out == ""


def test_a_robots_secret_goes_to_a_file_and_nowhere_else(run: Command, harbor: MemoryHarbor, tmp_path: Path) -> None:
    file = tmp_path / "ci.env"
    done = run(robot.create, "es", "ci", can="push, scan:read", days=3, out=file, yes=True, as_json=True)
    secret = harbor.secrets["robot$es+ci"]
    assert secret in file.read_text()
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    assert secret not in done.out + done.err
    assert done.document["out"] == str(file)
    shown = run(robot.create, "es", "two", can="pull", forever=True, show_secret=True, yes=True)
    assert shown.rows == [["robot$es+two", harbor.secrets["robot$es+two"]]]
    assert harbor.robots["robot$es+two"].expires_at is None


@pytest.mark.parametrize("as_json", [False, True])
@pytest.mark.parametrize("nobody", [unread, full])
def test_a_robot_whose_secret_is_shown_to_nobody_is_deleted_again(
    run: Command, harbor: MemoryHarbor, nobody: Callable[[], AbstractContextManager[None]], as_json: bool
) -> None:
    said = r"the secret of robot\$es\+two could not be written to stdout"
    with nobody(), pytest.raises(InputError, match=said) as caught:
        run(robot.create, "es", "two", can="pull", days=1, show_secret=True, yes=True, as_json=as_json)
    assert caught.value.hint == "let stdout go where it is read, or add --out FILE"
    assert harbor.writes == ["robot.create es two", "robot.delete robot$es+two"]


def test_a_secret_that_is_handed_over_late_is_told_as_such(run: Command, harbor: MemoryHarbor, tmp_path: Path) -> None:
    with pytest.raises(PartialError, match="it ended with 1") as caught:
        run(robot.create, "es", "ci", can="push", days=3, to_command="false", yes=True)
    assert "`imagepipe robot rotate es ci` with it: that hands the same secret over" in str(caught.value.hint)
    again = run(robot.rotate, "es", "ci", to_command=f"tee {tmp_path / 'taken'}", yes=True)
    assert (tmp_path / "taken").read_text() == harbor.secrets["robot$es+ci"]
    assert again.err == "robot$es+ci is in place\n"


def test_a_robot_whose_secret_a_command_has_taken_says_only_what_people_wrote(
    run: Command, harbor: MemoryHarbor, tmp_path: Path
) -> None:
    to = {"to_command": f"tee {tmp_path / 'taken'}", "description": "builds", "days": 3, "yes": True}
    made = run(robot.create, "es", "ci", can="push", as_json=True, **to)
    assert (tmp_path / "taken").read_text() == harbor.secrets["robot$es+ci"]
    assert made.document["robot"]["description"] == harbor.robots["robot$es+ci"].description == "builds"
    assert harbor.writes[-1] == "robot.describe robot$es+ci"
    assert made.err.count("\n") == 1
    harbor.caller = Caller("robot$ops", "robot")
    by_robot = run(robot.create, "es", "two", can="push", progress="plain", **to)
    assert "warning: `tee`: a robot may change no robot, so none is marked until its secret is taken" in by_robot.err
    assert "`imagepipe robot rotate` makes another" in by_robot.err
    assert harbor.robots["robot$es+two"].description == "builds"


@pytest.mark.parametrize(
    ("flags", "said"),
    [
        ({"can": "pull", "days": 1}, "where does the secret go"),
        ({"can": "pull", "show_secret": True}, "how long"),
        ({"can": "pull", "days": 1, "forever": True, "show_secret": True}, "how long"),
        ({"can": "psuh", "days": 1, "show_secret": True}, "did you mean 'push'"),
    ],
)
def test_a_robot_that_cannot_be_meant_is_usage(run: Command, flags: dict[str, Any], said: str) -> None:
    with pytest.raises(UsageError, match=said):
        run(robot.create, "es", "ci", yes=True, **flags)


def test_a_robot_without_rights_or_with_a_bad_name_is_bad_input(run: Command) -> None:
    with pytest.raises(InputError, match="no rights"):
        run(robot.create, "es", "ci", can=",", days=1, show_secret=True)
    with pytest.raises(InputError, match="not a name for a robot"):
        run(robot.create, "es", "CI", can="pull", days=1, show_secret=True)
    with pytest.raises(InputError, match=r"ci\.g2 is what generation 2 of robot ci is called"):
        run(robot.create, "es", "ci.g2", can="pull", days=1, show_secret=True)


@pytest.mark.parametrize("shown", [True, False])
def test_a_robot_whose_secret_was_never_handed_over_is_made_by_the_same_command(
    run: Command, harbor: MemoryHarbor, tmp_path: Path, shown: bool
) -> None:
    left = harbor.add_robot("ci", "es", "repository:pull")
    harbor.robots[left.login] = replace(left, description="builds (secret not handed over yet)")
    where: dict[str, Any] = {"show_secret": True} if shown else {"out": tmp_path / "ci.env"}
    done = run(robot.create, "es", "ci", can="pull", days=3, yes=True, **where)
    assert "one is there whose secret was never handed over: another takes its place" in done.err
    told = done.out if shown else (tmp_path / "ci.env").read_text()
    assert harbor.secrets["robot$es+ci"] in told
    assert harbor.robots["robot$es+ci"].description == ""


def test_a_robot_is_rotated_and_the_rotation_ended(run: Command, harbor: MemoryHarbor, tmp_path: Path) -> None:
    file = tmp_path / "ci.json"
    run(robot.create, "es", "ci", can="push", days=3, out=file, yes=True)
    turned = run(robot.rotate, "es", "ci", out=file, yes=True)
    assert turned.out == "robot$es+ci.g2\n"
    assert "robot$es+ci.g2 is in place" in turned.err
    assert "robot$es+ci is kept until" in turned.err
    ended = run(robot.rotate, "es", "ci", out=file, finish=True, grace=0.0, yes=True)
    assert "robot$es+ci is deleted" in ended.err
    assert "nothing to finish" in run(robot.rotate, "es", "ci", out=file, finish=True, yes=True).err
    assert list(harbor.robots) == ["robot$es+ci.g2"]
    with pytest.raises(UsageError, match="where does the secret go"):
        run(robot.rotate, "es", "ci", yes=True)


def test_a_rotation_without_a_date_says_no_time(run: Command, harbor: MemoryHarbor, tmp_path: Path) -> None:
    file = tmp_path / "ci.env"
    harbor.add_robot("ci", "es", "repository:pull")
    newest = harbor.add_robot("ci.g2", "es", "repository:pull")
    file.write_text(f"HARBOR_USERNAME={newest.login!r}\nHARBOR_PASSWORD={harbor.secrets[newest.login]}\n")
    assert run(robot.rotate, "es", "ci", out=file, yes=True).err.splitlines()[-1] == "robot$es+ci is kept"


def test_a_robot_is_deleted_with_all_its_generations_or_one_of_them(run: Command, harbor: MemoryHarbor) -> None:
    for name in ("ci", "ci.g2", "ci.g3"):
        harbor.add_robot(name, "es", "repository:pull")
    with pytest.raises(InputError, match=r"robot ci\.g9 is not there; there is ci, ci\.g2, ci\.g3"):
        run(robot.delete, "es", "ci.g9", yes=True)
    run(robot.delete, "es", "ci.g2", yes=True)
    assert list(harbor.robots) == ["robot$es+ci", "robot$es+ci.g3"]
    assert run(robot.delete, "es", "ci", yes=True, as_json=True).document["deleted"] == [
        "robot$es+ci",
        "robot$es+ci.g3",
    ]


@pytest.mark.parametrize("command", [robot.list_robots, robot.delete, robot.create])
def test_a_harbor_without_robots_says_since_when_there_are_any(
    run: Command, harbor: MemoryHarbor, command: Callable[..., None]
) -> None:
    harbor.has_robots = False
    flags: dict[Any, dict[str, Any]] = {
        robot.create: {"name": "x", "can": "pull", "days": 1, "show_secret": True},
        robot.delete: {"name": "x"},
    }
    with pytest.raises(UnsupportedError) as caught:
        run(command, "es", **flags.get(command, {}))
    assert "2.2" in str(caught.value.hint)


@pytest.fixture
def file(tmp_path: Path) -> Path:
    """An access file that asks for one new member."""
    path = tmp_path / "access.yaml"
    path.write_text("version: 1\nprojects:\n  es:\n    members: {projectAdmin: [admin], guest: [bob, carol]}\n")
    return path


def test_access_is_exported_and_asks_for_nothing(run: Command, tmp_path: Path) -> None:
    path = tmp_path / "export.yaml"
    path.write_text(run(access.export).out)
    done = run(access.plan, path, detailed=True)
    assert done.out == ""
    assert "no changes" in done.err
    assert run(access.export, ["es"], as_json=True).document["projects"][0]["members"]["bob"] == "guest"
    with pytest.raises(NotFoundError, match="no project 'ess'"):
        run(access.export, ["ess"])


def test_an_empty_harbor_has_nothing_to_export(run: Command, harbor: MemoryHarbor) -> None:
    harbor.projects.clear()
    with pytest.raises(NotFoundError, match="no project whose members"):
        run(access.export)


def test_a_plan_is_shown_saved_and_an_exit_code(run: Command, harbor: MemoryHarbor, file: Path, tmp_path: Path) -> None:
    saved = tmp_path / "plan.json"
    shown = run(access.plan, file, output=saved)
    assert shown.rows == [["+ es: add member carol: guest"], ["! es: group:devs is developer and is not in the file"]]
    assert "1 to add, 0 to change, 0 to remove" in shown.err
    assert json.loads(saved.read_text())["schema"] == "imagepipe.access-plan/v1"
    with pytest.raises(Failure) as caught:
        run(access.plan, file, detailed=True)
    assert caught.value.exit_code == 9
    assert harbor.writes == []
    with pytest.raises(InputError, match="cannot be saved"):
        run(access.plan, file, output=tmp_path)


def test_exactly_the_saved_plan_is_applied(run: Command, harbor: MemoryHarbor, file: Path, tmp_path: Path) -> None:
    saved = tmp_path / "plan.json"
    run(access.plan, file, output=saved)
    with pytest.raises(UsageError, match="Make these changes"):
        run(access.apply, file, plan_file=saved)
    done = run(access.apply, file, plan_file=saved, yes=True)
    assert done.out == "+ es: add member carol: guest\n"
    assert harbor.writes == ["member.add es carol"]
    with pytest.raises(ImagepipeError, match="has changed since the plan was made"):
        run(access.apply, file, plan_file=saved, yes=True)
    assert run(access.apply, file, as_json=True).document["done"] == []


@pytest.mark.parametrize("content", [None, b"nonsense", b"{}", b"[" * 100_000])
def test_a_plan_file_that_is_none_is_told(run: Command, file: Path, tmp_path: Path, content: bytes | None) -> None:
    saved = tmp_path / "plan.json"
    if content is not None:
        saved.write_bytes(content)
    with pytest.raises((InputError, NotFoundError), match=r"plan\.json|not an access plan") as caught:
        run(access.apply, file, plan_file=saved)
    assert "access plan FILE" in str(caught.value.hint)
    with pytest.raises(InputError, match="cannot be read"):
        run(access.apply, file, plan_file=tmp_path)


def test_new_robots_need_a_folder_for_their_secrets(run: Command, harbor: MemoryHarbor, tmp_path: Path) -> None:
    path = tmp_path / "access.yaml"
    path.write_text("version: 1\nprojects:\n  es:\n    robots: {ci: {can: [push], days: 9}}\n")
    with pytest.raises(UsageError, match="their secrets have to go somewhere"):
        run(access.apply, path, yes=True)
    done = run(access.apply, path, secrets=tmp_path / "secrets", yes=True)
    secret = harbor.secrets["robot$es+ci"]
    assert secret in (tmp_path / "secrets" / "es+ci.env").read_text()
    assert secret not in done.out + done.err


def test_who_signed_off_cannot_move_the_cursor(run: Command, tmp_path: Path) -> None:
    file = tmp_path / "review.csv"
    run(review, ["es"], output=file)
    head, *rows = file.read_text().splitlines()
    signed = [row.removesuffix(",,,") + ',keep,"Ada\x1b[2J\n::error::x",2026-01-31' for row in rows]
    file.write_text("\n".join([head, *signed]))
    assert "signed off by Ada\ufffd[2J\ufffd::error::x on 2026-01-31\n" in run(review, signed=file).err


def test_an_apply_ends_in_what_became_of_it(
    run: Command, harbor: MemoryHarbor, file: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    harbor.refusals["member.add es carol"] = RefusedError("no such person", hint="look again")
    with pytest.raises(Failure) as caught:
        run(access.apply, file, yes=True, as_json=True)
    assert caught.value.exit_code == 6
    printed = capsys.readouterr()
    document = json.loads(printed.out)
    assert document["error"]["message"] == "+ es: add member carol: guest: no such person"
    assert document["failed"][0]["change"]["subject"] == "carol"
    assert "hint: look again" in printed.err


def test_partial_unread_and_undone_applies_are_told_apart(harbor: MemoryHarbor, file: Path) -> None:
    states = read_access(None, harbor.administration())
    plan = plan_access(load_access(file), states, caller=Caller("admin", "user"))
    change = plan.changes[0]
    failed = (NotMade(change, RefusedError("no"), skipped=True),)
    partial = outcome(Applied((change,), failed, plan))
    assert isinstance(partial, PartialError)
    assert "not tried: no" in partial.message
    assert partial.hint
    unread = outcome(Applied((change,), (), None, RefusedError("forbidden")))
    assert isinstance(unread, PartialError)
    assert "could not be read again: forbidden" in unread.message
    undone = outcome(Applied((change,), (), plan))
    assert isinstance(undone, DriftError)
    assert "carol" in undone.message


def test_a_review_is_printed_in_three_forms(run: Command) -> None:
    assert run(review, ["es", "es"]).rows[0][:4] == ["es", "user", "admin", "projectAdmin"]
    assert run(review, form="csv").out.startswith("project,kind,name,access")
    assert run(review, form="markdown").out.startswith("| project |")
    assert len(run(review, as_json=True).document["rows"]) == 3
    with pytest.raises(UsageError, match="'xml' is not known"):
        run(review, form="xml")


class Terminal(io.StringIO):
    """A stdout with somebody in front of it."""

    def isatty(self) -> bool:
        return True


def test_a_terminal_has_headings_and_a_program_has_none(monkeypatch: pytest.MonkeyPatch) -> None:
    rows = [("es", "private")]
    assert table(("project", "visibility"), rows) == "es\tprivate"
    monkeypatch.setattr("sys.stdout", Terminal())
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setenv("NO_COLOR", "1")
    drawn = table(("project", "visibility"), [("[red]es", "private")])
    assert re.sub(r"\x1b\[\d*m", "", drawn).splitlines()[0].split() == ["project", "visibility"]
    assert "[red]es" in drawn
    monkeypatch.setenv("TERM", "dumb")
    assert table(("project", "visibility"), rows) == "es\tprivate"


def test_names_cannot_move_the_cursor_or_the_columns() -> None:
    assert clean("a\x1b[2Jb\tc\nd") == "a\ufffd[2Jb\ufffdc\ufffdd"


@pytest.mark.parametrize(
    ("size_bytes", "shown"), [(None, "-"), (-1, "unlimited"), (0, "0 B"), (1023, "1023 B"), (2**50, "1024.0 TiB")]
)
def test_sizes_are_shown_as_people_read_them(size_bytes: int | None, shown: str) -> None:
    assert size(size_bytes) == shown


def test_a_secret_never_shows_in_a_repr(harbor: MemoryHarbor) -> None:
    made = RobotSecret(harbor.add_robot("ci", "es", "repository:pull"), "S3cretS3cret")
    assert "S3cretS3cret" not in repr(made)


def did(harbor: MemoryHarbor, hours_ago: int, what: str) -> AuditEntry:
    entry = AuditEntry(harbor.now - timedelta(hours=hours_ago), "bob", what, "artifact", f"es/web:{hours_ago}")
    harbor.log.setdefault("es", []).append(entry)
    return entry


def test_the_log_is_shown_oldest_first_and_tells_when_there_may_be_more(run: Command, harbor: MemoryHarbor) -> None:
    for hours_ago in (3, 2, 1):
        did(harbor, hours_ago, "push")
    assert [row[2:] for row in run(access.log, ["es"]).rows] == [
        ["bob", "push", "artifact", f"es/web:{hours_ago}", "done"] for hours_ago in (3, 2, 1)
    ]
    since = f"{harbor.now - timedelta(hours=2, minutes=30):%Y-%m-%dT%H:%M:%S}"
    document = run(access.log, None, since=since, as_json=True).document
    assert document["schema"] == "imagepipe.access-log/v1"
    assert [one["resource"] for one in document["entries"]] == ["es/web:2", "es/web:1"]
    short = run(access.log, ["es"], last=1)
    assert [row[5] for row in short.rows] == ["es/web:1"]
    assert short.err == ""


def test_a_log_that_cannot_be_shown_is_refused_by_name(run: Command, harbor: MemoryHarbor) -> None:
    with pytest.raises(UsageError, match="is no time"):
        run(access.log, ["es"], since="yesterday")
    with pytest.raises(UsageError, match="no end"):
        run(access.log, ["es"], following=True, as_json=True)
    harbor.has_audit = False
    with pytest.raises(UnsupportedError, match=r"harbor-2 2\.15\.2 does not show one"):
        run(access.log, ["es"])
