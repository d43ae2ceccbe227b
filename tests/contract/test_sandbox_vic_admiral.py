"""Admiral beside VIC's Harbor: logging in, projects, roles and their traps."""

import asyncio
import base64
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from starlette.applications import Starlette

from imagepipe.sandbox.vic.admiral import create_admiral
from imagepipe.sandbox.vic.app import create_app
from tests.contract.harbor_world import PASSWORD, basic
from tests.contract.vic_world import vic_config

ADMIN, ALICE, BOB = "admin@vsphere.local", "alice@corp.example", "bob@corp.example"
DEVS = "devs@corp.example"


class Admiral:
    """One Admiral in this process, asked as whoever is wanted."""

    def __init__(self, folder: Path) -> None:
        config = vic_config(folder, "http://127.0.0.1:1", "vic")
        harbor = create_app(config)
        self.state, self.sessions = harbor.state.admiral, harbor.state.sessions
        self.app: Starlette = create_admiral(self.state, self.sessions)
        self.switches = self.app.state.switches
        self.switches.write_delay_s = 0.05
        admin = self.state.store.one("SELECT * FROM users WHERE id = 1")
        for name in (ALICE, BOB):
            user = self.state.store.insert(
                "users",
                username=name,
                secret=admin["secret"],
                salt=admin["salt"],
                creation_time=admin["creation_time"],
                update_time=admin["update_time"],
            )
            self.state.people.add(name, user=user)
        self.state.people.add(DEVS, type_="GROUP")
        self.state.people.join(DEVS, BOB)

    def ask(self, who: str | None, method: str, path: str, **more: Any) -> httpx.Response:
        async def once() -> httpx.Response:
            transport = httpx.ASGITransport(self.app)
            async with httpx.AsyncClient(transport=transport, base_url="https://admiral.test:8282") as http:
                headers = dict(more.pop("headers", {}))
                if who is not None:
                    headers["x-xenon-auth-token"] = self.sessions.open(who) if who else ""
                answer = await http.request(method, path, headers=headers, **more)
                await asyncio.sleep(0.1 if method in {"PATCH", "PUT"} else 0)
                return answer

        return asyncio.run(once())

    def project(self, name: str = "es-sandbox", **more: Any) -> str:
        answer = self.ask(ADMIN, "POST", "/projects", json={"name": name, **more})
        assert answer.status_code == 200, answer.text
        return str(answer.json()["documentSelfLink"])

    def change(self, link: str, **roles: Any) -> httpx.Response:
        return self.ask(ADMIN, "PATCH", link, json=roles)

    def roles(self, link: str) -> dict[str, list[str]]:
        document = self.ask(ADMIN, "GET", "/projects?expand=true").json()["documents"][link]
        return {where: [each["id"] for each in document[where]] for where in ("administrators", "members", "viewers")}


@pytest.fixture
def admiral(tmp_path: Path) -> Iterator[Admiral]:
    made = Admiral(tmp_path)
    yield made
    made.state.store.close()


def test_who_brings_no_token_is_sent_to_the_single_sign_on(admiral: Admiral) -> None:
    answer = admiral.ask(None, "GET", "/")
    assert answer.status_code == 302
    assert answer.headers["location"].startswith("https://admiral.test:8282/sso?SAMLRequest=")


def test_a_login_through_the_page_gives_a_token(admiral: Admiral) -> None:
    form = {"CastleAuthorization": basic((ALICE, PASSWORD))}
    page = admiral.ask(None, "POST", "/sso", data=form)
    assert 'id="SamlPostForm"' in page.text
    assertion = page.text.partition('<input value="')[2].partition('"')[0]
    sent = {"SAMLResponse": assertion, "RelayState": "SessionId"}
    opened = admiral.ask(None, "POST", "/sso/assertion", data=sent)
    assert "x-xenon-auth-token" not in opened.headers
    token = opened.headers["set-cookie"].partition("xenon-auth-cookie=")[2].partition(";")[0]
    session = admiral.ask(None, "GET", "/auth/session", headers={"x-xenon-auth-token": token}).json()
    assert (session["id"], session["roles"]) == (ALICE, ["BASIC_USER", "BASIC_USER_EXTENDED"])
    assert admiral.ask(None, "POST", "/sso/assertion", data=sent).status_code == 403


def test_a_wrong_password_gets_no_page(admiral: Admiral) -> None:
    form = {"CastleAuthorization": basic((ALICE, "Wrong12345"))}
    assert admiral.ask(None, "POST", "/sso", data=form).status_code == 401


