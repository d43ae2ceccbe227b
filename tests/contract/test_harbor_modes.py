"""The administration of a Harbor whose users live elsewhere: groups, and hints for members whom it does not know."""

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path

import pytest

from imagepipe.errors import CredentialsError, ImagepipeError, NotFoundError, RefusedError, UnsupportedError
from imagepipe.harbor.administration import open_administration
from imagepipe.model.access import Member, Principal, Project, Role
from imagepipe.model.result import Credential
from imagepipe.ports.administration import Administration
from imagepipe.sandbox.harbor.directory import Directory
from tests.contract.harbor_world import ADMIN, PASSWORD, PROJECT, HarborClient, Login, harbor_of_a_team
from tests.contract.registry_worlds import Server

DEVS = "cn=devs,ou=groups,dc=example,dc=com"
DIRECTORY = Directory.parse(
    {
        "users": {
            "ada": {"password": PASSWORD, "email": "ada@example.com", "groups": [DEVS]},
            "eve@example.com": {"groups": ["devs"]},
        },
        "groups": {DEVS: "devs"},
    }
)
HERE = Project(PROJECT)
Modes = Callable[[str], AbstractContextManager[HarborClient]]


@pytest.fixture
def modes(backend: Server, seeds: Path, tmp_path: Path) -> Modes:
    @contextmanager
    def served(mode: str) -> Iterator[HarborClient]:
        changes = {"auth_mode": mode, "directory": DIRECTORY}
        with harbor_of_a_team(tmp_path, f"http://{backend.host}", seeds, **changes) as client:
            yield client

    return served


def _administration(harbor: HarborClient, login: Login = ADMIN) -> Administration:
    return open_administration(url=str(harbor.http.base_url), credential=Credential(*login))


def _add(admin: Administration, who: str, role: Role = Role.DEVELOPER) -> Member:
    return admin.membership.add(HERE, Principal.parse(who), role)


@pytest.mark.parametrize(
    ("mode", "said", "hint"),
    [
        ("db", "user nobody is not found", "ask a Harbor administrator to create the user"),
        ("ldap", "no user found: nobody", "the directory has no such user"),
        ("oidc", "nobody not found: not supported", "log in to Harbor's web interface once, or add a group"),
    ],
)
def test_an_unknown_user_is_told_how_to_become_known(modes: Modes, mode: str, said: str, hint: str) -> None:
    with modes(mode) as harbor, pytest.raises(NotFoundError, match=said) as refused:
        _add(_administration(harbor), "nobody")
    assert hint in str(refused.value.hint)


def test_an_oidc_user_is_added_once_it_has_logged_in(modes: Modes) -> None:
    with modes("oidc") as harbor:
        admin = _administration(harbor)
        with pytest.raises(NotFoundError):
            _add(admin, "eve@example.com")
        harbor.send("GET", "/c/oidc/callback?code=eve@example.com")
        assert _add(admin, "eve@example.com").role is Role.DEVELOPER


def test_an_ldap_user_is_added_without_having_logged_in(modes: Modes) -> None:
    with modes("ldap") as harbor:
        assert _add(_administration(harbor), "ada").principal == Principal.parse("ada")


def test_a_group_of_the_provider_is_added_raised_and_removed(modes: Modes) -> None:
    with modes("oidc") as harbor:
        admin, group = _administration(harbor), Principal.parse("group:devs")
        added = _add(admin, "group:devs")
        assert (added.principal, added.role) == (group, Role.DEVELOPER)
        assert _add(admin, "group:devs") == added
        with pytest.raises(RefusedError, match="developer there already"):
            _add(admin, "group:devs", Role.GUEST)
        added = admin.membership.set_role(HERE, added, Role.MAINTAINER)
        assert added.role is Role.MAINTAINER
        admin.membership.remove(HERE, added)
        assert group not in [member.principal for member in admin.membership.list(HERE)]


def test_a_user_and_a_group_of_one_name_are_two_members(modes: Modes) -> None:
    with modes("oidc") as harbor:
        admin = _administration(harbor)
        _add(admin, "group:dev", Role.GUEST)
        held = {str(member.principal): member.role for member in admin.membership.list(HERE)}
        assert (held["dev"], held["group:dev"]) == (Role.DEVELOPER, Role.GUEST)


@pytest.mark.parametrize("spelling", [DEVS, "CN=Devs, OU=groups, DC=example, DC=com"])
def test_an_ldap_group_is_added_by_its_dn_however_spelled(modes: Modes, spelling: str) -> None:
    with modes("ldap") as harbor:
        assert _add(_administration(harbor), f"group:{spelling}").principal == Principal.parse("group:devs")


def test_an_ldap_group_is_added_only_once(modes: Modes) -> None:
    with modes("ldap") as harbor:
        admin = _administration(harbor)
        assert _add(admin, f"group:{DEVS}") == _add(admin, f"group:{DEVS}")
        assert [str(member.principal) for member in admin.membership.list(HERE)].count("group:devs") == 1


def test_an_ldap_group_outside_the_base_is_not_known(modes: Modes) -> None:
    with modes("ldap") as harbor, pytest.raises(NotFoundError, match="failed to searh ldap group") as refused:
        _add(_administration(harbor), "group:cn=devs,dc=elsewhere")
    assert "by its DN" in str(refused.value.hint)


def test_an_ldap_group_by_a_plain_name_ends_with_a_way_out(modes: Modes) -> None:
    """Harbor itself answers 500 without a reason."""
    with modes("ldap") as harbor, pytest.raises(ImagepipeError) as refused:
        _add(_administration(harbor), "group:no-such-group")
    assert refused.value.hint


def test_a_database_of_harbors_own_has_no_groups(modes: Modes) -> None:
    with modes("db") as harbor, pytest.raises(UnsupportedError, match="has no groups"):
        _add(_administration(harbor), "group:devs")


def test_a_cli_secret_cannot_administer_and_says_what_can(modes: Modes) -> None:
    with modes("oidc") as harbor:
        harbor.send("GET", "/c/oidc/callback?code=eve@example.com")
        users = {user["username"]: user["user_id"] for user in harbor.ok("GET", "/users?page_size=50").json()}
        harbor.ok("PUT", f"/users/{users['eve@example.com']}/cli_secret", json={"secret": PASSWORD})
        with pytest.raises(CredentialsError) as refused:
            _administration(harbor, ("eve@example.com", PASSWORD))
        assert "robot or a local administrator" in str(refused.value.hint)


def test_a_project_admin_by_group_administers(modes: Modes) -> None:
    with modes("ldap") as harbor:
        _add(_administration(harbor), f"group:{DEVS}", Role.PROJECT_ADMIN)
        ada = _administration(harbor, ("ada", PASSWORD))
        assert "member:create" in {str(right) for right in ada.callers.rights(HERE)}
        assert _add(ada, "dev").role is Role.DEVELOPER


def test_the_log_of_a_project_is_read_newest_first(modes: Modes) -> None:
    with modes("db") as harbor:
        harbor.add_robot("ci", "repository:pull")
        entries = list(_administration(harbor).require_audit().entries(HERE))
        assert [(entry.operation, entry.resource_type) for entry in entries] == [
            ("create", "robot"),
            ("create", "project"),
        ]
        assert entries[0].user == "admin"
        assert list(_administration(harbor).require_audit().entries(HERE, since=entries[0].at)) == entries[:1]
