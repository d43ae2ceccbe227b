"""Authenticates at a registry: the token flow and Basic, as a generator that does no I/O of its own.

>>> auth = RegistryAuth("vic.example", "https://vic.example")
>>> flow = auth.auth_flow(httpx.Request("GET", "https://vic.example/v2/p/r/manifests/1"))
>>> "authorization" in next(flow).headers
False
"""

import base64
import re
import time
from collections.abc import Callable, Generator, Iterable
from dataclasses import dataclass
from typing import Final

import httpx

from imagepipe.errors import AccessError, CredentialsError, PermissionRefusedError, RefusedError, UnavailableError
from imagepipe.http.failure import refusal, words
from imagepipe.model.result import Credential
from imagepipe.registry.token import Token, parse_token

__all__ = ["Challenge", "RegistryAuth", "Wanted"]

_PATH: Final = re.compile(r"^/v2/(?P<repository>.+)/(?:manifests|blobs|tags|referrers)/")
# Source: RFC 9110 section 11.6.1; distribution docs/spec/auth/token.md
_SCHEME: Final = re.compile(r"^\s*(?P<scheme>[A-Za-z]+)(?:\s+(?P<parameters>.*))?$", re.DOTALL)
_PARAMETER: Final = re.compile(r'\b(\w+)="((?:[^"\\]|\\.)*)"|\b(\w+)=([^\s",]+)')
_CHALLENGES: Final = re.compile(r",\s*(?=[A-Za-z]+\s+\w+=)")


@dataclass(frozen=True, slots=True)
class Wanted:
    """The access that a request needs.

    Attributes:
        repository: `project/name`, or empty for the registry itself.
        action: `pull`, `push` or `delete`.
        source: The repository that a blob is mounted from, or empty.
    """

    repository: str
    action: str
    source: str = ""

    @classmethod
    def by(cls, request: httpx.Request) -> "Wanted":
        """Returns what a request needs, by its method and path."""
        match = _PATH.match(request.url.path)
        action = {"GET": "pull", "HEAD": "pull", "DELETE": "delete"}.get(request.method, "push")
        source = request.url.params.get("from", "") if action == "push" else ""
        return cls(match.group("repository") if match else "", action, source)

    @property
    def scopes(self) -> list[str]:
        """The scopes to ask a token for; writing wants reading too, and mounting wants reading elsewhere.

        Source: distribution docs/spec/auth/scope.md, v2.8.2 registry/handlers/app.go (appendAccessRecords)
        """
        actions = "pull,push" if self.action == "push" else self.action
        scopes = [f"repository:{self.repository}:{actions}"] if self.repository else []
        return [*scopes, f"repository:{self.source}:pull"] if self.source else scopes

    def missing(self, token: Token) -> tuple[str, str] | None:
        """Returns the first action and repository that the token does not claim to allow, or None."""
        needs = [(self.action, self.repository)] + ([("pull", self.source)] if self.source else [])
        return next((need for need in needs if not token.allows(need[1], need[0])), None)


@dataclass(frozen=True, slots=True)
class Challenge:
    """One challenge of a `WWW-Authenticate` header, the scheme in lower case."""

    scheme: str
    parameters: tuple[tuple[str, str], ...] = ()

    @classmethod
    def parse(cls, headers: Iterable[str]) -> tuple["Challenge", ...]:
        """Returns the challenges of the headers' values, in order; what is malformed is left out."""
        found = []
        for part in (part for header in headers for part in _CHALLENGES.split(header)):
            match = _SCHEME.match(part)
            if match:
                pairs = _PARAMETER.findall(match.group("parameters") or "")
                found.append(cls(match.group("scheme").lower(), tuple((a or c, b or d) for a, b, c, d in pairs)))
        return tuple(found)

    def get(self, name: str) -> str:
        """Returns a parameter's value, or an empty string."""
        return dict(self.parameters).get(name, "")


