from pathlib import Path

import pytest

from imagepipe.access.document import dump_access, load_access
from imagepipe.access.names import check_name, is_name, named_rights, need_family, reach_of, short_rights
from imagepipe.access.state import ProjectState, RobotState, Unmanaged
from imagepipe.errors import InputError, NotFoundError
from imagepipe.model.access import PERMISSION_SETS, Principal, Right, Role
from tests.contract.harbor_memory import MemoryHarbor

FULL = """\
version: 1
projects:
  es-sandbox:
    settings: { public: false, max_severity: high, storage_limit_bytes: 1000 }
    members:
      admin: [alice, "group:es-admins"]
      limited-guest: [bob@vsphere.local]
    robots:
      ci: { can: [pull, "scan:create"], days: 30 }
      forever: { can: [push], days: null }
      usual: { can: [read] }
    unmanaged: keep
  "123": {}
"""


def written(tmp_path: Path, text: str) -> Path:
    file = tmp_path / "access.yaml"
    file.write_text(text)
    return file


def load(tmp_path: Path, text: str) -> object:
    return load_access(written(tmp_path, text))


def test_an_access_file_says_who_may_do_what(tmp_path: Path) -> None:
    file = tmp_path / "access.yaml"
    file.write_text(FULL)
    first, second = load_access(file)
    assert first.unmanaged is Unmanaged.KEEP
    assert first.state.settings == {"public": False, "max_severity": "high", "storage_limit_bytes": 1000}
    assert first.state.members == {
        Principal.parse("alice"): Role.PROJECT_ADMIN,
        Principal.parse("group:es-admins"): Role.PROJECT_ADMIN,
        Principal.parse("bob@vsphere.local"): Role.LIMITED_GUEST,
    }
    assert first.state.robots["ci"].rights == PERMISSION_SETS["pull"] | {Right("scan", "create")}
    assert [robot.days for robot in first.state.robots.values()] == [30, None, 90]
    assert second.state == ProjectState("123")
    assert second.unmanaged is Unmanaged.REPORT


@pytest.mark.parametrize("escape", ["\\n::error::x", "\\e[2J", "\\0", "\\r", "\\u2028", "\\x9b"])
def test_no_name_ends_a_line_or_moves_a_cursor(tmp_path: Path, escape: str) -> None:
    said = r"access\.yaml:5:15: .*\.guest\.0: not a member's name: 'eve\\"
    for member in (f'guest: ["eve{escape}"]', f'"eve{escape}": [eve]'):
        with pytest.raises(InputError, match=said if member.startswith("guest") else r"'eve\\") as caught:
            load(tmp_path, f"version: 1\nprojects:\n  a:\n    members:\n      {member}\n")
        assert caught.value.message.isprintable()


@pytest.mark.parametrize(
    "name", ["émile", "\u0639\u0644\u06cc\u200c\u0631\u0636", "Anna\u00a0Maria", "group:cn=a b,dc=c"]
)
def test_a_name_may_be_of_any_script(tmp_path: Path, name: str) -> None:
    (only,) = load_access(written(tmp_path, f'version: 1\nprojects: {{a: {{members: {{guest: ["{name}"]}}}}}}\n'))
    assert only.state.members == {Principal.parse(name): Role.GUEST}


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        ("version: 2\nprojects: {a: {}}", "access.yaml:1:1: version: must be 1"),
        ("version: 1\nprojects: {}", "access.yaml:2:1: projects"),
        ("version: 1\nprojects:\n  A B: {}", "access.yaml:3:3: projects.A B: not a project's name"),
        ("version: 1\nprojects:\n  a:\n    mebmers: {}", "access.yaml:4:5: .*members"),
        (
            "version: 1\nprojects:\n  a:\n    members:\n      developper: [x]",
            "access.yaml:5:7: .*no role named 'developper'; use one of projectAdmin, .*did you mean 'developer'",
        ),
        (
            "version: 1\nprojects:\n  a:\n    members:\n      lee: guest",
            "access.yaml:4:5: .*written by role: write `guest: \\[lee\\]` for `lee: guest`",
        ),
        ("version: 1\nprojects:\n  a:\n    members:\n      guest: lee", "access.yaml:5:7: .*must be a list"),
        ("version: 1\nprojects:\n  a:\n    members: [lee]", "access.yaml:4:5: "),
        (
            "version: 1\nprojects:\n  a:\n    members:\n      guest: [x, ' y']",
            "access.yaml:5:18: .*not a member's name",
        ),
        ("version: 1\nprojects:\n  a:\n    members:\n      guest: [12345]", "access.yaml:5:15: .*text"),
        (
            "version: 1\nprojects:\n  a:\n    members:\n      admin: [x]\n      guest: [x]",
            "access.yaml:6:15: .*x is admin already",
        ),
        (
            "version: 1\nprojects:\n  a:\n    members:\n      guest: ['group:cn=A,dc=b', 'group:CN=a, DC=b']",
            "access.yaml:5:34: .*is guest already",
        ),
        ("version: 1\nprojects:\n  a:\n    robots:\n      Ci: {can: [pull]}", "access.yaml:5:7: .*not a robot's name"),
        (
            "version: 1\nprojects:\n  a:\n    robots:\n      ci.g2: {can: [pull]}",
            "access.yaml:5:7: .*generation of robot ci",
        ),
        (
            "version: 1\nprojects:\n  a:\n    robots:\n      ci: {can: [psuh]}",
            "access.yaml:5:18: .*'psuh'.*did you mean 'push'",
        ),
        ("version: 1\nprojects:\n  a:\n    robots:\n      ci: {can: []}", "access.yaml:5:12: "),
        ("version: 1\nprojects:\n  a:\n    robots:\n      ci: {can: [pull], days: 0}", "access.yaml:5:25: "),
        ("version: 1\nprojects:\n  a:\n    settings: {max_severity: hihg}", "access.yaml:4:16: .*did you mean 'high'"),
        ("version: 1\nprojects:\n  a:\n    settings: {public: yes}", "access.yaml:4:16: .*true or false"),
        (
            "version: 1\nprojects:\n  a:\n    unmanaged: purge",
            "access.yaml:4:5: .*must be one of keep, report, remove",
        ),
        (
            "version: 1\nprojects:\n  a:\n    members: {guest: [x]}\n    unmanaged: remove",
            "access.yaml:4:5: .*nobody would be projectAdmin",
        ),
    ],
)
def test_what_is_wrong_is_told_with_its_line(tmp_path: Path, wrong: str, said: str) -> None:
    with pytest.raises(InputError, match=said):
        load(tmp_path, wrong)


