"""Members of a Harbor whose users and groups live in LDAP or with an OIDC provider, and its audit log."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path

import httpx
import pytest

from imagepipe.errors import CredentialsError, NotFoundError, UnavailableError
from imagepipe.harbor.administration import open_administration
from imagepipe.model.access import Member, Principal, PrincipalKind, Role
from imagepipe.model.result import Credential
from imagepipe.ports.administration import Administration
from imagepipe.sandbox.harbor.directory import Directory
from tests.contract.harbor_schema import CheckingTransport
from tests.contract.harbor_world import PASSWORD, HarborClient, config_for, served

DEVS = "cn=Devs,ou=groups,dc=example,dc=com"
TWINS = "cn=Devs,ou=more,dc=example,dc=com"
LDAP = {
    "users": {"ada": {"password": PASSWORD, "email": "ada@example.com", "groups": [DEVS]}},
    "groups": {DEVS: "Devs", TWINS: "Devs"},
}
OIDC = {"users": {"eve@example.com": {"groups": ["devs"]}}}


@contextmanager
def opened(folder: Path, mode: str, directory: Mapping[str, object]) -> Iterator[tuple[Administration, HarborClient]]:
    config = config_for(folder, "http://127.0.0.1:1", lock_s=0.0, auth_mode=mode, directory=Directory.parse(directory))
    with served(config) as client, CheckingTransport(httpx.HTTPTransport()) as transport:
        url, credential = str(client.http.base_url), Credential("admin", PASSWORD)
        yield open_administration(url=url, credential=credential, transport=transport), client


def group(name: str) -> Principal:
    return Principal(PrincipalKind.GROUP, name)


def test_a_user_of_the_directory_becomes_a_member_without_ever_logging_in(tmp_path: Path) -> None:
    with opened(tmp_path, "ldap", LDAP) as (harbor, _):
        project = harbor.projects.create("es-sandbox", {})
        assert harbor.membership.add(project, Principal.parse("ada"), Role.GUEST).role is Role.GUEST
        with pytest.raises(NotFoundError, match="nobody") as caught:
            harbor.membership.add(project, Principal.parse("nobody"), Role.GUEST)
        assert "directory" in (caught.value.hint or "")


def test_two_groups_of_one_name_stay_two_groups(tmp_path: Path) -> None:
    with opened(tmp_path, "ldap", LDAP) as (harbor, _):
        project = harbor.projects.create("es-sandbox", {})
        for dn, role in ((DEVS, Role.DEVELOPER), (TWINS, Role.GUEST)):
            assert harbor.membership.add(project, group(dn), role).role is role
            assert harbor.membership.add(project, group(dn.upper()), role).role is role
        assert len(harbor.membership.list(project)) == 3
        harbor.membership.remove(project, Member(group(DEVS), Role.DEVELOPER))
        assert {member.role for member in harbor.membership.list(project)} == {Role.PROJECT_ADMIN, Role.GUEST}


def test_a_group_that_is_not_in_the_directory_breaks_harbor_and_the_hint_says_so(tmp_path: Path) -> None:
    with opened(tmp_path, "ldap", LDAP) as (harbor, _):
        project = harbor.projects.create("es-sandbox", {})
        with pytest.raises(UnavailableError, match="HTTP 500") as caught:
            harbor.membership.add(project, group("cn=nobody,ou=groups,dc=example,dc=com"), Role.GUEST)
        assert "check the group's DN" in (caught.value.hint or "")


def test_an_oidc_user_must_log_in_once_and_a_group_need_not(tmp_path: Path) -> None:
    with opened(tmp_path, "oidc", OIDC) as (harbor, _):
        project = harbor.projects.create("es-sandbox", {})
        with pytest.raises(NotFoundError) as caught:
            harbor.membership.add(project, Principal.parse("eve@example.com"), Role.GUEST)
        assert caught.value.hint == "let the user log in to Harbor's web interface once, or add a group instead"
        added = harbor.membership.add(project, group("devs"), Role.DEVELOPER)
        assert added in harbor.membership.list(project)
        added = harbor.membership.set_role(project, added, Role.MAINTAINER)
        assert added.role is Role.MAINTAINER
        harbor.membership.remove(project, added)
        assert [str(member.principal) for member in harbor.membership.list(project)] == ["admin"]


def test_the_password_of_an_oidc_user_does_not_administer(tmp_path: Path) -> None:
    with opened(tmp_path, "oidc", OIDC) as (_, client), pytest.raises(CredentialsError) as caught:
        open_administration(url=str(client.http.base_url), credential=Credential("eve@example.com", "Secret12345"))
    assert "CLI secret" in (caught.value.hint or "")


@pytest.mark.parametrize("version", ["2.15.2", "2.12.4"])
def test_the_audit_log_tells_newest_first_who_did_what(tmp_path: Path, version: str) -> None:
    config = config_for(tmp_path, "http://127.0.0.1:1", lock_s=0.0, version=version)
    with served(config) as client, CheckingTransport(httpx.HTTPTransport()) as transport:
        credential = Credential("admin", PASSWORD)
        harbor = open_administration(url=str(client.http.base_url), credential=credential, transport=transport)
        project = harbor.projects.create("es-sandbox", {})
        entries = list(harbor.require_audit().entries(project))
        assert [(entry.user, entry.operation, entry.succeeded) for entry in entries] == [("admin", "create", True)]
        assert list(harbor.require_audit().entries(project, since=datetime.now(UTC) + timedelta(days=1))) == []
