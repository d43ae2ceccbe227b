"""One REST request and what every handler asks of it."""

from __future__ import annotations

import re
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final
from urllib.parse import parse_qsl

from starlette.requests import Request
from starlette.responses import Response

from imagepipe.sandbox.harbor.audit import KIND_SINCE, Event
from imagepipe.sandbox.harbor.backend import Backend
from imagepipe.sandbox.harbor.bodies import INT64, Body, bound
from imagepipe.sandbox.harbor.config import HarborConfig
from imagepipe.sandbox.harbor.faults import Faults
from imagepipe.sandbox.harbor.identity import Caller, Gatekeeper
from imagepipe.sandbox.harbor.paging import Listing, integer
from imagepipe.sandbox.harbor.problems import HarborError, json_response, not_found
from imagepipe.sandbox.harbor.store import Row, Store, timestamp
from imagepipe.sandbox.harbor.tokens import TokenMaker

_INTEGER: Final = re.compile(r"[+-]?[0-9]{1,19}")
_DESCRIBED: Final = {"member": "mid", "quota": "id", "rule": "immutable_rule_id"}
"""What Harbor's API description calls the numbers in paths, where not `<name>_id`. Source: api/v2.0/swagger.yaml."""


@dataclass(frozen=True)
class Harbor:
    """The parts of one running stand-in; `faults` may be switched from a test."""

    config: HarborConfig
    store: Store
    faults: Faults
    tokens: TokenMaker
    gate: Gatekeeper
    backend: Backend
    now: Callable[[], float]

    def stamp(self) -> str:
        """Returns the present time as Harbor writes it."""
        return timestamp(self.now())

    def record(self, username: str, event: Event) -> None:
        """Writes into the audit log what this release records."""
        if self.config.release < KIND_SINCE.get(event.kind, (2, 0)):
            return
        self.store.insert(
            "audit_log",
            project_id=event.project_id,
            op_time=self.stamp(),
            operation=event.operation,
            operation_description=event.description,
            is_successful=int(event.succeeded),
            resource_type=event.kind,
            resource=event.resource,
            username=username,
        )

    @property
    def read_only(self) -> bool:
        """Returns whether changes are refused."""
        return self.faults.read_only or self.store.setting("read_only", "false") == "true"


@dataclass(frozen=True)
class Call:
    """A REST request with its caller and path parameters; `numbered`: its project is a number by all means."""

    harbor: Harbor
    request: Request
    caller: Caller
    params: Mapping[str, str]
    query: Sequence[tuple[str, str]] = field(default=())
    numbered: bool = False

    @property
    def store(self) -> Store:
        """Returns the database."""
        return self.harbor.store

    def record(self, event: Event) -> None:
        """Writes into the audit log what the caller has done."""
        self.harbor.record(self.caller.username, event)

    def text(self, name: str) -> str | None:
        """Returns a query parameter, the last one when repeated."""
        return next((value for key, value in reversed(self.query) if key == name), None)

    def flag(self, name: str, *, default: bool = False) -> bool:
        """Returns a boolean query parameter."""
        value = self.text(name)
        return default if value is None else value.lower() in {"true", "1", "t", "yes", "on"}

    def number(self, name: str) -> int:
        """Returns an integer path parameter.

        Raises:
            HarborError: 422, it is none.
        """
        return integer(self.params[name], _DESCRIBED.get(name, f"{name}_id"), "path")

    async def body(self, wanted: Body) -> dict[str, Any]:
        """Returns the JSON body, empty where there is none and none is needed.

        Raises:
            HarborError: 422, as the binder runs before any check of rights.
        """
        return bound(wanted, await self.request.body(), self.request.headers.get("content-type", ""))

    def project_key(self) -> str | int:
        """Returns the project of the path: an integer-looking one is an id unless the client says otherwise.

        Source: v2.15.2 src/server/v2.0/handler/util.go (parseProjectNameOrID): what strconv.ParseInt takes.
        """
        text = self.params["project"]
        if not self.numbered and self.request.headers.get("x-is-resource-name", "").lower() == "true":
            return text
        number = int(text) if _INTEGER.fullmatch(text) else INT64
        return number if -INT64 <= number < INT64 else text

    def project(self, key: str | int) -> Row:
        """Returns a living project.

        Raises:
            HarborError: 404.
        """
        row = self.store.project(key)
        if row is None:
            raise not_found(f"project {key} not found")
        return row

    def require_login(self) -> None:
        """Raises 401 for an anonymous caller."""
        if not self.caller.username:
            raise HarborError("UNAUTHORIZED", "unauthorized")

    def may_project(self, key: str | int, resource: str, action: str) -> bool:
        """Returns whether the caller may; a project name that does not exist counts as project 0."""
        project = self.store.project(key) if isinstance(key, str) else {"id": key}
        return self.caller.may(project["id"] if project else 0, (resource, action))

    def require_project(self, key: str | int, resource: str, action: str) -> None:
        """Raises 401 or 403; a project that does not exist is refused like a private one."""
        if not self.may_project(key, resource, action):
            self.require_login()
            raise HarborError("FORBIDDEN", "forbidden")

    def require_direct(self, project: Row) -> None:
        """Raises 405 in a project that is a proxy cache."""
        if self.store.one("SELECT 1 FROM proxies WHERE project_id = ?", project["id"]):
            raise HarborError("METHOD_NOT_ALLOWED", "the operation isn't supported for a proxy cache project")

    def require_system(self, resource: str, action: str) -> None:
        """Raises 401, or 403 with the caller's own name as message."""
        self.require_login()
        if not self.caller.may_system((resource, action)):
            raise HarborError("FORBIDDEN", self.caller.username)

    def listing(self) -> Listing:
        """Returns the list parameters."""
        return Listing.parse(self.query)

    def page(self, listing: Listing, rows: Sequence[Row], show: Callable[[Row], Any]) -> Response:
        """Returns one page of `rows`, each as `show` writes it, with the list headers."""
        scope = self.request.scope
        path, raw_query = scope.get("raw_path", scope["path"].encode()).decode(), scope["query_string"].decode()
        headers = listing.headers(path.partition("?")[0], raw_query, len(rows))
        return json_response([show(row) for row in listing.cut(rows)], headers=headers)

    def created(self, resource_id: int | str) -> Response:
        """Returns a 201 without body whose Location is below the request's path."""
        return Response(status_code=201, headers={"Location": f"{self.request.url.path.rstrip('/')}/{resource_id}"})


Handler = Callable[[Call], Awaitable[Response]]


def query_of(request: Request) -> list[tuple[str, str]]:
    """Returns the query's pairs, blank values included."""
    return parse_qsl(request.scope["query_string"].decode(), keep_blank_values=True)
