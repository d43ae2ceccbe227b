"""A Harbor at the level of HTTP: what a test does not answer itself is answered from a little state."""

import json
import re
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import parse_qs

import httpx

from imagepipe.harbor.client import HarborClient
from imagepipe.harbor.v2.session import Session
from imagepipe.http.client import open_client

Json = dict[str, Any]
Answer = Callable[[httpx.Request], httpx.Response]
BASE = "/api/v2.0"
CODES = {
    400: "BAD_REQUEST",
    401: "UNAUTHORIZED",
    403: "FORBIDDEN",
    404: "NOT_FOUND",
    409: "CONFLICT",
    412: "PRECONDITION",
}


def refused(status: int, message: str = "") -> httpx.Response:
    return httpx.Response(status, json={"errors": [{"code": CODES.get(status, "UNKNOWN"), "message": message}]})


class Clock:
    """Time that passes only when somebody sleeps; `meanwhile` is what happens then."""

    def __init__(self) -> None:
        self.now_s = 1000.0
        self.slept: list[float] = []
        self.meanwhile: Callable[[], object] = lambda: None

    def __call__(self) -> float:
        return self.now_s

    def sleep(self, seconds: float) -> None:
        self.slept.append(seconds)
        self.now_s += seconds
        self.meanwhile()


