"""Admiral as an ASGI app beside Harbor: single sign-on, sessions, projects, principals.

Source: vmware/admiral vic_v1.5.6 auth/src/main/java/com/vmware/admiral/auth/; vmware/xenon v1.6.14.1
xenon-common AuthenticationFilter.java, BasicAuthenticationUtils.java.
"""

from __future__ import annotations

import html
import json
import logging
import re
import secrets
from collections.abc import Mapping
from typing import Any, Final
from urllib.parse import parse_qs

from starlette.applications import Starlette
from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response
from starlette.routing import Route
from starlette.types import Receive, Scope, Send

from imagepipe.sandbox.harbor.call import query_of
from imagepipe.sandbox.harbor.identity import basic_credentials
from imagepipe.sandbox.vic import admiral_principals as principal
from imagepipe.sandbox.vic import admiral_projects as project
from imagepipe.sandbox.vic.admiral_call import GUEST, Call, Handler, Switches, XenonError, data, service_not_found
from imagepipe.sandbox.vic.admiral_people import principal_id
from imagepipe.sandbox.vic.admiral_state import AdmiralState
from imagepipe.sandbox.vic.parts import TOKEN_HEADER
from imagepipe.sandbox.vic.sessions import LIFETIME_S, Sessions

COOKIE: Final = "xenon-auth-cookie"
_LOGIN: Final = "/sso"
_ASSERTION: Final = "/sso/assertion"
_BASIC: Final = "/core/authn/basic"
_PRINCIPAL: Final = "/auth/idm/principals/(?P<id>[^/]+)"
_ROUTES: Final[list[tuple[str, dict[str, Handler]]]] = [
    ("/auth/session", {"GET": principal.session}),
    ("/auth/session/logout", {"GET": principal.logout}),
    ("/auth/idm/principals", {"GET": principal.search}),
    (_PRINCIPAL, {"GET": principal.get, "PATCH": principal.patch}),
    (f"{_PRINCIPAL}/roles", {"GET": principal.get_roles, "PATCH": principal.set_roles}),
    (f"{_PRINCIPAL}/security-context", {"GET": principal.get_roles, "POST": principal.check_password}),
    (
        "/projects",
        {"GET": project.list_projects, "POST": project.create_project, "DELETE": project.delete_projects},
    ),
    (
        "/projects/(?P<link>[^/]+)",
        {
            "GET": project.get_project,
            "PATCH": project.patch_project,
            "PUT": project.put_project,
            "DELETE": project.delete_project,
        },
    ),
]
_COMPILED: Final = [(re.compile(path), handlers) for path, handlers in _ROUTES]
_log = logging.getLogger(__name__)


def create_admiral(state: AdmiralState, sessions: Sessions, switches: Switches | None = None) -> Starlette:
    """Returns Admiral over the state that Harbor reads; `app.state.switches` changes how it behaves."""
    front = Front(state, sessions, switches or Switches())
    app = Starlette(routes=[Route("/{path:path}", front)])
    app.state.switches = front.switches
    return app