def test_basic_logins_are_for_local_users(admiral: Admiral) -> None:
    headers, body = {"Authorization": basic((ALICE, PASSWORD))}, {"requestType": "LOGIN"}
    assert admiral.ask(None, "POST", "/core/authn/basic", json=body, headers=headers).status_code == 403
    admiral.switches.sso = False
    opened = admiral.ask(None, "POST", "/core/authn/basic", json=body, headers=headers)
    assert (opened.status_code, bool(opened.headers["x-xenon-auth-token"])) == (200, True)
    assert admiral.ask(None, "POST", "/core/authn/basic", json=body).headers["www-authenticate"] == (
        'Basic realm="xenon"'
    )
    colon = {"Authorization": "Basic " + base64.b64encode(b"a:b:c").decode()}
    assert admiral.ask(None, "POST", "/core/authn/basic", json=body, headers=colon).status_code == 400


def test_an_empty_token_is_a_guest_who_sees_public_projects_only(admiral: Admiral) -> None:
    refused = admiral.ask("", "GET", "/auth/session")
    assert (refused.status_code, refused.json()["message"]) == (403, "forbidden")
    assert refused.json()["documentKind"] == "com:vmware:xenon:common:ServiceErrorResponse"
    (public,) = admiral.ask("", "GET", "/projects?public=true").json()["documents"].values()
    assert set(public) == {"name", "documentSelfLink", "customProperties"}
    assert public["customProperties"]["__projectIndex"] == "1"


def test_a_project_is_made_by_a_cloud_administrator_without_members(admiral: Admiral) -> None:
    assert admiral.ask(ALICE, "POST", "/projects", json={"name": "mine"}).status_code == 403
    link = admiral.project(administrators={"add": [ALICE]})
    assert admiral.roles(link) == {"administrators": [], "members": [], "viewers": []}
    again = admiral.ask(ADMIN, "POST", "/projects", json={"name": "es-sandbox"})
    assert (again.status_code, again.json()["message"]) == (500, "Project name 'es-sandbox' is already used.")


def test_a_list_has_documents_only_when_something_of_odata_is_asked(admiral: Admiral) -> None:
    link = admiral.project()
    assert "documents" not in admiral.ask(ADMIN, "GET", "/projects").json()
    params = {"$filter": "name eq 'es-*' and isPublic eq 'false'"}
    assert list(admiral.ask(ADMIN, "GET", "/projects", params=params).json()["documents"]) == [link]
    params = {"$filter": "customProperties.__projectIndex eq '1'"}
    assert list(admiral.ask(ADMIN, "GET", "/projects", params=params).json()["documents"]) == [
        "/projects/default-project"
    ]


def test_what_is_not_ones_own_is_not_listed_forbidden_by_link_and_unknown_otherwise(admiral: Admiral) -> None:
    link = admiral.project()
    assert admiral.ask(ALICE, "GET", "/projects?expand=true").json()["documentLinks"] == []
    assert admiral.ask(ALICE, "GET", link).status_code == 403
    assert admiral.ask(ALICE, "GET", "/projects/none").status_code == 404


def test_a_users_role_is_written_after_the_200(admiral: Admiral) -> None:
    link = admiral.project()
    admiral.switches.write_delay_s = 0.6
    seen: list[list[str]] = []

    async def patch_and_look() -> None:
        transport = httpx.ASGITransport(admiral.app)
        async with httpx.AsyncClient(transport=transport, base_url="https://admiral.test:8282") as http:
            headers = {"x-xenon-auth-token": admiral.sessions.open(ADMIN)}
            answer = await http.patch(link, json={"members": {"add": [ALICE]}}, headers=headers)
            assert answer.status_code == 200
            for wait_s in (0.0, 0.8):
                await asyncio.sleep(wait_s)
                document = (await http.get(link, params={"expand": "true"}, headers=headers)).json()
                seen.append([each["id"] for each in document["members"]])

    asyncio.run(patch_and_look())
    assert seen == [[], [ALICE]]


def test_one_unknown_id_fails_everything(admiral: Admiral) -> None:
    link = admiral.project()
    answer = admiral.change(link, members={"add": [ALICE], "remove": ["ghost@corp.example"]})
    assert answer.status_code == 400
    assert answer.json()["message"].startswith("Service not found: /auth/idm/principals/")
    assert admiral.roles(link)["members"] == []


