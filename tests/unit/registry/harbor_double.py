"""Harbor's way of giving and refusing access, as an httpx handler with state."""

import base64
import json
from dataclasses import dataclass, field

import httpx

REALM = "https://vic.example/service/token"


def jwt(subject: str, repository: str, actions: list[str]) -> str:
    """Returns a token in the shape of Harbor's; nobody checks its signature here."""
    access = [{"type": "repository", "name": repository, "actions": actions}]
    parts = ({"alg": "RS256"}, {"iss": "harbor-token-issuer", "sub": subject, "access": access})
    return ".".join(
        base64.urlsafe_b64encode(json.dumps(part).encode()).decode().rstrip("=") for part in (*parts, "signature")
    )


@dataclass
class HarborDouble:
    """One repository `p/r`, private. A wrong password gets an anonymous token, with status 200.

    Source: Harbor v2.15.2 src/server/middleware/v2auth/auth.go, src/core/service/token/creator.go
    """

    rights: dict[tuple[str, str], list[str]] = field(default_factory=lambda: {("bob", "pa55"): ["pull", "push"]})
    realm: str = REALM
    challenge: str = "Bearer"
    expires_in: int = 1800
    token_field: str = "token"
    seen: list[httpx.Request] = field(default_factory=list)
    revoked: set[str] = field(default_factory=set)
    serial: int = 0

    def __call__(self, request: httpx.Request) -> httpx.Response:
        self.seen.append(request)
        return self._token(request) if request.url.path == "/service/token" else self._registry(request)

    @property
    def token_requests(self) -> list[httpx.Request]:
        return [request for request in self.seen if request.url.path == "/service/token"]

    def _token(self, request: httpx.Request) -> httpx.Response:
        pair = _pair(request)
        granted = self.rights.get(pair, []) if pair else []
        self.serial += 1
        text = jwt(pair[0] if pair and pair in self.rights else "", "p/r", [*granted, f"serial-{self.serial}"])
        return httpx.Response(200, json={"access_token": "", self.token_field: text, "expires_in": self.expires_in})

    def _registry(self, request: httpx.Request) -> httpx.Response:
        sent = request.headers.get("authorization", "")
        if not sent:
            return self._refuse(
                f'{self.challenge} realm="{self.realm}",service="harbor-registry",scope="repository:p/r:pull"'
            )
        if self._allowed(request, sent):
            return httpx.Response(200, json={})
        return self._refuse('Basic realm="harbor"')

    def _allowed(self, request: httpx.Request, sent: str) -> bool:
        if request.url.params.get("from", "p/r") != "p/r":
            return False  # a blob is mounted from a repository that nobody here may read
        action = "pull" if request.method in ("GET", "HEAD") else "push"
        if sent.startswith("Basic "):
            pair = _pair(request)
            return pair is not None and action in self.rights.get(pair, [])
        token = sent.removeprefix("Bearer ")
        claims = json.loads(base64.urlsafe_b64decode(token.split(".")[1] + "=="))
        return token not in self.revoked and action in claims["access"][0]["actions"]

    @staticmethod
    def _refuse(challenge: str) -> httpx.Response:
        said = "unauthorized to access repository: p/r, action: pull"
        return httpx.Response(
            401,
            headers={"WWW-Authenticate": challenge},
            json={"errors": [{"code": "UNAUTHORIZED", "message": f"{said}: {said}"}]},
        )


def _pair(request: httpx.Request) -> tuple[str, str] | None:
    sent = request.headers.get("authorization", "")
    if not sent.startswith("Basic "):
        return None
    name, _, password = base64.b64decode(sent.removeprefix("Basic ")).decode().partition(":")
    return name, password
