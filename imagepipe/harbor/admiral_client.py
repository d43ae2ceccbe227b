"""Asks VIC's Admiral: by the token that its single sign-on gives, which is fetched anew when it has run out.

Source: vmware/admiral vic_v1.5.6 test-e2e/…/VICAuthTokenGetter.java (the login); vmware/xenon v1.6.14.1
ServiceErrorResponse.java (the errors).
"""

import base64
import re
import ssl
from collections.abc import Callable
from html.parser import HTMLParser
from http.cookies import CookieError, SimpleCookie
from typing import Any, Final

import httpx

from imagepipe.errors import CredentialsError, NotFoundError, RefusedError, UnavailableError, UnsupportedError
from imagepipe.harbor.client import Call, HarborClient
from imagepipe.http.client import network
from imagepipe.http.failure import asking, refusal
from imagepipe.model.received import json_in
from imagepipe.model.result import Credential

__all__ = ["TOKEN_USER", "AdmiralClient", "SignOn", "TokenTransport", "refused_as_stale", "said"]

TOKEN_USER: Final = "x-xenon-auth-token"  # noqa: S105 -- a user name that says that the password is a token
_HEADER: Final = "x-xenon-auth-token"
_COOKIE: Final = "xenon-auth-cookie"
_SAFE: Final = ("GET", "HEAD")
_SESSION: Final = "/auth/session"
_BASIC: Final = "/core/authn/basic"
_CLASS: Final = re.compile(r"^(?:(?:java|com)\.[\w.$]+:\s*)+")
_TOKEN_HINT: Final = f"log in with a browser and give its cookie {_COOKIE} as the password of the user {TOKEN_USER}"


def said(response: httpx.Response) -> str:
    """Returns what Admiral says, without its stack traces and class names."""
    try:
        body = json_in(response.content)
    except ValueError:
        return ""
    if not isinstance(body, dict):
        return ""
    errors: list[Any] = body.get("errors") or [{}]
    text = body.get("message") or errors[0].get("systemMessage") or errors[0].get("message") or ""
    return _CLASS.sub("", str(text))


class AdmiralClient(HarborClient):
    """Asks one Admiral; may be shared by threads.

    Args:
        http: A client without credentials.
        sign_on: Gets a token.
    """

    def __init__(self, http: httpx.Client, sign_on: Callable[[], str]) -> None:
        super().__init__(http, base="")
        self._sign_on = sign_on
        self._token = ""

    def call(self, call: Call) -> httpx.Response:
        """Returns an answer of 2xx or 304, or of a status that the call accepts.

        Raises:
            CredentialsError: Admiral does not know us.
            PermissionRefusedError: It does and says no.
            UnavailableError: It broke or is away. A write may have happened all the same.
        """
        response = self._read(call) if call.method in _SAFE else self._send(call)
        if response.is_success or response.status_code == 304 or response.status_code in call.accept:
            return response
        # Only the message: bodies hold stack traces and inner addresses.
        plain = httpx.Response(response.status_code, text=said(response), request=response.request)
        raise refusal(plain, call.what)

    def prove(self) -> httpx.Response:
        """Asks who we are.

        Raises:
            CredentialsError: Admiral does not know us.
        """
        return self.call(Call("GET", _SESSION, "log in to Admiral"))

    def _send(self, call: Call) -> httpx.Response:
        fresh = not self._token
        if fresh:
            self._token = self._sign_on()
        response = self._ask(call)
        if not _is_logged_out(response, call):
            return response
        if not fresh:
            self._token = self._sign_on()
            response = self._ask(call)
        if _is_logged_out(response, call):
            self._token = ""
            raise CredentialsError(f"{call.what}: Admiral does not know us", hint=_TOKEN_HINT)
        return response

    def _ask(self, call: Call) -> httpx.Response:
        headers = {_HEADER: self._token, "Accept": "application/json", "Accept-Language": "en"}
        with asking(call.what):
            return self._http.request(call.method, call.path, json=call.body, headers=headers)


def _is_logged_out(response: httpx.Response, call: Call) -> bool:
    """Tells whether the token has run out: the sign-on's page may come with a 200, and a guest is only forbidden."""
    status = response.status_code
    redirected = response.is_redirect and status != 304
    page = response.is_success and "html" in response.headers.get("content-type", "")
    return status == 401 or redirected or page or (status == 403 and call.path == _SESSION)


class TokenTransport(httpx.BaseTransport):
    """Hands the sign-on's cookie on as a header: cookies themselves are let through nowhere.

    Args:
        inner: What sends one request once; None: the network, by the proxies that the environment names.
        context: Whom the network trusts.
    """

    def __init__(self, inner: httpx.BaseTransport | None, context: ssl.SSLContext) -> None:
        self._inner = inner or network(context)

    def handle_request(self, request: httpx.Request) -> httpx.Response:
        """Returns the answer; what is in its cookie is in its header, too."""
        response = self._inner.handle_request(request)
        token = _cookie(response)
        if token:
            response.headers[_HEADER] = token
        return response

    def close(self) -> None:
        """Closes what is inside."""
        self._inner.close()


