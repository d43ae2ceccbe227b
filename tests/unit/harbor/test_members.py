import httpx
import pytest

from imagepipe.errors import NotFoundError, PermissionRefusedError, RefusedError, UnavailableError, UnsupportedError
from imagepipe.harbor.v2.members import Membership2
from imagepipe.model.access import Member, Principal, PrincipalKind, Project, Role
from tests.unit.harbor.fake import FakeHarbor, refused

P = Project("p", handle="7")
ALICE = Principal.parse("alice")
DN = "cn=devs\\, all,ou=groups,dc=example"
POST, DELETE, PUT = "POST /projects/p/members", "DELETE /projects/p/members/1", "PUT /projects/p/members/1"


def of(harbor: FakeHarbor) -> Membership2:
    return Membership2(harbor.session())


@pytest.mark.parametrize(
    ("auth_mode", "name", "group"),
    [
        ("oidc_auth", "devs", {"group_name": "devs", "group_type": 3}),
        ("oidc_auth", DN, {"group_name": DN, "group_type": 3}),
        ("http_auth", "devs", {"group_name": "devs", "group_type": 2}),
        ("ldap_auth", "devs", {"group_name": "devs", "group_type": 1}),
        ("ldap_auth", DN, {"ldap_group_dn": DN, "group_type": 1}),
    ],
)
def test_a_group_is_named_as_the_login_mode_wants_it(auth_mode: str, name: str, group: dict[str, object]) -> None:
    harbor = FakeHarbor(auth_mode=auth_mode)
    member = of(harbor).add(P, Principal(PrincipalKind.GROUP, name), Role.DEVELOPER)
    (body,) = [body for body in harbor.bodies if body]
    assert body == {"role_id": 2, "member_group": group}
    assert (member.principal.kind, member.role) == (PrincipalKind.GROUP, Role.DEVELOPER)


TWIN = "cn=devs\\, all,ou=more,dc=example"


def twins(harbor: FakeHarbor) -> FakeHarbor:
    """Two groups of one name: Harbor lists the second one by its DN in lower case."""
    harbor.groups = [
        {"id": 21, "group_name": "devs, all", "group_type": 1, "ldap_group_dn": DN},
        {"id": 22, "group_name": TWIN, "group_type": 1, "ldap_group_dn": TWIN},
        {"id": 23, "group_name": DN, "group_type": 3},
    ]
    return harbor


@pytest.mark.parametrize("spelling", [DN, DN.upper(), DN.replace(",ou", " , ou")])
def test_an_administrator_finds_a_group_by_its_dn_however_it_is_spelt(spelling: str) -> None:
    harbor = twins(FakeHarbor(auth_mode="ldap_auth"))
    harbor.member("devs, all", 3, "g", 8, entity=21)
    harbor.member(TWIN, 3, "g", 9, entity=22)
    harbor.member("somebody", 3, "u", 10, entity=21)
    members, principal = of(harbor), Principal(PrincipalKind.GROUP, spelling)
    assert str(members.add(P, principal, Role.GUEST).principal) == "group:devs, all"
    assert harbor.count("POST") == 0
    members.remove(P, Member(principal, Role.GUEST))
    assert [member["id"] for member in harbor.members] == [9, 10]
    members.remove(P, Member(principal, Role.GUEST))
    with pytest.raises(NotFoundError, match="not a member"):
        members.set_role(P, Member(principal, Role.GUEST), Role.DEVELOPER)


def test_who_may_not_look_up_dns_adds_a_group_and_never_changes_its_twin() -> None:
    harbor = FakeHarbor(auth_mode="ldap_auth", user={"username": "dev"})
    harbor.member("devs, all", 3, "g", 8)
    members, principal = of(harbor), Principal(PrincipalKind.GROUP, DN)
    assert members.add(P, principal, Role.GUEST).handle == "8"
    assert harbor.count("POST") == 1
    for change in (members.remove, lambda project, member: members.set_role(project, member, Role.DEVELOPER)):
        with pytest.raises(RefusedError, match="may or may not be group:devs, all"):
            change(P, Member(principal, Role.GUEST))
    assert members.set_role(P, Member(principal, Role.GUEST, "8"), Role.DEVELOPER).role is Role.DEVELOPER
    members.remove(P, Member(principal, Role.DEVELOPER, "8"))
    assert harbor.members == []
    members.remove(P, Member(principal, Role.GUEST, "8"))
    assert harbor.count("GET /usergroups") == 0


def test_of_two_members_of_one_name_the_handle_tells_which() -> None:
    harbor = FakeHarbor(auth_mode="oidc_auth")
    harbor.member("devs", 3, "g", 8)
    harbor.member("devs", 3, "g", 9)
    members, principal = of(harbor), Principal.parse("group:devs")
    with pytest.raises(RefusedError, match="2 members"):
        members.remove(P, Member(principal, Role.GUEST, "7"))
    members.remove(P, Member(principal, Role.GUEST, "9"))
    assert [member["id"] for member in harbor.members] == [8]