@dataclass
class FakeHarbor:
    """One Harbor.

    Attributes:
        answers: Answers by `METHOD path`, the path below the API's base; each is asked before the state is.
        requests: `METHOD path?query` of every request, in order.
    """

    version: str = "v2.15.2-5d4ff4b4"
    auth_mode: str = "db_auth"
    user: Json | None = field(default_factory=lambda: {"username": "admin", "sysadmin_flag": True})
    projects: list[Json] = field(
        default_factory=lambda: [{"project_id": 7, "name": "p", "metadata": {"public": "false"}}]
    )
    hidden: set[str] = field(default_factory=set)
    members: list[Json] = field(default_factory=list)
    robots: list[Json] = field(default_factory=list)
    quotas: list[Json] = field(default_factory=list)
    groups: list[Json] = field(default_factory=list)
    answers: dict[str, Answer] = field(default_factory=dict)
    requests: list[str] = field(default_factory=list)
    bodies: list[Any] = field(default_factory=list)
    headers: list[httpx.Headers] = field(default_factory=list)
    clock: Clock = field(default_factory=Clock)

    def __call__(self, request: httpx.Request) -> httpx.Response:
        raw = request.url.raw_path.decode()
        path = raw.partition("?")[0].removeprefix(BASE)
        self.requests.append(f"{request.method} {raw.removeprefix(BASE)}")
        self.bodies.append(json.loads(request.content) if request.content else None)
        self.headers.append(request.headers)
        answer = self.answers.get(f"{request.method} {path}")
        if answer is not None:
            return answer(request)
        for pattern, handler in self._routes():
            match = re.fullmatch(pattern, f"{request.method} {path}")
            if match is not None:
                response: httpx.Response = handler(request, *match.groups())
                return response
        return refused(404, f"path {path} was not found")

    def client(self, credential: tuple[str, str] | None = ("admin", "Harbor12345")) -> HarborClient:
        http = open_client(
            "https://harbor.example",
            auth=httpx.BasicAuth(*credential) if credential else None,
            transport=httpx.MockTransport(self),
        )
        return HarborClient(http, base=BASE, sleep=self.clock.sleep, clock=self.clock)

    def session(self) -> Session:
        """Returns a session; what opening it asked is forgotten."""
        session = Session.open(self.client(), self.auth_mode, "admin")
        self.requests.clear()
        self.bodies.clear()
        return session

    def once(self, key: str, response: httpx.Response, *, after: bool = False) -> None:
        """Answers the next request of that kind so; `after` it has taken effect."""

        def answer(request: httpx.Request) -> httpx.Response:
            del self.answers[key]
            if after:
                self(request)
                for log in (self.requests, self.bodies, self.headers):
                    log.pop()
            return response

        self.answers[key] = answer

    def always(self, key: str, response: Callable[[], httpx.Response]) -> None:
        def answer(request: httpx.Request) -> httpx.Response:
            return response()

        self.answers[key] = answer

    def member(self, name: str, role: int, kind: str = "u", number: int = 0, entity: int = 0) -> None:
        number = number or len(self.members) + 1
        self.members.append(
            {"id": number, "entity_name": name, "entity_type": kind, "role_id": role, "entity_id": entity}
        )

    def count(self, start: str) -> int:
        return sum(request.startswith(start) for request in self.requests)

    def _routes(self) -> list[tuple[str, Callable[..., httpx.Response]]]:
        return [
            (r"GET /users/current", self._whoami),
            (r"GET /systeminfo", self._info),
            (r"HEAD /projects", self._head),
            (r"GET /projects", lambda request: paged(request, self.projects)),
            (r"POST /projects", self._create_project),
            (r"GET /projects/([^/]+)", self._project),
            (r"PUT /projects/([^/]+)", self._change_project),
            (r"DELETE /projects/([^/]+)", self._delete_project),
            (r"GET /projects/([^/]+)/members", self._members),
            (r"POST /projects/([^/]+)/members", self._add_member),
            (r"GET /projects/[^/]+/members/(\d+)", self._member),
            (r"PUT /projects/[^/]+/members/(\d+)", self._set_member),
            (r"DELETE /projects/[^/]+/members/(\d+)", self._remove_member),
            (r"GET /quotas", lambda request: paged(request, self.quotas)),
            (r"PUT /quotas/(\d+)", self._set_quota),
            (r"GET /usergroups", lambda request: paged(request, self.groups)),
            (r"GET /robots", lambda request: paged(request, self.robots)),
            (r"POST /robots", self._create_robot),
            (r"GET /robots/(\d+)", self._robot),
            (r"PUT /robots/(\d+)", self._set_robot),
            (r"DELETE /robots/(\d+)", self._delete_robot),
        ]

    def _whoami(self, request: httpx.Request) -> httpx.Response:
        if self.user is None:
            return refused(401, "unauthorized")
        if self.user["username"].startswith("robot$"):
            return refused(412, "get current user not available for security context: robot")
        return httpx.Response(200, json=self.user)

    def _info(self, request: httpx.Request) -> httpx.Response:
        told = {"harbor_version": self.version} if "authorization" in request.headers else {}
        return httpx.Response(200, json={"auth_mode": self.auth_mode, **told})

    def _head(self, request: httpx.Request) -> httpx.Response:
        name = request.url.params["project_name"]
        return httpx.Response(200 if name in self.hidden or self._named(name) else 404)

    def _named(self, name: str) -> Json | None:
        return next((project for project in self.projects if project["name"] == name), None)

    def _project(self, request: httpx.Request, name: str) -> httpx.Response:
        found = self._named(name)
        return httpx.Response(200, json=found) if found else refused(403, "forbidden")

    def _create_project(self, request: httpx.Request) -> httpx.Response:
        body = json.loads(request.content)
        if self._named(body["project_name"]):
            return refused(409, "exists")
        number = 1 + max((project["project_id"] for project in self.projects), default=0)
        self.projects.append({"project_id": number, "name": body["project_name"], "metadata": body["metadata"]})
        return httpx.Response(201, headers={"Location": f"{BASE}/projects/{number}"})

    def _change_project(self, request: httpx.Request, name: str) -> httpx.Response:
        found = self._named(name)
        if found is None:
            return refused(403, "forbidden")
        found["metadata"] |= json.loads(request.content)["metadata"]
        return httpx.Response(200)

    def _delete_project(self, request: httpx.Request, name: str) -> httpx.Response:
        self.projects = [project for project in self.projects if project["name"] != name]
        return httpx.Response(200)

    def _members(self, request: httpx.Request, name: str) -> httpx.Response:
        if self._named(name) is None:
            return refused(403, "forbidden")
        wanted = request.url.params.get("entityname")
        shown = [member for member in self.members if wanted in (None, member["entity_name"])]
        response = paged(request, sorted(shown, key=lambda member: str(member["entity_name"])))
        response.headers["X-Total-Count"] = str(len(self.members))
        return response

    def _add_member(self, request: httpx.Request, name: str) -> httpx.Response:
        body = json.loads(request.content)
        user, group = body.get("member_user", {}), body.get("member_group", {})
        dn = group.get("ldap_group_dn", "=").replace("\\,", "\0").split(",")[0].split("=")[1].replace("\0", ",")
        entity = user.get("username") or group.get("group_name") or dn
        if any(member["entity_name"] == entity for member in self.members):
            return refused(409, "The project member specified already exist")
        self.member(entity, body["role_id"], "u" if user else "g", number=100 + len(self.members))
        return httpx.Response(201, headers={"Location": f"{BASE}/projects/{name}/members/{self.members[-1]['id']}"})

    def _member(self, request: httpx.Request, number: str) -> httpx.Response:
        return _one(self.members, number)

    def _set_member(self, request: httpx.Request, number: str) -> httpx.Response:
        for member in self.members:
            if member["id"] == int(number):
                member["role_id"] = json.loads(request.content)["role_id"]
        return httpx.Response(200)

    def _remove_member(self, request: httpx.Request, number: str) -> httpx.Response:
        self.members = [member for member in self.members if member["id"] != int(number)]
        return httpx.Response(200)

    def _set_quota(self, request: httpx.Request, number: str) -> httpx.Response:
        for quota in self.quotas:
            if quota["id"] == int(number):
                quota["hard"] = json.loads(request.content)["hard"]
        return httpx.Response(200)

    def _create_robot(self, request: httpx.Request) -> httpx.Response:
        body = json.loads(request.content)
        place = "" if body["level"] == "system" else f"{body['permissions'][0]['namespace']}+"
        name, number = f"robot${place}{body['name']}", 50 + len(self.robots)
        if any(robot["name"] == name for robot in self.robots):
            return refused(409, "robot account already exists")
        self.robots.append({**body, "id": number, "name": name, "expires_at": -1, "disable": False})
        return httpx.Response(201, json={"id": number, "name": name, "secret": f"Secret{number}", "expires_at": -1})

    def _robot(self, request: httpx.Request, number: str) -> httpx.Response:
        return _one(self.robots, number)

    def _set_robot(self, request: httpx.Request, number: str) -> httpx.Response:
        for robot in self.robots:
            if robot["id"] == int(number):
                robot.update(json.loads(request.content))
        return httpx.Response(200)

    def _delete_robot(self, request: httpx.Request, number: str) -> httpx.Response:
        self.robots = [robot for robot in self.robots if robot["id"] != int(number)]
        return httpx.Response(200)


def paged(request: httpx.Request, rows: list[Json]) -> httpx.Response:
    """Returns one page of rows; an empty one is null, as Go sometimes writes it."""
    query = {name: values[-1] for name, values in parse_qs(request.url.query.decode()).items()}
    page, size = int(query.get("page", "1")), int(query.get("page_size", "10"))
    shown = rows[(page - 1) * size : page * size]
    return httpx.Response(200, text=json.dumps(shown or None), headers={"X-Total-Count": str(len(rows))})


def _one(rows: list[Json], number: str) -> httpx.Response:
    found = next((row for row in rows if row["id"] == int(number)), None)
    return httpx.Response(200, json=found) if found else refused(404, "not found")
