"""What a `/v2` request is about, and whether the caller may ask it.

Source: goharbor/harbor v2.15.2 src/server/middleware/artifactinfo/artifact_info.go,
src/server/middleware/v2auth/{auth,access}.go, src/lib/patterns.go.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from imagepipe.sandbox.harbor.artifacts import DIGEST, TAG
from imagepipe.sandbox.harbor.identity import Caller
from imagepipe.sandbox.harbor.problems import HarborError, bad_request, not_found
from imagepipe.sandbox.harbor.store import Store
from imagepipe.sandbox.harbor.tokens import SERVICE

# As upstream, but never repeating an empty match: Go's regexp is linear, Python's backtracks.
_PART = r"[a-z0-9]+(?:(?:[._]|__|-+)[a-z0-9]+)*"
_NAME = rf"(?P<repository>{_PART}(?:/{_PART})*)"
_PATTERNS = {
    "manifest": re.compile(rf"/v2/{_NAME}/manifests/(?P<reference>.*)"),
    "tags": re.compile(rf"/v2/{_NAME}/tags/list"),
    "upload": re.compile(rf"/v2/{_NAME}/blobs/uploads[/a-zA-Z0-9\-_.=]*"),
    "blob": re.compile(rf"/v2/{_NAME}/blobs/(?P<reference>{DIGEST.pattern})"),
    "referrers": re.compile(rf"/v2/{_NAME}/referrers/(?P<reference>.*)"),
}
_CATALOG = re.compile(r"/v2/_catalog(/.*)?")
ACTIONS = {"POST": "push", "PATCH": "push", "PUT": "push", "GET": "pull", "HEAD": "pull", "DELETE": "delete"}
_SCOPES = {"pull": "pull", "push": "pull,push", "delete": "delete"}


@dataclass(frozen=True, slots=True)
class Target:
    """The resource a `/v2` request names; `reference` is a tag, a digest, or empty."""

    kind: str
    repository: str = ""
    reference: str = ""
    mount_from: str = ""

    @property
    def project(self) -> str:
        """Returns the project's name."""
        return self.repository.partition("/")[0]

    @property
    def tag(self) -> str:
        """Returns the reference when it is a tag, else an empty text."""
        return "" if DIGEST.fullmatch(self.reference) else self.reference

    @property
    def projects(self) -> tuple[str, ...]:
        """Returns every project the request speaks of."""
        names = (self.repository, self.mount_from)
        return tuple(dict.fromkeys(name.partition("/")[0] for name in names if name))

    @classmethod
    def parse(cls, path: str, mount_from: str) -> Target:
        """Returns the target of a request's path.

        Raises:
            HarborError: 400, a repository without a project; 404, a reference that can be neither tag nor digest.
        """
        if path == "/v2/" or _CATALOG.fullmatch(path):
            return cls("base" if path == "/v2/" else "catalog")
        for kind, pattern in _PATTERNS.items():
            match = pattern.fullmatch(path)
            if match is not None:
                found = match.groupdict()
                mount = mount_from if kind == "upload" else ""
                _check(found["repository"], found.get("reference", ""), mount)
                return cls(kind, found["repository"], found.get("reference", ""), mount)
        return cls("other", reference=path)


def _check(repository: str, reference: str, mount_from: str) -> None:
    if reference and not (DIGEST.search(reference) or TAG.match(reference)):
        raise not_found("invalid reference format")
    for name in filter(None, (repository, mount_from)):
        if "/" not in name:
            raise bad_request(f"bad request: invalid repository name: {name}")


def authorize(store: Store, caller: Caller, target: Target, method: str, *, authorization: str, realm: str) -> None:
    """Accepts a request.

    Args:
        store: Where the projects are.
        caller: Who asks.
        target: What is asked for.
        method: The HTTP method.
        authorization: The Authorization header, or empty: without one, reading always needs a token first.
        realm: The URL of the token service as the client sees this host.

    Raises:
        HarborError: 401 with a challenge, never 403; its message says everything twice.
    """
    needs = _needs(target, method)
    scopes = [f"repository:{name}:{_SCOPES[action]}" for name, action in needs]
    bearer = f'Bearer realm="{realm}",service="{SERVICE}"' + (f',scope="{" ".join(scopes)}"' if scopes else "")
    challenge = 'Basic realm="harbor"' if authorization or target.kind == "catalog" else bearer
    if target.kind == "base" and not caller.username:
        raise _unauthorized("unauthorized", challenge)
    if target.kind == "catalog" and not caller.may_system(("catalog", "read")):
        raise _unauthorized("unauthorized to list catalog", challenge)
    if target.kind == "other" or (target.repository and not needs):
        raise _unauthorized(f"un-recognized request: {method} {target.reference}", "")
    for name, action in needs:
        if not authorization and method in {"GET", "HEAD"}:
            raise _unauthorized("authorize header needed to send HEAD to repository", challenge)
        project_name = name.partition("/")[0]
        project = store.project(project_name)
        if project is None:
            raise _unauthorized(f"project {project_name} not found", "")
        if not caller.may(project["id"], ("repository", action)):
            raise _unauthorized(f"unauthorized to access repository: {name}, action: {action}", challenge)


def _needs(target: Target, method: str) -> list[tuple[str, str]]:
    """Returns (repository, action) pairs: mounting a blob also pulls from where it lies."""
    action = ACTIONS.get(method)
    if not target.repository or action is None:
        return []
    mount = [(target.mount_from, "pull")] if method == "POST" and target.mount_from else []
    return [(target.repository, action), *mount]


def _unauthorized(message: str, challenge: str) -> HarborError:
    headers = {"Docker-Distribution-Api-Version": "registry/2.0", "Www-Authenticate": challenge}
    return HarborError("UNAUTHORIZED", f"{message}: {message}", headers)