@pytest.mark.parametrize("auth_mode", ["db_auth", "uaa_auth"])
def test_without_groups_nothing_is_asked(auth_mode: str) -> None:
    harbor = FakeHarbor(auth_mode=auth_mode)
    with pytest.raises(UnsupportedError, match=auth_mode):
        of(harbor).add(P, Principal.parse("group:devs"), Role.GUEST)
    assert harbor.requests == []


@pytest.mark.parametrize(
    ("auth_mode", "principal", "hint"),
    [
        ("oidc_auth", "alice", "log in to Harbor's web interface once, or add a group"),
        ("db_auth", "alice", "create the user"),
        ("ldap_auth", "alice", "the directory has no such user"),
        ("uaa_auth", "alice", "log in to Harbor once"),
        ("ldap_auth", "group:devs", "by its DN"),
        ("http_auth", "group:devs", "spelling"),
    ],
)
def test_who_is_unknown_is_helped_by_where_users_come_from(auth_mode: str, principal: str, hint: str) -> None:
    harbor = FakeHarbor(auth_mode=auth_mode)
    harbor.always(POST, lambda: refused(404, "alice not found: not supported"))
    with pytest.raises(NotFoundError, match="not supported") as caught:
        of(harbor).add(P, Principal.parse(principal), Role.GUEST)
    assert hint in (caught.value.hint or "")


def test_a_project_that_vanishes_is_told_from_a_user_who_is_unknown() -> None:
    harbor = FakeHarbor()

    def vanish() -> httpx.Response:
        harbor.projects.clear()
        return refused(404, "project p not found")

    harbor.always(POST, vanish)
    with pytest.raises(NotFoundError, match="there is no project p"):
        of(harbor).add(P, ALICE, Role.GUEST)


def test_a_403_is_told_apart_from_a_project_that_is_not_there() -> None:
    harbor = FakeHarbor(projects=[], hidden={"secret"})
    with pytest.raises(NotFoundError, match="there is no project nowhere"):
        of(harbor).list(Project("nowhere"))
    with pytest.raises(PermissionRefusedError, match="project secret exists, and admin lacks the right") as caught:
        of(harbor).list(Project("secret"))
    assert caught.value.message.count("exists") == 1


def test_a_right_that_is_lacking_for_a_write_is_told_once() -> None:
    harbor = FakeHarbor()
    harbor.always(POST, lambda: refused(403, "forbidden"))
    with pytest.raises(PermissionRefusedError, match="admin lacks the right") as caught:
        of(harbor).add(P, ALICE, Role.GUEST)
    assert caught.value.message.count("project p exists") == 1
    assert caught.value.hint == "ask an admin of project p for the right, or use another account"


def test_a_name_cannot_climb_out_of_its_project() -> None:
    harbor = FakeHarbor()
    with pytest.raises(NotFoundError):
        of(harbor).list(Project("../quotas?x="))
    assert harbor.requests[0].startswith("GET /projects/..%2Fquotas%3Fx%3D/members")


@pytest.mark.parametrize("after", [False, True])
@pytest.mark.parametrize("status", [500, 502])
def test_a_lost_answer_neither_loses_nor_doubles_a_member(status: int, *, after: bool) -> None:
    harbor = FakeHarbor()
    harbor.once(POST, refused(status), after=after)
    assert of(harbor).add(P, ALICE, Role.GUEST).role is Role.GUEST
    assert [member["entity_name"] for member in harbor.members] == ["alice"]
    assert harbor.count("POST") == (1 if after else 2)


@pytest.mark.parametrize("after", [False, True])
def test_a_lost_answer_to_a_change_or_removal_is_looked_after(*, after: bool) -> None:
    harbor = FakeHarbor()
    harbor.member("alice", 3)
    members = of(harbor)
    harbor.once(PUT, refused(500), after=after)
    member = members.set_role(P, Member(ALICE, Role.GUEST), Role.MAINTAINER)
    assert harbor.members[0]["role_id"] == 4
    harbor.once(DELETE, refused(500), after=after)
    members.remove(P, member)
    assert harbor.members == []


def test_a_removal_that_takes_effect_late_is_a_removal() -> None:
    harbor = FakeHarbor()
    harbor.member("alice", 3)
    harbor.always(DELETE, lambda: refused(500))
    harbor.clock.meanwhile = harbor.members.clear
    of(harbor).remove(P, Member(ALICE, Role.GUEST))
    assert harbor.count("DELETE") == 1


