"""What came with which version of Harbor 2.x: the version just before and the first, as a user of each meets them."""

from collections.abc import Callable
from contextlib import AbstractContextManager
from pathlib import Path

import httpx
import pytest

from imagepipe.errors import NotFoundError, PermissionRefusedError
from imagepipe.harbor.administration import open_administration
from imagepipe.harbor.connection import Connection
from imagepipe.harbor.features import SINCE
from imagepipe.harbor.v2.keeping import Keeper2
from imagepipe.model.access import PERMISSION_SETS, Principal, Project, RobotRequest, Role
from imagepipe.model.digest import Digest
from imagepipe.model.reference import Repository
from imagepipe.model.result import Credential
from tests.contract.harbor_world import ADMIN, PASSWORD, PROJECT, HarborClient, harbor_of_a_team
from tests.contract.registry_worlds import Server
from tests.e2e.cli import Run
from tests.e2e.dialects import Within

SET = ("project", "set", PROJECT)
ROBOT = ("robot", "create", "--days", "3", "--show-secret", PROJECT, "ci", "--can")
SYSTEM = ("robot", "create", "--days", "3", "--show-secret", "/", "ci", "--system-can")
# What is asked for, and what the refusal names; where a robot gets a right, a name stands before it.
REFUSED: dict[str, tuple[tuple[str, ...], str]] = {
    "robots": ((*ROBOT, "push"), "robot accounts"),
    "require_cosign": ((*SET, "require_cosign=true"), "no setting require_cosign"),
    "require_notation": ((*SET, "require_notation=true"), "no setting require_notation"),
    "auto_sbom": ((*SET, "auto_sbom=true"), "no setting auto_sbom"),
    "right:sbom": ((*ROBOT, "sbom:read"), "right sbom:read"),
    "right:quota": ((*ROBOT, "quota:read"), "right quota:read"),
    "right:robot": ((*ROBOT, "robot:list"), "right robot:list"),
    "right:member": ((*ROBOT, "member:list"), "right member:list"),
    "right:user": ((*SYSTEM, "user:list"), "right user:list"),
    "right:user-group": ((*SYSTEM, "user-group:list"), "right user-group:list"),
    "right:ldap-user": ((*SYSTEM, "ldap-user:list"), "right ldap-user:list"),
}
# What is done all the same, in the older way, and what is asked for from then on, and not before.
DONE = {
    "path:": f"PUT /projects/{PROJECT}",
    "path:summary": f"GET /projects/{PROJECT}/summary",
    "path:members": f"POST /projects/{PROJECT}/members",
    "path:immutabletagrules": f"POST /projects/{PROJECT}/immutabletagrules",
    "permissions": "GET /permissions",
    "project-artifacts": f"GET /projects/{PROJECT}/artifacts",
    "audit-ext": f"GET /projects/{PROJECT}/auditlog-exts",
}


class Listening(httpx.HTTPTransport):
    """Sends, and keeps what was asked for."""

    def __init__(self) -> None:
        super().__init__()
        self.asked: set[str] = set()

    def handle_request(self, request: httpx.Request) -> httpx.Response:
        self.asked.add(f"{request.method} {request.url.path.removeprefix('/api/v2.0')}")
        return super().handle_request(request)


Opened = Callable[[tuple[int, int]], AbstractContextManager[HarborClient]]


@pytest.fixture
def opened(backend: Server, seeds: Path, tmp_path: Path) -> Opened:
    def open_(version: tuple[int, int]) -> AbstractContextManager[HarborClient]:
        changes = {"version": f"{version[0]}.{version[1]}.3", "lock_s": 0.0}
        return harbor_of_a_team(tmp_path, f"http://{backend.host}", seeds, **changes)

    return open_


def run(client: HarborClient, folder: Path, *argv: str) -> Run:
    cli = Within(folder)
    cli.environ = {
        "IMAGEPIPE_HARBOR__URL": str(client.http.base_url),
        "IMAGEPIPE_HARBOR__USERNAME": ADMIN[0],
        "IMAGEPIPE_HARBOR__PASSWORD": PASSWORD,
    }
    return cli.run(*argv)


def everything(client: HarborClient) -> set[str]:
    """Does what has an older way, and returns what was asked for."""
    pushed = client.push(f"{PROJECT}/hello", "1.0")
    url, credential, transport = str(client.http.base_url), Credential(*ADMIN), Listening()
    with transport:
        harbor = open_administration(url=url, credential=credential, transport=transport)
        project = next(harbor.projects.list(name=PROJECT))
        assert harbor.projects.change(project, {"auto_scan": True}).settings["auto_scan"] is True
        facts = harbor.projects.facts(project)
        assert facts.repositories == 1
        assert (facts.last_push is not None) is ("GET /projects/es-sandbox/artifacts" in transport.asked)
        member = harbor.membership.add(project, Principal.parse("stranger"), Role.GUEST)
        member = harbor.membership.set_role(project, member, Role.DEVELOPER)
        assert member in harbor.membership.list(project)
        harbor.membership.remove(project, member)
        assert "stranger" not in {one.principal.name for one in harbor.membership.list(project)}
        assert next(iter(harbor.require_audit().entries(project))).resource
        if harbor.robots is not None:
            made = harbor.robots.create(RobotRequest("ci", PROJECT, PERMISSION_SETS["push"], 1), project)
            assert made.robot in harbor.robots.list(project)
        keep(client, pushed.digest, transport)
        harbor.projects.delete(harbor.projects.create("short-lived", {}))
    return transport.asked


