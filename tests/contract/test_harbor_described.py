"""Every request that the code can make of a Harbor, and every answer, against Harbor's own API descriptions."""

import json
from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping, Set
from pathlib import Path
from typing import Any

import httpx
import pytest

from imagepipe.harbor.administration import open_administration
from imagepipe.harbor.connection import Connection
from imagepipe.harbor.v2.keeping import Keeper2
from imagepipe.harbor.v2.scans import Scans2
from imagepipe.model.access import PERMISSION_SETS, Principal, Project, RobotRequest, Role
from imagepipe.model.digest import Digest
from imagepipe.model.reference import Repository
from imagepipe.model.result import Credential
from imagepipe.ports.administration import Administration
from imagepipe.sandbox.harbor.directory import Directory
from tests.contract.harbor_calls import Site, sites
from tests.contract.harbor_schema import HARBOR_1, HARBOR_2, CheckingTransport, Description, SchemaError
from tests.contract.harbor_world import PASSWORD, PROJECT, HarborClient, harbor_of_a_team
from tests.contract.registry_worlds import Server
from tests.contract.vic_world import VicClient, vic_of_a_team

DEVS = "cn=devs,ou=groups,dc=example,dc=com"
DIRECTORY = Directory.parse({"users": {}, "groups": {DEVS: "devs"}})
EVERYWHERE = tuple(f"imagepipe/harbor/{name}.py" for name in ("client", "detect", "making", "paging"))
HELLO, LOGIN = "hello/world", Credential("admin", PASSWORD)
FOUND = {"severity": "High", "vulnerabilities": [{"id": "CVE-1", "package": "a", "version": "1", "severity": "High"}]}


@pytest.fixture
def second(backend: Server, seeds: Path, tmp_path: Path) -> Iterator[HarborClient]:
    with harbor_of_a_team(tmp_path, f"http://{backend.host}", seeds, lock_s=0.0) as client:
        yield client


@pytest.fixture
def first(backend: Server, seeds: Path, tmp_path: Path) -> Iterator[VicClient]:
    with vic_of_a_team(tmp_path, f"http://{backend.host}", seeds, flavour="harbor-1") as client:
        yield client


def entered(client: HarborClient | VicClient, transport: httpx.BaseTransport) -> Administration:
    return open_administration(url=str(client.http.base_url), credential=LOGIN, transport=transport)


def everything(harbor: Administration, settings: Mapping[str, bool | str | int], *, held: int = 0) -> None:
    """Does once what the ports of every dialect promise."""
    project = harbor.projects.create("tour", {})
    project = harbor.projects.change(project, settings)
    assert project in tuple(harbor.projects.list())
    stranger = Principal.parse("stranger")
    member = harbor.membership.add(project, stranger, Role.GUEST)
    member = harbor.membership.set_role(project, member, Role.DEVELOPER)
    harbor.membership.remove(project, member)
    harbor.callers.caller()
    harbor.callers.rights(Project(project.name))
    assert list(harbor.require_audit().entries(project))
    assert harbor.projects.facts(Project(PROJECT)).repositories == held
    harbor.projects.delete(project)


def robots(harbor: Administration) -> None:
    assert harbor.require_robots().list(None)
    for project in (next(harbor.projects.list(name=PROJECT)), None):
        asked = RobotRequest("tour", project.name if project else None, PERMISSION_SETS["push"], 1)
        made = harbor.require_robots().create(asked, project)
        assert made.robot in harbor.require_robots().list(project)
        harbor.require_robots().describe(made.robot, lambda _: "told")
        harbor.require_robots().disable(made.robot)
        harbor.require_robots().delete(made.robot)


def images(client: HarborClient, harbor: Administration, transport: httpx.BaseTransport) -> None:
    host = str(client.http.base_url).rstrip("/").partition("://")[2]
    connection = Connection(url=str(client.http.base_url), credential=LOGIN, transport=transport)
    pushed = [client.push(f"{PROJECT}/{HELLO}", tag, layer=tag.encode()) for tag in ("1.0", "2.0")]
    one, two = (Repository(host, f"{PROJECT}/{HELLO}").pin(Digest.parse(each.digest)) for each in pushed)
    client.harbor.faults.set(scans={pushed[0].digest: FOUND})
    state = harbor.obstacles and harbor.obstacles.artifact(Project(PROJECT), HELLO, "1.0")
    assert state is not None
    assert harbor.obstacles is not None
    assert harbor.obstacles.read_only() is False
    scans = Scans2(lambda: connection, registry=host)
    assert scans.report(one) is not None
    assert len(scans.vulnerabilities(one)) == 1
    keeper = Keeper2(lambda: connection, registry=host)
    for image in (one, two):
        keeper.keep([image])
    for image in (one, two):
        keeper.release([image])