class RegistryAuth(httpx.Auth):
    """Answers a registry's challenges and keeps its tokens, one per repository and action, in memory.

    Harbor hands out an anonymous token, with status 200, for a wrong password; only the registry's second 401 shows it.
    Source: Harbor v2.15.2 src/server/middleware/security/security.go, src/core/service/token/creator.go

    Args:
        registry: The registry's name for messages.
        base_url: Where it is spoken to; credentials go to no other host, except to a token service over https.
        credential: Who we are; None for anonymous.
        clock: Seconds that only grow.
    """

    def __init__(
        self,
        registry: str,
        base_url: str,
        credential: Credential | None = None,
        *,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._registry = registry
        self._url = httpx.URL(base_url)
        self._credential = credential
        self._clock = clock
        self._tokens: dict[Wanted, Token] = {}
        self._bearer: Challenge | None = None
        self._basic = False

    def auth_flow(self, request: httpx.Request) -> Generator[httpx.Request, httpx.Response, None]:
        """Yields the request, and the token service's when a token is needed.

        Raises:
            CredentialsError: The registry does not know us.
            PermissionRefusedError: It knows us, and we may not do this.
        """
        if _origin(request.url) != _origin(self._url):
            yield request
            return
        wanted = Wanted.by(request)
        known, asked = self._known(wanted), False
        if known is None and self._bearer is not None:
            # Who wanted a token for one thing wants one for the next: to be told so again is a round trip for nothing.
            known, asked = (yield from self._fetched(self._bearer, wanted, request)), True
        self._authorize(request, known)
        response = yield request
        # Where a redirect led us elsewhere, that place may not ask for our password.
        if response.status_code != 401 or _origin(response.request.url) != _origin(self._url):
            return
        if asked:
            self._tokens.pop(wanted, None)
            raise self._rejected(response, wanted, known)
        challenge = self._challenge(response)
        if challenge is None:
            raise self._rejected(response, wanted, None)
        if challenge.scheme == "basic":
            yield from self._with_basic(request, response, wanted)
            return
        token = yield from self._fetched(challenge, wanted, request)
        self._authorize(request, token)
        response = yield request
        if response.status_code == 401:
            self._tokens.pop(wanted, None)
            raise self._rejected(response, wanted, token)

    def _known(self, wanted: Wanted) -> Token | None:
        for key in (wanted, Wanted(wanted.repository, "push")) if wanted.action == "pull" else (wanted,):
            token = self._tokens.get(key)
            if token is not None and token.expires_at > self._clock():
                return token
        return None

    def _authorize(self, request: httpx.Request, token: Token | None) -> None:
        if token is not None:
            request.headers["Authorization"] = f"Bearer {token.text}"
        elif self._basic and self._credential is not None:
            request.headers["Authorization"] = _basic(self._credential)

    def _challenge(self, response: httpx.Response) -> Challenge | None:
        """Returns the challenge to answer.

        Harbor challenges with Basic once a request carries any Authorization, also an expired token: the Bearer
        challenge met first is remembered. Source: Harbor v2.15.2 src/server/middleware/v2auth/auth.go
        """
        offered = Challenge.parse(response.headers.get_list("www-authenticate"))
        for challenge in offered:
            if challenge.scheme == "bearer" and challenge.get("realm"):
                self._bearer = challenge
                return challenge
        if self._bearer is not None:
            return self._bearer
        return next((challenge for challenge in offered if challenge.scheme == "basic"), None)

    def _with_basic(
        self, request: httpx.Request, response: httpx.Response, wanted: Wanted
    ) -> Generator[httpx.Request, httpx.Response, None]:
        if self._credential is None or self._basic:
            raise self._rejected(response, wanted, None)
        request.headers["Authorization"] = _basic(self._credential)
        response = yield request
        if response.status_code == 401:
            raise self._rejected(response, wanted, None)
        self._basic = True

    def _fetched(
        self, challenge: Challenge, wanted: Wanted, request: httpx.Request
    ) -> Generator[httpx.Request, httpx.Response, Token]:
        answer = yield self._token_request(challenge, wanted, request)
        return self._token(answer, wanted)

    def _token_request(self, challenge: Challenge, wanted: Wanted, request: httpx.Request) -> httpx.Request:
        realm = self._realm(challenge.get("realm"))
        # Our own scope first: a challenge that is remembered may be about another repository.
        scopes = wanted.scopes or [challenge.get("scope")]
        given = (("service", challenge.get("service")), *(("scope", scope) for scope in scopes))
        parameters = httpx.QueryParams([*realm.params.multi_items(), *((name, text) for name, text in given if text)])
        headers = {"User-Agent": request.headers.get("user-agent", ""), "Accept": "application/json"}
        if self._credential is not None:
            headers["Authorization"] = _basic(self._credential)
        return httpx.Request(
            "GET",
            realm.copy_with(params=parameters),
            headers=headers,
            extensions={name: value for name, value in request.extensions.items() if name == "timeout"},
        )

    def _realm(self, text: str) -> httpx.URL:
        """Returns the token service's address, once it is safe to send a password there."""
        try:
            realm = httpx.URL(text)
        except httpx.InvalidURL as error:
            raise UnavailableError(f"{self._registry} names a token service that is no URL: {text[:200]!r}") from error
        same_host = realm.host == self._url.host
        if realm.scheme == "https" and (same_host or self._url.scheme == "https"):
            return realm
        if realm.scheme == "http" and same_host and self._url.scheme == "http":
            return realm
        raise RefusedError(
            f"{self._registry} names the token service {realm.scheme}://{realm.host}: no password is sent there",
            hint="give the registry an https address for its token service (Harbor: external_url)",
        )

    def _token(self, answer: httpx.Response, wanted: Wanted) -> Token:
        answer.read()
        if answer.status_code == 401:
            raise self._not_accepted(words(answer))
        if answer.status_code != 200:
            raise refusal(answer, f"ask {self._registry} for a token")
        token = parse_token(answer.content, self._clock(), self._registry)
        self._tokens[wanted] = token
        return token

    def _rejected(self, response: httpx.Response, wanted: Wanted, token: Token | None) -> AccessError:
        response.read()
        said = words(response)
        if self._credential is None:
            return CredentialsError(
                f"{self._registry} lets nobody {wanted.action} {wanted.repository} without credentials: {said}",
                hint="set [harbor] username and password_file, or docker login",
            )
        if token is None or token.subject == "":
            return self._not_accepted(said)
        missing = wanted.missing(token) if token.subject is not None else None
        if missing is not None:
            action, repository = missing
            return PermissionRefusedError(
                f"{token.subject} may not {action} {repository} at {self._registry}: {said}",
                hint=f"check that the project exists, and ask its admin for the right to {action}",
            )
        return CredentialsError(
            f"{self._registry} rejects the token that it gave to {self._credential.username}: {said}",
            hint="check the user name, the password and the account's right to this repository",
        )

    def _not_accepted(self, said: str) -> CredentialsError:
        if self._credential is None:
            return CredentialsError(
                f"{self._registry} gives no token without credentials: {said}",
                hint="set [harbor] username and password_file, or docker login",
            )
        return CredentialsError(
            f"{self._registry} did not accept the user name and password of {self._credential.username}: {said}",
            hint="check them; after a wrong password Harbor locks the name for a moment, so wait before trying again",
        )


def _basic(credential: Credential) -> str:
    pair = f"{credential.username}:{credential.password}".encode()
    return f"Basic {base64.b64encode(pair).decode('ascii')}"


def _origin(url: httpx.URL) -> tuple[str, str, int | None]:
    return url.scheme, url.host, url.port
