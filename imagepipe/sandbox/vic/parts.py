"""The parts of one running stand-in of Harbor 1.x, and one of its requests."""

from __future__ import annotations

import json
import re
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final
from urllib.parse import urlencode

from starlette.requests import Request
from starlette.responses import Response

from imagepipe.sandbox.harbor.backend import Backend
from imagepipe.sandbox.harbor.bodies import INT64
from imagepipe.sandbox.harbor.config import HarborConfig
from imagepipe.sandbox.harbor.faults import Faults
from imagepipe.sandbox.harbor.identity import basic_credentials
from imagepipe.sandbox.harbor.store import Store, timestamp
from imagepipe.sandbox.harbor.tokens import TokenMaker
from imagepipe.sandbox.vic.answers import RefusalError, aborted, data
from imagepipe.sandbox.vic.directory import NOBODY, Caller, Directory, Project
from imagepipe.sandbox.vic.inside import Inside

MAX_PAGE: Final = 500
# Basic authentication counts on these, wherever in the path they are found and whatever the method.
# Source: goharbor/harbor v1.7.8 src/core/filter/security.go (basicAuthReqPatterns).
_BASIC_WITH_ADMIRAL: Final = re.compile(r"/api/projects|/service/token|/api/repositories/[a-zA-Z0-9]")
TOKEN_HEADER: Final = "x-xenon-auth-token"  # noqa: S105 - the name of a header


@dataclass(frozen=True)
class Vic:
    """The parts; `faults` may be switched from a test.

    Attributes:
        with_admiral: Whether users and projects live in Admiral.
        admiral_url: Where Admiral listens; empty without.
    """

    config: HarborConfig
    store: Store
    faults: Faults
    tokens: TokenMaker
    directory: Directory
    backend: Backend
    inside: Inside
    now: Callable[[], float]
    with_admiral: bool = False
    admiral_url: str = ""

    def stamp(self) -> str:
        """Returns the present time as it is stored."""
        return timestamp(self.now())

    @property
    def read_only(self) -> bool:
        """Returns whether changes are refused."""
        return self.faults.read_only or self.store.setting("read_only", "false") == "true"

    def log(self, caller: Caller, project: Project, operation: str, *, repository: str = "", tag: str = "N/A") -> None:
        """Notes an operation in the access log."""
        name = repository or f"{project.name}/"
        self.store.insert(
            "access_log",
            username=caller.name,
            project_id=project.id,
            repo_name=name,
            repo_tag=tag,
            operation=operation,
            op_time=self.stamp(),
        )

    def signatures(self, repository: str) -> dict[str, str]:
        """Returns the digest that Notary has for each signed tag."""
        signed: dict[str, str] = json.loads(self.store.setting(f"notary {repository}", "{}"))
        return signed

    def sign(self, repository: str, tag: str, digest: str) -> None:
        """Signs a tag, as a client of Notary would."""
        signed = {**self.signatures(repository), tag: digest}
        self.store.set_setting(f"notary {repository}", json.dumps(signed))

    async def identify(self, request: Request) -> Caller:
        """Returns who asks; what is wrong is nobody. The API knows no registry tokens."""
        token = request.headers.get(TOKEN_HEADER, "")
        if self.with_admiral and token:
            holder = self.directory.holder(token)
            if holder is not None:
                return holder
        credentials = basic_credentials(request.headers.get("authorization", ""))
        if credentials is None or (self.with_admiral and not _BASIC_WITH_ADMIRAL.search(request.url.path)):
            return NOBODY
        return await self.directory.enter(*credentials) or NOBODY


@dataclass(frozen=True)
class Call:
    """A REST request with its caller and path parameters."""

    vic: Vic
    request: Request
    caller: Caller
    params: Mapping[str, str]
    query: Sequence[tuple[str, str]] = field(default=())

    @property
    def store(self) -> Store:
        """Returns the database."""
        return self.vic.store

    def text(self, name: str) -> str:
        """Returns a query parameter, the first one when repeated, empty without."""
        return next((value for key, value in self.query if key == name), "")

    def require_login(self) -> None:
        """Raises 401 for nobody."""
        if not self.caller.name:
            raise RefusalError(401)

    def project(self, name: str = "id") -> Project:
        """Returns the project whose id is in the path.

        Raises:
            RefusalError: 404; 400 for id 0; 500 when it cannot be read.
        """
        number = int(self.params[name])
        if number <= 0:
            raise RefusalError(400, f"invalid project ID: {number}")
        if number >= INT64:
            said = f'strconv.ParseInt: parsing "{self.params[name]}": value out of range'
            raise RefusalError(400, f"invalid project ID: {said}")
        return self.readable(self.vic.directory.project(number), f"project {number} not found")

    def project_named(self, name: str) -> Project:
        """Returns a project by name."""
        return self.readable(self.vic.directory.project(name), f"project {name} not found")

    def readable(self, project: Project | None, missing: str) -> Project:
        """Returns a project that is there and can be read."""
        if project is None:
            raise RefusalError(404, missing)
        if project.broken:
            raise RefusalError(500)
        return project

    def require(self, allowed: bool) -> None:
        """Raises 401 or 403 with the caller's own name unless it is allowed."""
        if not allowed:
            self.require_login()
            raise RefusalError(403, self.caller.name)

    async def body(self) -> dict[str, Any]:
        """Returns the JSON body; null is an empty one.

        Raises:
            RefusalError: 400.
        """
        try:
            value = json.loads(await self.request.body())
        except ValueError:
            raise aborted(400, "Invalid json request") from None
        if not isinstance(value, dict | None):
            raise aborted(400, "Invalid json request")
        return value or {}

    def paging(self) -> tuple[int, int]:
        """Returns page and page size, the latter cut to 500 in silence.

        Raises:
            RefusalError: 400.
        """
        return self._natural("page", 1), min(self._natural("page_size", MAX_PAGE), MAX_PAGE)

    def _natural(self, name: str, default: int) -> int:
        text = self.text(name)
        if text and not (text.isascii() and text.isdigit() and int(text)):
            raise aborted(400, f"invalid {name}")
        return int(text) if text else default

    def page(self, rows: Sequence[Any], show: Callable[[Any], Any], *, total: int | None = None) -> Response:
        """Returns one page of `rows` with the list headers; a `total` says that they are a page already."""
        page, size = self.paging()
        count = len(rows) if total is None else total
        links = []
        if page > 1 and (page - 1) * size <= count:
            links.append(f'<{self._other(page - 1)}>; rel="prev"')
        if size * page < count:
            links.append(f'<{self._other(page + 1)}>; rel="next"')
        headers = {"X-Total-Count": str(count)} | ({"Link": ", ".join(links)} if links else {})
        shown = rows if total is not None else rows[(page - 1) * size : page * size]
        return data([show(row) for row in shown], headers)

    def _other(self, page: int) -> str:
        query = sorted([*((key, value) for key, value in self.query if key != "page"), ("page", str(page))])
        return f"{self.request.url.path}?{urlencode(query)}"


Handler = Callable[[Call], Awaitable[Response]]