def groups(harbor: Administration) -> None:
    project = next(harbor.projects.list(name=PROJECT))
    member = harbor.membership.add(project, Principal.parse(f"group:{DEVS}"), Role.GUEST)
    assert member in harbor.membership.list(project)
    harbor.membership.remove(project, member)


def unseen(made: Set[tuple[str, str]], *patterns: str) -> list[Site]:
    """Returns the functions of these files with a request that nobody saw."""
    operations = defaultdict[Site, set[str]](set)
    for function, operation in made:
        operations[function, operation.partition(" ")[0]].add(operation)
    written = sites(*EVERYWHERE, *patterns)
    assert len(written) > 10
    return sorted(site for site, count in written.items() if len(operations[site]) < count)


def test_every_request_to_harbor_2_and_every_answer_is_described(
    second: HarborClient, backend: Server, seeds: Path, tmp_path_factory: pytest.TempPathFactory
) -> None:
    with CheckingTransport(httpx.HTTPTransport()) as transport:
        harbor = entered(second, transport)
        images(second, harbor, transport)
        everything(harbor, {"auto_scan": True, "storage_limit_bytes": 10**9}, held=1)
        second.add_robot("there", "repository:pull", level="system", namespace="*")
        robots(harbor)
        folder = tmp_path_factory.mktemp("ldap")
        changes: dict[str, Any] = {"auth_mode": "ldap", "directory": DIRECTORY}
        with harbor_of_a_team(folder, f"http://{backend.host}", seeds, **changes) as client:
            groups(entered(client, transport))
        old = tmp_path_factory.mktemp("old")
        with harbor_of_a_team(old, f"http://{backend.host}", seeds, version="2.1.6") as client:
            everything(entered(client, transport), {"auto_scan": True})
    assert unseen(transport.made, "imagepipe/harbor/v2/*.py") == []


def test_every_request_to_harbor_1_and_every_answer_is_described(first: VicClient) -> None:
    first.push(f"{PROJECT}/{HELLO}", "1.0")
    with CheckingTransport(httpx.HTTPTransport(), HARBOR_1) as transport:
        everything(entered(first, transport), {"auto_scan": True, "max_severity": "high"}, held=1)
        first.vic.store.set_setting("auth_mode", "ldap_auth")
        first.vic.store.set_setting("ldap_groups", json.dumps({DEVS: "devs"}))
        groups(entered(first, transport))
    assert unseen(transport.made, "imagepipe/harbor/v1*.py") == []


def test_a_request_that_nobody_saw_is_found() -> None:
    delete = ("imagepipe.harbor.v1_projects.Projects1.delete", "DELETE")
    assert delete in unseen(set(), "imagepipe/harbor/v1*.py")
    assert delete not in unseen({(delete[0], "DELETE /projects/{project_id}")}, "imagepipe/harbor/v1*.py")