class Front:
    """Takes every request."""

    def __init__(self, state: AdmiralState, sessions: Sessions, switches: Switches) -> None:
        self.switches = switches
        self._state = state
        self._sessions = sessions
        self._assertions: dict[str, str] = {}

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serves one request."""
        request = Request(scope, receive)
        try:
            response = await self._serve(request)
        except XenonError as error:
            response = error.response()
        except ClientDisconnect:
            return
        except Exception:  # noqa: BLE001 - a server answers 500 to what nobody foresaw
            _log.exception("%s %s", request.method, request.url.path)
            response = XenonError(500, "java.lang.NullPointerException").response()
        await response(scope, receive, send)

    async def _serve(self, request: Request) -> Response:
        path = request.url.path
        if path == _BASIC and request.method == "POST":
            return await self._basic(request)
        if self.switches.sso and path == _LOGIN and request.method == "POST":
            return self._page(request, await request.body())
        if self.switches.sso and path == _ASSERTION and request.method == "POST":
            return self._assertion(await request.body())
        token = request.headers.get(TOKEN_HEADER, request.cookies.get(COOKIE))
        if token is None and self.switches.sso:
            location = f"{_base(request)}{_LOGIN}?SAMLRequest={secrets.token_urlsafe(24)}"
            return Response(status_code=302, headers={"Location": location})
        # A token that is empty, unknown or expired makes a guest, not an error.
        caller = self._sessions.holder(token or "") or GUEST
        return await self._route(request, caller)

    async def _route(self, request: Request, caller: str) -> Response:
        raw = request.scope.get("raw_path", request.url.path.encode()).decode().partition("?")[0]
        for pattern, handlers in _COMPILED:
            match = pattern.fullmatch(raw)
            if match is None:
                continue
            if request.method not in handlers:
                raise XenonError(405, f"Action not supported: {request.method}")
            call = Call(
                self._state, self._sessions, self.switches, request, caller, match.groupdict(), query_of(request)
            )
            return await handlers[request.method](call)
        raise service_not_found(str(request.url))

    async def _basic(self, request: Request) -> Response:
        """`POST /core/authn/basic`: in VIC it is there and knows nobody."""
        header = request.headers.get("authorization", "")
        if not header:
            refused = XenonError(401, "unauthorized").response()
            refused.headers["www-authenticate"] = 'Basic realm="xenon"'
            return refused
        credentials = basic_credentials(header)
        if credentials is None or ":" in credentials[1]:
            raise XenonError(400, "Malformed authorization header")
        asked: Mapping[str, Any] = json.loads(await request.body() or b"{}")
        if asked.get("requestType") == "LOGOUT":
            return data({})
        own = principal_id(credentials[0])
        if self.switches.sso or not self._state.people.knows_password(own, credentials[1]):
            raise XenonError(403, "forbidden", stack=False)
        response = self._opened(Response(), own)
        response.headers[TOKEN_HEADER] = self._sessions.open(own)
        return response

    def _page(self, request: Request, body: bytes) -> Response:
        """`POST /sso`: the sign-on's page, which posts itself on."""
        given = parse_qs(body.decode(errors="replace")).get("CastleAuthorization", [""])[0]
        credentials = basic_credentials(given)
        own = principal_id(credentials[0]) if credentials else ""
        if credentials is None or not self._state.people.knows_password(own, credentials[1]):
            return Response("Unauthorized", status_code=401, media_type="text/html")
        assertion = secrets.token_urlsafe(48)
        self._assertions[assertion] = own
        action = html.escape(f"{_base(request)}{_ASSERTION}")
        page = (
            "<html><head><title>Please wait</title></head><body onload='document.forms[0].submit()'>"
            f'<form method="post" id="SamlPostForm" enctype="x" action="{action}">'
            f'<input value="{assertion}" type="hidden" name="SAMLResponse"/>'
            '<input type="hidden" name="RelayState" value="SessionId"/></form></body></html>'
        )
        return Response(page, media_type="text/html")

    def _assertion(self, body: bytes) -> Response:
        """`POST` of the page's form: an assertion is good once."""
        given = parse_qs(body.decode(errors="replace")).get("SAMLResponse", [""])[0]
        own = self._assertions.pop(given, None)
        if own is None:
            raise XenonError(403, "forbidden")
        return self._opened(Response(status_code=302, headers={"Location": "/"}), own)

    def _opened(self, response: Response, own: str) -> Response:
        token = self._sessions.open(own)
        cookie = f"{COOKIE}={token}; Path=/; Max-Age={int(LIFETIME_S)}; HttpOnly; Secure"
        response.headers.append("Set-Cookie", cookie)
        return response


def _base(request: Request) -> str:
    return f"{request.url.scheme}://{request.headers.get('host', '')}"