class SignOn:
    """Gets a token: a given one, by the single sign-on's page, or by Basic where users are local.

    The password goes to Admiral's own host only, and once.

    Args:
        http: A client of Admiral without credentials.
        credential: Who we are; the user `x-xenon-auth-token` has a token as password.
    """

    def __init__(self, http: httpx.Client, credential: Credential) -> None:
        self._http = http
        self._credential = credential

    def __call__(self) -> str:
        """Returns a token.

        Raises:
            CredentialsError: Wrong user name or password.
            UnsupportedError: The sign-on is on another host, or wants more than a password.
            UnavailableError: It is away.
        """
        if self._credential.username == TOKEN_USER:
            return self._credential.password
        what = f"log in to Admiral as {self._credential.username}"
        with asking(what):
            front = self._http.get("/")
        if not front.is_redirect:
            return self._local(what)
        page = self._page(self._own(front, front.headers.get("location", ""), what), what)
        form = _Form.read(page, what)
        place = self._own(front, form.action, what)
        with asking(what):
            opened = self._http.post(place, data={"SAMLResponse": form.assertion, "RelayState": "SessionId"})
        token = str(opened.headers.get(_HEADER, ""))
        if not token:
            raise UnavailableError(f"{what}: it gave no token (HTTP {opened.status_code})", hint=_TOKEN_HINT)
        return token

    @property
    def _basic(self) -> str:
        pair = f"{self._credential.username}:{self._credential.password}"
        return "Basic " + base64.b64encode(pair.encode()).decode()

    def _own(self, front: httpx.Response, place: str, what: str) -> httpx.URL:
        """Returns an address that is Admiral's own host and no less protected; nobody else gets the password."""
        own = front.request.url
        try:
            url = own.join(place)
        except httpx.InvalidURL as error:
            raise UnavailableError(f"{what}: it names no place to log in", hint=_TOKEN_HINT) from error
        if (url.scheme, url.host) != (own.scheme, own.host):
            raise UnsupportedError(
                f"{what}: its users log in at {url.scheme}://{url.host}, which is another host", hint=_TOKEN_HINT
            )
        return url

    def _page(self, url: httpx.URL, what: str) -> str:
        with asking(what):
            answer = self._http.post(url, data={"CastleAuthorization": self._basic})
        if answer.status_code == 200:
            return answer.text
        if answer.status_code >= 500:
            raise UnavailableError(f"{what}: HTTP {answer.status_code}", hint="try again later")
        raise CredentialsError(
            f"{what}: wrong user name or password (HTTP {answer.status_code})",
            hint="check the password, and give the name with its domain, such as dana@vsphere.local",
        )

    def _local(self, what: str) -> str:
        with asking(what):
            answer = self._http.post(_BASIC, json={"requestType": "LOGIN"}, headers={"Authorization": self._basic})
        token = str(answer.headers.get(_HEADER, ""))
        if answer.is_success and token:
            return token
        if answer.status_code == 404:
            raise NotFoundError(f"{what}: nobody signs on here (HTTP 404)", hint="check that this is Admiral's address")
        raise CredentialsError(
            f"{what}: {said(answer) or 'refused'} (HTTP {answer.status_code})", hint="check user name and password"
        )


class _Form(HTMLParser):
    """The form that the sign-on's page posts on."""

    def __init__(self) -> None:
        super().__init__()
        self.action = ""
        self.assertion = ""

    @classmethod
    def read(cls, page: str, what: str) -> "_Form":
        form = cls()
        form.feed(page)
        if not form.action or not form.assertion:
            raise UnsupportedError(f"{what}: its sign-on wants more than a password", hint=_TOKEN_HINT)
        return form

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        """Notes where the form goes and what it carries."""
        given: dict[str, Any] = dict(attrs)
        if tag == "form" and given.get("id") == "SamlPostForm":
            self.action = given.get("action") or ""
        if tag == "input" and given.get("name") == "SAMLResponse":
            self.assertion = given.get("value") or ""


def _cookie(response: httpx.Response) -> str:
    for line in response.headers.get_list("set-cookie"):
        try:
            morsel = SimpleCookie(line).get(_COOKIE)
        except CookieError:
            continue
        if morsel is not None and morsel.value:
            return str(morsel.value)
    return ""


def refused_as_stale(what: str, principal: str) -> RefusedError:
    """Returns the error of somebody whom single sign-on has forgotten, and Admiral therefore cannot change."""
    return RefusedError(
        f"{what}: single sign-on no longer knows {principal}, and Admiral cannot change whom it does not find",
        hint="have the account made again, remove it from the project, and delete it then",
    )