Spoilt = tuple[str, str, Any, str]
# Method and path, what is sent along, and the complaint.
REQUESTS: dict[str, list[Spoilt]] = {
    HARBOR_1.file: [
        ("GET", "/api/project", None, "GET /api/project is not described"),
        ("PATCH", "/api/projects/1", None, "PATCH /api/projects/1 is not described"),
        ("GET", "/api/projects/es-sandbox", None, "GET /api/projects/es-sandbox is not described"),
        ("GET", "/api/projects?q=name", None, "query q$"),
        ("GET", "/api/projects?page=one", None, "query page is no integer"),
        ("HEAD", "/api/projects", None, "query project_name is missing"),
        ("GET", "/api/projects", {}, "a body where none is described"),
        ("POST", "/api/projects", {"name": "x"}, "body: has name"),
        ("POST", "/api/projects", {"project_name": 1}, "body: project_name: type"),
        ("POST", "/api/projects", {"metadata": {"public": True}}, "body: metadata.public: type"),
        (
            "POST",
            "/api/projects/1/members",
            {"role_id": 1, "member_user": {"name": "x"}},
            "body: member_user: has name",
        ),
        ("PUT", "/api/projects/1/members/2", {"role_id": "guest"}, "body: role_id: type"),
    ],
    HARBOR_2.file: [
        ("GET", "/api/v2.0/project", None, "GET /api/v2.0/project is not described"),
        ("GET", "/api/projects", None, "GET /api/projects is not described"),
        ("DELETE", "/api/v2.0/robots/ci", None, "DELETE /api/v2.0/robots/ci is not described"),
        ("GET", "/api/v2.0/projects?page_size=101", None, "query page_size is too large"),
        ("GET", "/api/v2.0/projects?with_detail=yes", None, "query with_detail is no boolean"),
        ("POST", "/api/v2.0/robots", {"name": "x", "secret": "x", "rights": []}, "body: has rights"),
        ("POST", "/api/v2.0/robots", {"name": "x", "permissions": [{"access": [{"act": "x"}]}]}, "access: has act"),
        ("PUT", "/api/v2.0/projects/x", {"storage_limit": "1"}, "body: storage_limit: type"),
    ],
}
# Method and path, status and what comes back, and the complaint.
ANSWERS: dict[str, list[tuple[str, str, int, Any, str]]] = {
    HARBOR_1.file: [
        ("GET", "/api/projects", 200, [{"id": 1}], "200: has id"),
        ("GET", "/api/projects", 200, [{"project_id": "1"}], "200: project_id: type"),
        ("GET", "/api/projects", 200, {}, "200: type"),
        ("GET", "/api/projects", 200, b"", "200: no body"),
        ("GET", "/api/projects", 200, b"<html>", "200: no JSON"),
        ("GET", "/api/projects", 204, b"", "GET /projects: 204$"),
        ("GET", "/api/projects", 401, {"code": 401}, "401: no text"),
        ("GET", "/api/projects/1/members", 200, [{"entity_type": 1}], "200: entity_type: type"),
        ("DELETE", "/api/projects/1", 200, {"deleted": True}, "200: a body"),
        ("GET", "/api/systeminfo", 200, {"with_admiral": "no"}, "200: with_admiral: type"),
    ],
    HARBOR_2.file: [
        ("GET", "/api/v2.0/projects/x", 200, {"project_id": "1"}, "200: project_id: type"),
        ("GET", "/api/v2.0/projects/x", 200, {"metadata": {"public": True}}, "200: metadata.public: type"),
        ("GET", "/api/v2.0/projects/x", 418, {"errors": []}, "418"),
        ("GET", "/api/v2.0/projects/x", 401, {"error": "no"}, "401: has error"),
        ("GET", "/api/v2.0/robots", 200, [{"permissions": [{"access": {}}]}], "200: permissions.access: type"),
        ("DELETE", "/api/v2.0/robots/1", 200, {"id": 1}, "200: a body"),
    ],
}
BOTH = {HARBOR_1.file: HARBOR_1, HARBOR_2.file: HARBOR_2}


def ask(description: Description, method: str, path: str, sent: Any, answer: Callable[..., httpx.Response]) -> None:
    with CheckingTransport(httpx.MockTransport(answer), description) as transport:
        transport.handle_request(httpx.Request(method, f"http://harbor.example{path}", json=sent))


@pytest.mark.parametrize(("file", "spoilt"), [(file, each) for file, found in REQUESTS.items() for each in found])
def test_a_spoilt_request_is_caught_before_it_is_sent(file: str, spoilt: Spoilt) -> None:
    def never(request: httpx.Request) -> httpx.Response:
        pytest.fail(f"{request} went out")

    method, path, sent, complaint = spoilt
    with pytest.raises(SchemaError, match=complaint):
        ask(BOTH[file], method, path, sent, never)


@pytest.mark.parametrize(("file", "spoilt"), [(file, each) for file, found in ANSWERS.items() for each in found])
def test_a_spoilt_answer_is_caught(file: str, spoilt: tuple[str, str, int, Any, str]) -> None:
    method, path, status, body, complaint = spoilt
    content = {"content": body} if isinstance(body, bytes) else {"json": body}
    with pytest.raises(SchemaError, match=complaint):
        ask(BOTH[file], method, path, None, lambda _: httpx.Response(status, **content))


@pytest.mark.parametrize("file", BOTH)
def test_every_lie_is_of_something_that_is_described_otherwise(file: str) -> None:
    paths = BOTH[file].data["paths"]
    for name, reason in BOTH[file].lies.items():
        operation, status, *about = name.split(": ")
        method, path = operation.split(" ")
        described = paths[path][method.lower()]["responses"]
        assert bool(about) or status not in described, name
        assert "src/" in reason or "swagger" in reason, name