def test_a_harbor_that_stays_broken_is_reported_in_its_own_words() -> None:
    harbor = FakeHarbor()
    harbor.always(POST, lambda: refused(500, "internal server error"))
    with pytest.raises(UnavailableError, match="internal server error"):
        of(harbor).add(P, ALICE, Role.GUEST)
    assert harbor.count("POST") == 6


def test_a_look_that_fails_is_not_mistaken_for_a_write() -> None:
    harbor = FakeHarbor()
    harbor.member("alice", 3)
    members = of(harbor)
    harbor.once(PUT, refused(500))

    def breaking() -> httpx.Response:
        return refused(500, "the list broke") if harbor.count("PUT") else httpx.Response(200, json=harbor.members)

    harbor.always("GET /projects/p/members", breaking)
    with pytest.raises(UnavailableError, match="the list broke"):
        members.set_role(P, Member(ALICE, Role.GUEST), Role.DEVELOPER)


def test_a_change_that_harbor_takes_and_does_not_keep_is_no_success() -> None:
    harbor = FakeHarbor()
    harbor.member("alice", 3)
    harbor.always(PUT, lambda: httpx.Response(200))
    with pytest.raises(RefusedError, match="did not keep it"):
        of(harbor).set_role(P, Member(ALICE, Role.GUEST), Role.DEVELOPER)
    harbor.always(DELETE, lambda: httpx.Response(200))
    with pytest.raises(RefusedError, match="did not keep it"):
        of(harbor).remove(P, Member(ALICE, Role.GUEST))


def test_what_is_so_already_is_not_written() -> None:
    harbor = FakeHarbor()
    harbor.member("alice", 3)
    members = of(harbor)
    member = members.add(P, ALICE, Role.GUEST)
    members.set_role(P, member, Role.GUEST)
    assert not any(request.startswith(("POST", "PUT")) for request in harbor.requests)


def test_somebody_else_may_add_the_same_member_meanwhile() -> None:
    harbor = FakeHarbor()

    def overtaken() -> httpx.Response:
        harbor.member("alice", 3, number=9)
        return refused(409, "The project member specified already exist")

    harbor.always(POST, overtaken)
    assert of(harbor).add(P, ALICE, Role.GUEST).handle == "9"


def test_a_directory_may_spell_a_name_in_another_case() -> None:
    harbor = FakeHarbor(auth_mode="ldap_auth")
    harbor.member("Alice", 3, number=9)
    harbor.always(POST, lambda: refused(409, "exists"))
    assert of(harbor).add(P, ALICE, Role.GUEST) == Member(Principal.parse("Alice"), Role.GUEST)


def test_a_member_that_exists_and_shows_nowhere_is_said_to() -> None:
    harbor = FakeHarbor()
    harbor.always(POST, lambda: refused(409, "exists"))
    with pytest.raises(RefusedError, match="not listed"):
        of(harbor).add(P, ALICE, Role.GUEST)


@pytest.mark.parametrize("location", ["", "/api/v2.0/projects/p/members/999"])
def test_an_id_that_does_not_help_is_replaced_by_a_look(location: str) -> None:
    harbor = FakeHarbor()

    def created() -> httpx.Response:
        if not harbor.members:
            harbor.member("alice", 3)
        return httpx.Response(201, headers={"Location": location} if location else {})

    harbor.always(POST, created)
    assert of(harbor).add(P, ALICE, Role.GUEST).handle == "1"


def test_a_user_and_a_group_may_have_one_name() -> None:
    harbor = FakeHarbor(auth_mode="oidc_auth")
    harbor.member("devs", 1, "u", 4)
    harbor.member("devs", 2, "g", 5)
    members = of(harbor)
    assert [str(member.principal) for member in members.list(P)] == ["group:devs", "devs"]
    members.remove(P, Member(Principal.parse("group:devs"), Role.DEVELOPER))
    assert [member["id"] for member in harbor.members] == [4]


def test_a_role_that_nobody_knows_is_named_with_its_member() -> None:
    harbor = FakeHarbor()
    harbor.member("alice", 99)
    with pytest.raises(UnsupportedError, match="alice: no role has the number 99"):
        of(harbor).list(P)


def test_more_members_than_a_page_holds_are_all_listed() -> None:
    harbor = FakeHarbor()
    for number in range(230):
        harbor.member(f"user-{number:03}", 3)
    assert len(of(harbor).list(P)) == 230


def test_a_name_goes_into_the_query_as_it_is() -> None:
    harbor = FakeHarbor()
    name = "a&b=c d@example.com+x%20"
    of(harbor).add(P, Principal(PrincipalKind.USER, name), Role.GUEST)
    assert harbor.members[0]["entity_name"] == name
    assert len(of(harbor).list(P)) == 1
