"""One request to Admiral: who asks, what they may, and errors as Xenon writes them.

Source: vmware/xenon v1.6.14.1 xenon-common ServiceErrorResponse.java, Operation.java; vmware/admiral vic_v1.5.6
auth/src/main/java/com/vmware/admiral/auth/util/AuthUtil.java (who may do what).
"""

from __future__ import annotations

import base64
import binascii
import json
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final
from urllib.parse import unquote

from starlette.requests import Request
from starlette.responses import Response

from imagepipe.sandbox.harbor.store import Row
from imagepipe.sandbox.vic.admiral_state import ROLE_OF_LIST, AdmiralState
from imagepipe.sandbox.vic.sessions import Sessions

KIND: Final = "com:vmware:xenon:common:ServiceErrorResponse"
GUEST: Final = ""
_STACK: Final = ["com.vmware.admiral.auth.project.ProjectService.handlePatch(ProjectService.java:459)"]


class XenonError(Exception):
    """A refusal; who reads it must not show its stack trace to anybody."""

    def __init__(self, status: int, message: str, *, stack: bool | None = None, code: int = 0) -> None:
        super().__init__(message)
        self.status = status
        self.message = message
        self.stack = status in {403, 500} if stack is None else stack
        self.code = code

    def response(self) -> Response:
        """Returns the HTTP answer."""
        body: dict[str, Any] = {"message": self.message}
        if self.stack:
            body["stackTrace"] = _STACK
        body |= {"statusCode": self.status, "documentKind": KIND, "errorCode": self.code}
        return data(body, self.status)


def data(value: object, status: int = 200) -> Response:
    """Returns JSON."""
    return Response(json.dumps(value), status_code=status, headers={"Content-Type": "application/json"})


def service_not_found(url: str) -> XenonError:
    """Returns the 404 of something that is not there."""
    return XenonError(404, f"Service not found: {url}", code=-2147483648)


def encoded(principal: str) -> str:
    """Returns a principal's id as it stands in links: base64url, with its padding, where it has a domain."""
    return base64.urlsafe_b64encode(principal.encode()).decode() if "@" in principal else principal


def decoded(text: str) -> str:
    """Returns the id that a path's segment means, raw or base64url."""
    raw = unquote(text)
    if "@" in raw:
        return raw
    try:
        return base64.b64decode(raw, altchars=b"-_", validate=True).decode()
    except (binascii.Error, UnicodeDecodeError):
        return raw


@dataclass
class Switches:
    """How the stand-in behaves, changeable at any time.

    Attributes:
        sso: True: users log in at the single sign-on's page; False: Admiral has local users and Basic logins.
        write_delay_s: How much later than its 200 a user's role is written.
            Source: A vic_v1.5.6 auth/…/UserGroupsUpdater.java:131-187.
        unknown_status: What a principal that is not there is answered with: 404, or 500 as PSC may.
    """

    sso: bool = True
    write_delay_s: float = 0.05
    unknown_status: int = 404


@dataclass(frozen=True)
class Call:
    """A request with its caller's principal id, which is empty for a guest."""

    state: AdmiralState
    sessions: Sessions
    switches: Switches
    request: Request
    caller: str
    params: Mapping[str, str]
    query: Sequence[tuple[str, str]] = field(default=())

    def text(self, name: str) -> str | None:
        """Returns a query parameter."""
        return next((value for key, value in self.query if key == name), None)

    async def body(self) -> dict[str, Any]:
        """Returns the JSON body, empty without one.

        Raises:
            XenonError: 400.
        """
        raw = await self.request.body()
        if not raw:
            return {}
        try:
            value = json.loads(raw)
        except ValueError:
            raise XenonError(400, "Unparseable JSON body") from None
        if not isinstance(value, dict):
            raise XenonError(400, "Unparseable JSON body")
        return value

    @property
    def names(self) -> tuple[str, ...]:
        """The caller and all groups that the caller is in."""
        return (self.caller, *self.state.people.groups_of(self.caller)) if self.caller else ()

    @property
    def is_cloud_admin(self) -> bool:
        """Whether the caller administers everything."""
        return bool(self.caller) and self.state.people.is_cloud_admin(self.caller)

    def require_user(self) -> None:
        """Raises 403 for a guest."""
        if not self.caller:
            raise XenonError(403, "forbidden")

    def require_cloud_admin(self) -> None:
        """Raises 403 for everybody else."""
        if not self.is_cloud_admin:
            raise XenonError(403, "forbidden")

    def may_read(self, row: Row) -> bool:
        """Returns whether the caller has any role in a project."""
        return self.is_cloud_admin or bool(self.caller and self.state.lists_of(row["link"], self.names))

    def may_change(self, row: Row) -> bool:
        """Returns whether the caller administers a project."""
        held = self.state.lists_of(row["link"], self.names) if self.caller else []
        return self.is_cloud_admin or "administrators" in held

    def project(self) -> Row:
        """Returns the project of the path.

        Raises:
            XenonError: 404.
        """
        row = self.state.project(self.params["link"])
        if row is None:
            raise service_not_found(str(self.request.url))
        return row

    def roles_of(self, row: Row, names: Sequence[str]) -> list[str]:
        """Returns the role names held in a project; a member always has the extended role, too."""
        roles = [ROLE_OF_LIST[where] for where in self.state.lists_of(row["link"], names)]
        return roles + (["PROJECT_MEMBER_EXTENDED"] if "PROJECT_MEMBER" in roles else [])


Handler = Callable[[Call], Awaitable[Response]]