def test_every_problem_is_told_at_once(tmp_path: Path) -> None:
    wrong = "version: 1\nprojects:\n  A:\n    members: {boss: [x]}\n  b:\n    robots: {X: {can: [fly]}}"
    with pytest.raises(InputError) as caught:
        load(tmp_path, wrong)
    assert len(caught.value.message.splitlines()) == 4


def test_a_file_that_is_not_there_is_not_found(tmp_path: Path) -> None:
    with pytest.raises(NotFoundError):
        load_access(tmp_path / "none.yaml")


def test_an_export_reads_like_a_file_that_a_person_wrote(tmp_path: Path) -> None:
    state = ProjectState(
        "es",
        {"public": True, "max_severity": "negligible", "storage_limit_bytes": -1},
        {Principal.parse("bob"): Role.GUEST, Principal.parse("alice"): Role.PROJECT_ADMIN},
        {
            "ci": RobotState(PERMISSION_SETS["push"]),
            "odd": RobotState(frozenset({Right("scan", "read")})),
            "none": RobotState(frozenset()),
        },
    )
    text = dump_access({"es": state, "bare": ProjectState("bare")}, roles=tuple(Role))
    assert text.splitlines() == [
        "version: 1",
        "projects:",
        "  bare: {unmanaged: report}",
        "  es:",
        "    settings: {public: true, storage_limit_bytes: -1}",
        "    members:",
        "      projectAdmin: [alice]",
        "      guest: [bob]",
        "    robots:",
        "      ci:",
        "        can: [push]",
        "      odd:",
        "        can: ['scan:read']",
        "    unmanaged: report",
    ]
    (tmp_path / "a.yaml").write_text(text)
    assert len(load_access(tmp_path / "a.yaml")) == 2


def test_names_are_those_that_harbor_allows() -> None:
    assert is_name("a.b-c_d")
    assert not is_name("a--b")
    assert not is_name("a" * 256)
    assert check_name("robot", "ci") == "ci"
    with pytest.raises(InputError, match="not a name for a robot: 'Ci'"):
        check_name("robot", "Ci")


def test_a_robot_is_found_by_any_of_its_generations() -> None:
    harbor = MemoryHarbor()
    harbor.add_project("es")
    old, new = (harbor.add_robot(name, "es", "repository:pull") for name in ("ci", "ci.g10"))
    other = harbor.add_robot("ci.g2", "es", "repository:pull")
    robots = list(harbor.robots.values())
    for name in ("ci", "ci.g2", "ci.g10", "ci.g77"):
        assert need_family(robots, name, "es") == (old, other, new)
    with pytest.raises(NotFoundError, match="no robot 'cii' in es; did you mean 'ci'"):
        need_family(robots, "cii", "es")


def test_rights_are_told_in_a_word_where_there_is_one() -> None:
    assert named_rights(PERMISSION_SETS["ci"]) == ["ci"]
    assert named_rights(PERMISSION_SETS["push"] | {Right("x", "y")}) == ["push", "x:y"]
    assert named_rights(frozenset()) == []
    assert short_rights(PERMISSION_SETS["ci"]) == "ci"
    assert reach_of(MemoryHarbor().add_robot("ci", "es", *map(str, PERMISSION_SETS["ci"]))) == "ci"
    assert short_rights(PERMISSION_SETS["push"] | {Right("x", "y")}) == "push and 1 more"
    assert short_rights(frozenset({Right("b", "y"), Right("a", "y")})) == "a:y, b:y"
