from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from imagepipe.errors import InputError
from imagepipe.model.access import (
    PERMISSION_SETS,
    PROJECT_SETTINGS,
    AuditEntry,
    Caller,
    Member,
    Principal,
    PrincipalKind,
    Project,
    ProjectFacts,
    Right,
    Robot,
    RobotRequest,
    RobotSecret,
    Role,
)

NOW = datetime(2026, 3, 1, 12, tzinfo=UTC)
PULL = PERMISSION_SETS["pull"]
names = st.text(min_size=1).filter(lambda text: text.strip() == text != "")
words = st.from_regex(r"[a-z]+(-[a-z]+)?", fullmatch=True)


@pytest.mark.parametrize("role", Role)
def test_a_role_is_read_as_it_is_written_and_known_by_its_number(role: Role) -> None:
    assert Role.parse(str(role)) is role
    assert Role.of_harbor_id(role.harbor_id) is role


@pytest.mark.parametrize(
    ("text", "role"),
    [
        ("admin", Role.PROJECT_ADMIN),
        ("project-admin", Role.PROJECT_ADMIN),
        ("LIMITED_GUEST", Role.LIMITED_GUEST),
        ("Developer", Role.DEVELOPER),
    ],
)
def test_case_and_dashes_in_a_role_do_not_matter(text: str, role: Role) -> None:
    assert Role.parse(text) is role


def test_harbor_numbers_its_roles_out_of_order() -> None:
    assert [role.harbor_id for role in Role] == [1, 4, 2, 3, 5]


@pytest.mark.parametrize("text", ["", "owner", "admins", "5"])
def test_a_role_that_there_is_not_is_refused_with_those_there_are(text: str) -> None:
    with pytest.raises(InputError) as caught:
        Role.parse(text)
    assert "limitedGuest" in (caught.value.hint or "")


@pytest.mark.parametrize("number", [0, 6, 99, -1])
def test_a_number_without_a_role_is_refused(number: int) -> None:
    with pytest.raises(InputError, match=str(number)):
        Role.of_harbor_id(number)


@given(st.sampled_from(PrincipalKind), names)
def test_a_principal_is_read_as_it_is_written(kind: PrincipalKind, name: str) -> None:
    principal = Principal(kind, name)
    assert Principal.parse(str(principal)) == principal


@pytest.mark.parametrize(
    ("text", "kind", "name"),
    [
        ("alice", PrincipalKind.USER, "alice"),
        ("bob@example.com", PrincipalKind.USER, "bob@example.com"),
        ("Carl von Carlsen", PrincipalKind.USER, "Carl von Carlsen"),
        ("user:group:odd", PrincipalKind.USER, "group:odd"),
        ("group:cn=devs,ou=groups", PrincipalKind.GROUP, "cn=devs,ou=groups"),
        ("robot:ci", PrincipalKind.USER, "robot:ci"),
    ],
)
def test_only_user_and_group_are_kinds(text: str, kind: PrincipalKind, name: str) -> None:
    assert Principal.parse(text) == Principal(kind, name)


@pytest.mark.parametrize("text", ["", " ", " alice", "alice ", "group:", "user: "])
def test_a_name_of_blanks_is_refused(text: str) -> None:
    with pytest.raises(InputError):
        Principal.parse(text)


@given(words, words)
def test_a_right_is_read_as_it_is_written(resource: str, action: str) -> None:
    right = Right(resource, action)
    assert Right.parse(str(right)) == right


@pytest.mark.parametrize("text", ["", "pull", ":pull", "repository:", "a:b:c"])
def test_what_is_no_right_is_refused(text: str) -> None:
    with pytest.raises(InputError, match="not a right"):
        Right.parse(text)


def test_the_permission_sets_grow_from_pull_over_push_to_ci() -> None:
    assert PULL < PERMISSION_SETS["push"] < PERMISSION_SETS["ci"]
    assert Right.parse("repository:push") not in PULL | PERMISSION_SETS["read"]


def test_no_permission_set_lets_a_robot_change_robots_or_members() -> None:
    assert not {right.resource for held in PERMISSION_SETS.values() for right in held} & {"robot", "member"}


@pytest.mark.parametrize("days", [0, -1, 2**31])
def test_a_robot_lives_a_day_at_least(days: int) -> None:
    with pytest.raises(InputError, match=str(days)):
        RobotRequest("ci", None, PULL, days)


def test_a_robot_may_live_for_ever_and_has_rights() -> None:
    assert RobotRequest("ci", "p", PULL, None).days is None
    with pytest.raises(InputError, match="no rights"):
        RobotRequest("ci", "p", frozenset(), 1)


def robot(expires_at: datetime | None = NOW) -> Robot:
    return Robot("ci", "robot$p+ci", "p", PULL, expires_at, disabled=False)


def test_a_robot_expires_in_the_very_second() -> None:
    assert robot().expired(NOW)
    assert not robot().expired(NOW - timedelta(seconds=1))
    assert not robot(None).expired(NOW + timedelta(days=10_000))


def test_a_secret_never_shows() -> None:
    assert "hunter2" not in repr(RobotSecret(robot(), "hunter2"))


def test_a_handle_is_nobody_elses_business() -> None:
    alice = Principal.parse("alice")
    assert Member(alice, Role.GUEST, "1") == Member(alice, Role.GUEST, "2")
    assert Project("p", {"public": True}, "1") == Project("p", {"public": True}, "2")
    assert hash(Project("p", {"public": True})) == hash(Project("p", {}))
    entry = AuditEntry(NOW, "alice", "create", "artifact", "p/r:1", handle="1")
    assert entry == AuditEntry(NOW, "alice", "create", "artifact", "p/r:1", handle="2")
    assert entry.succeeded


def test_what_nobody_may_know_is_none_and_nobody_is_an_administrator_by_default() -> None:
    assert ProjectFacts(None, None, None).repositories is None
    assert not Caller("robot$ci", "robot").system_admin


def test_every_setting_has_a_kind() -> None:
    assert set(PROJECT_SETTINGS.values()) == {bool, str, int}