def keep(client: HarborClient, digest: str, transport: httpx.BaseTransport) -> None:
    url = str(client.http.base_url)
    connection = Connection(url=url, credential=Credential(*ADMIN), transport=transport)
    host = url.rstrip("/").partition("://")[2]
    keeper = Keeper2(lambda: connection, registry=host)
    image = Repository(host, f"{PROJECT}/hello").pin(Digest.parse(digest))
    keeper.keep([image])
    assert keeper.kept(image.repository) == {image.digest: True}
    keeper.release([image])


def test_every_feature_that_has_a_version_is_met_here() -> None:
    assert REFUSED.keys() | DONE.keys() | {"cosign-bundle"} == SINCE.keys()


def test_a_bundle_is_said_to_count_from_the_version_on_that_counts_it(opened: Opened) -> None:
    major, minor = SINCE["cosign-bundle"]
    for version, counts in (((major, minor - 1), False), ((major, minor), True)):
        with opened(version) as client:
            client.sign(f"{PROJECT}/hello", client.push(f"{PROJECT}/hello", "1.0"))
            client.ok("PUT", f"/projects/{PROJECT}", json={"metadata": {"enable_content_trust_cosign": "true"}})
            harbor = open_administration(url=str(client.http.base_url), credential=Credential(*ADMIN))
            assert harbor.obstacles is not None
            state = harbor.obstacles.artifact(Project(PROJECT), "hello", "1.0")
            assert state is not None
            assert state.counts_bundles is counts
            assert client.get_manifest(f"{PROJECT}/hello", "1.0").status_code == (200 if counts else 412)


@pytest.mark.parametrize("feature", REFUSED)
def test_what_came_later_is_refused_by_name_with_the_version_that_has_it(
    opened: Opened, tmp_path: Path, feature: str
) -> None:
    (major, minor), (argv, name) = SINCE[feature], REFUSED[feature]
    with opened((major, minor - 1)) as client:
        refused = run(client, tmp_path, *argv, "--yes", "--json")
        refused.fails(6, name, kind="unsupported")
        assert f"Harbor ≥ {major}.{minor}" in refused.err
        assert f"{major}.{minor - 1}.3" in refused.err
    with opened((major, minor)) as client:
        run(client, tmp_path, *argv, "--yes", "--json").ok()


def test_a_set_of_rights_that_is_too_new_is_given_as_what_the_version_knows(opened: Opened, tmp_path: Path) -> None:
    with opened((2, 8)) as client:
        refused = run(client, tmp_path, *ROBOT, "ci", "--yes", "--json")
        error = refused.fails(6, r"right quota:read: needs Harbor ≥ 2\.11, this is 2\.8\.3", kind="unsupported")[
            "error"
        ]
        others = error["hint"].removeprefix("give it the others only: ")
        assert "repository:push" in others.split(",")
        run(client, tmp_path, *ROBOT, others, "--yes", "--json").ok()


@pytest.mark.parametrize("version", sorted({(2, 0), *SINCE.values(), (2, 15)}))
def test_what_has_an_older_way_is_done_in_it_until_the_version_of_the_newer(
    opened: Opened, version: tuple[int, int]
) -> None:
    with opened(version) as client:
        asked = everything(client)
    newer = {feature for feature in DONE if version >= SINCE[feature]}
    newer -= {"permissions"} if version < SINCE["robots"] else set()
    assert {feature for feature, request in DONE.items() if request in asked} == newer


@pytest.mark.parametrize("version", [(2, 1), (2, 2)])
def test_what_an_older_harbor_hides_is_told_from_what_is_not_there(opened: Opened, version: tuple[int, int]) -> None:
    with opened(version) as client:
        url = str(client.http.base_url)
        stranger = open_administration(url=url, credential=Credential("stranger", PASSWORD))
        for look in stranger.projects.facts, stranger.membership.list:
            with pytest.raises(PermissionRefusedError, match=f"project {PROJECT} exists, and stranger lacks the right"):
                look(Project(PROJECT))
            with pytest.raises(NotFoundError, match="there is no project nothing"):
                look(Project("nothing"))


@pytest.mark.parametrize(
    ("version", "path", "status", "said"),
    [
        ((2, 0), f"/projects/{PROJECT}", 404, "was not found"),
        ((2, 1), f"/projects/{PROJECT}", 422, "project_id in path must be of type int64"),
        ((2, 2), f"/projects/{PROJECT}", 200, PROJECT),
        ((2, 2), f"/projects/{PROJECT}/members", 404, "was not found"),
        ((2, 2), "/projects/1/members", 200, "admin"),
        ((2, 3), f"/projects/{PROJECT}/members", 200, "boss"),
        ((2, 1), "/robots", 404, "was not found"),
        ((2, 9), "/permissions", 404, "was not found"),
    ],
)
def test_the_stand_in_knows_what_its_version_knows(
    opened: Opened, version: tuple[int, int], path: str, status: int, said: str
) -> None:
    with opened(version) as client:
        url, named = str(client.http.base_url.join(f"/api/v2.0{path}")), {"X-Is-Resource-Name": "true"}
        answer = httpx.get(url, auth=ADMIN, headers=named, trust_env=False)
    assert (answer.status_code, said in answer.text) == (status, True)
