"""What a new sandbox contains: a small team, its project, a robot for CI, the base image and an identity to sign with.

Everything goes through the doors that a real Harbor and a real identity provider have.
"""

import json
import secrets
import string
from collections.abc import Mapping
from dataclasses import dataclass
from http.cookiejar import CookieJar, DefaultCookiePolicy
from pathlib import Path
from typing import Any

import httpx

from imagepipe.errors import UnavailableError
from imagepipe.sandbox import baseimage
from imagepipe.sandbox.layout import PROJECT, Layout
from imagepipe.sandbox.plain import trusting_nobody
from imagepipe.sandbox.probing import trusting
from imagepipe.sandbox.state import write_private

__all__ = ["IDENTITY", "TEAM", "Harbor", "generate_password", "mint_token", "seed_project"]

IDENTITY = "ci@es-sandbox.test"
TEAM = {"project_admin": ("lee", 1), "developer": ("dana", 2), "guest": ("gus", 3)}
"""Key in the status document, to user name and role id. Source: Harbor v2.15.2 src/common/const.go."""

_ROBOT_DAYS = 30
_TOKEN_LIFETIME_S = 10 * 365 * 24 * 3600  # the token is to outlive any sandbox
# What imagepipe asks of a project. Source: Harbor v2.15.2 src/common/rbac/const.go (what a robot may be given).
_ROBOT_RIGHTS = {
    "repository": ("pull", "push", "list", "read"),
    "artifact": ("read", "list", "create"),
    "accessory": ("list",),
    "tag": ("list", "create"),
    "artifact-label": ("create",),
    "scan": ("read", "create"),
    "project": ("read",),
    "metadata": ("read", "list", "update"),
    "member": ("create", "read", "update", "delete", "list"),
    "robot": ("create", "list", "read", "delete"),
    "immutable-tag": ("list",),
    "quota": ("read",),
}


def generate_password() -> str:
    """Returns a password that Harbor accepts: 8 to 128 characters with upper case, lower case and a digit."""
    alphabet = string.ascii_letters + string.digits
    return "Aa1" + "".join(secrets.choice(alphabet) for _ in range(21))


@dataclass(frozen=True, slots=True)
class Harbor:
    """Where the registry answers, and as whom the sandbox sets it up."""

    url: str
    ca_file: Path
    password_file: Path

    def client(self) -> httpx.Client:
        """Returns a client that trusts the sandbox's CA only, obeys no proxy and keeps no cookie.

        Source: goharbor/harbor#13570: with a session cookie Harbor wants a CSRF token.
        """
        no_cookies = CookieJar(policy=DefaultCookiePolicy(allowed_domains=[]))
        tls = trusting(self.ca_file)
        return httpx.Client(base_url=self.url, verify=tls, cookies=no_cookies, timeout=20.0, trust_env=False)

    @property
    def credentials(self) -> tuple[str, str]:
        """Returns the administrator's name and password."""
        return "admin", self.password_file.read_text().strip()


def seed_project(layout: Layout, harbor: Harbor, *, robots: bool) -> dict[str, str]:
    """Makes users, project, members and base image; returns the user names by their key in the status document.

    Args:
        layout: Where the passwords go.
        harbor: The Harbor to set up, speaking API 2.0.
        robots: Whether CI is a robot account; otherwise it is a user with the developer's role.

    Raises:
        UnavailableError: Harbor refused one of them.
    """
    users = {"admin": "admin"}
    with harbor.client() as client:
        client.auth = httpx.BasicAuth(*harbor.credentials)
        client.headers["X-Is-Resource-Name"] = "true"
        metadata = {"public": "false"}
        _post(client, "projects", {"project_name": PROJECT, "metadata": metadata})
        members = TEAM if robots else {**TEAM, "ci": ("ci", TEAM["developer"][1])}
        for key, (username, role) in members.items():
            _add_user(client, username, _new_password(layout, key))
            _post(client, f"projects/{PROJECT}/members", {"role_id": role, "member_user": {"username": username}})
            users[key] = username
        if robots:
            users["ci"] = _add_robot(client, layout)
        baseimage.push(baseimage.make(), client, harbor.credentials)
    return users


def _new_password(layout: Layout, key: str) -> str:
    password = generate_password()
    write_private(layout.password(key), f"{password}\n")
    return password


def _add_user(client: httpx.Client, username: str, password: str) -> None:
    body = {"username": username, "email": f"{username}@es-sandbox.test", "realname": username, "password": password}
    _post(client, "users", body)


def _add_robot(client: httpx.Client, layout: Layout) -> str:
    access = [{"resource": thing, "action": verb} for thing, verbs in _ROBOT_RIGHTS.items() for verb in verbs]
    permissions = [{"kind": "project", "namespace": PROJECT, "access": access}]
    body = {"name": "ci", "level": "project", "duration": _ROBOT_DAYS, "permissions": permissions}
    made: dict[str, Any] = _post(client, "robots", body).json()
    write_private(layout.password("ci"), f"{made['secret']}\n")
    return str(made["name"])


def _post(client: httpx.Client, path: str, body: Mapping[str, object]) -> httpx.Response:
    try:
        answer = client.post(f"/api/v2.0/{path}", json=dict(body))
    except httpx.HTTPError as error:
        raise UnavailableError(f"seed: POST {path}: {error}") from None
    if not answer.is_success:
        raise UnavailableError(f"seed: POST {path}: {answer.status_code} {answer.text.strip()[:300]}")
    return answer


def mint_token(url: str, token_file: Path) -> None:
    """Writes an identity token for `IDENTITY` that is valid as long as the sandbox is up.

    Raises:
        UnavailableError: The identity provider refused.
    """
    wanted = {"sub": IDENTITY, "email": IDENTITY, "email_verified": True, "exp_s": _TOKEN_LIFETIME_S}
    try:
        answer = httpx.post(
            f"{url}/mint", json=wanted, verify=trusting_nobody(), timeout=10.0, trust_env=False
        ).raise_for_status()
    except httpx.HTTPError as error:
        raise UnavailableError(f"mint an identity token at {url}: {error}") from None
    write_private(token_file, _raw_token(answer.text))


def _raw_token(text: str) -> str:
    """Returns the token in an answer that is either the token itself or JSON holding it."""
    stripped = text.strip()
    return str(json.loads(stripped)) if stripped.startswith('"') else stripped