def test_a_group_that_goes_from_administrators_to_members_at_once_is_lost(admiral: Admiral) -> None:
    link = admiral.project()
    admiral.change(link, administrators={"add": [DEVS]})
    assert admiral.roles(link)["administrators"] == [DEVS]
    admiral.change(link, administrators={"remove": [DEVS]}, members={"add": [DEVS]})
    assert admiral.roles(link) == {"administrators": [], "members": [], "viewers": []}
    admiral.change(link, members={"add": [DEVS]})
    assert admiral.roles(link)["members"] == [DEVS]


def test_roles_of_groups_count_and_members_are_extended(admiral: Admiral) -> None:
    link = admiral.project()
    admiral.change(link, members={"add": [DEVS]})
    (project,) = admiral.ask(BOB, "GET", "/auth/session").json()["projects"]
    assert project["roles"] == ["PROJECT_MEMBER", "PROJECT_MEMBER_EXTENDED"]


def test_the_last_administrator_may_leave(admiral: Admiral) -> None:
    link = admiral.project()
    admiral.change(link, administrators={"add": [ALICE]})
    assert admiral.ask(ALICE, "PATCH", link, json={"administrators": {"remove": [ALICE]}}).status_code == 200
    assert admiral.roles(link)["administrators"] == []


def test_another_spelling_makes_a_member_that_no_login_finds(admiral: Admiral) -> None:
    link = admiral.project()
    assert admiral.change(link, members={"add": [ALICE.title()]}).status_code == 200
    assert admiral.roles(link)["members"] == [ALICE.title()]
    assert admiral.ask(ALICE, "GET", "/auth/session").json()["projects"] == []


def test_a_forgotten_user_shows_in_lists_only_and_a_forgotten_group_breaks_the_project(admiral: Admiral) -> None:
    link = admiral.project()
    admiral.change(link, members={"add": [ALICE, DEVS]})
    admiral.state.people.forget(ALICE)
    assert admiral.roles(link)["members"] == [ALICE, DEVS]
    single = admiral.ask(ADMIN, "GET", f"{link}?expand=true").json()
    assert [each["id"] for each in single["members"]] == [DEVS]
    admiral.state.people.forget(DEVS)
    assert admiral.ask(ADMIN, "GET", f"{link}?expand=true").status_code == 404


def test_properties_are_merged_and_the_name_stays(admiral: Admiral) -> None:
    link = admiral.project(customProperties={"a": "1"})
    admiral.change(link, customProperties={"__enableContentTrust": True, "__projectIndex": "7"})
    properties = admiral.ask(ADMIN, "GET", link).json()["customProperties"]
    assert (properties["a"], properties["__enableContentTrust"]) == ("1", "true")
    assert properties["__projectIndex"] != "7"
    renamed = admiral.change(link, name="other")
    assert (renamed.status_code, renamed.json()["message"]) == (400, "Cannot change project name!")
    assert admiral.ask(ADMIN, "PATCH", link).status_code == 304


def test_put_loses_the_groups(admiral: Admiral) -> None:
    link = admiral.project()
    admiral.change(link, members={"add": [DEVS, ALICE]})
    assert admiral.ask(ADMIN, "PUT", link, json={"name": "es-sandbox", "description": "x"}).status_code == 200
    assert admiral.roles(link)["members"] == [ALICE]


def test_principals_are_found_by_any_part_and_by_id_raw_or_encoded(admiral: Admiral) -> None:
    found = admiral.ask(ALICE, "GET", "/auth/idm/principals?criteria=CORP").json()
    assert [each["id"] for each in found] == [ALICE, BOB, DEVS]
    encoded = base64.urlsafe_b64encode(ALICE.encode()).decode()
    for path in (ALICE, ALICE.replace("@", "%40"), encoded):
        assert admiral.ask(BOB, "GET", f"/auth/idm/principals/{path}").json()["id"] == ALICE
    assert admiral.ask(BOB, "GET", "/auth/idm/principals").status_code == 400
    assert admiral.ask(BOB, "GET", "/auth/idm/principals/ghost@x").status_code == 404


def test_a_project_with_repositories_is_not_removable(admiral: Admiral) -> None:
    link = admiral.project()
    row = admiral.state.project_by_name("es-sandbox")
    admiral.state.store.insert(
        "repositories", project_id=row["project_id"], name="es-sandbox/a", creation_time="", update_time=""
    )
    answer = admiral.ask(ADMIN, "DELETE", link)
    assert (answer.status_code, answer.json()["message"]) == (
        400,
        "Project is not removable: the project contains repositories, can not be deleted",
    )
    assert admiral.ask(ADMIN, "DELETE", "/projects/never-there").status_code == 200
