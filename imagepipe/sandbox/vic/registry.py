"""The `/v2` side: docker/distribution 2.6.2 behind Harbor's handlers, played by a newer registry that is held back.

Tags live in the registry, so that its conversion to schema 1, on which every VCH depends, happens.
Source: docker/distribution v2.6.2 registry/handlers/{app,images}.go, registry/auth/token/accesscontroller.go.
"""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final

from starlette.requests import Request
from starlette.responses import Response

from imagepipe.sandbox.harbor.artifacts import DIGEST, TAG
from imagepipe.sandbox.harbor.call import query_of
from imagepipe.sandbox.harbor.identity import LEEWAY_S
from imagepipe.sandbox.harbor.manifests import DOCKER_LIST, DOCKER_MANIFEST
from imagepipe.sandbox.harbor.registry import corrupted
from imagepipe.sandbox.vic import policies
from imagepipe.sandbox.vic.answers import DISTRIBUTION, RegistryError
from imagepipe.sandbox.vic.directory import Caller
from imagepipe.sandbox.vic.parts import Vic
from imagepipe.sandbox.vic.tokens import SERVICE

_PART = r"[a-z0-9]+(?:(?:[._]|__|-+)[a-z0-9]+)*"
_NAME = rf"(?P<repository>{_PART}(?:/{_PART})*)"
_ROUTES: Final = {
    "manifest": re.compile(rf"/v2/{_NAME}/manifests/(?P<reference>{TAG.pattern}|{DIGEST.pattern})"),
    "tags": re.compile(rf"/v2/{_NAME}/tags/list"),
    "upload": re.compile(rf"/v2/{_NAME}/blobs/uploads/[a-zA-Z0-9\-_.=]*"),
    "blob": re.compile(rf"/v2/{_NAME}/blobs/(?P<reference>{DIGEST.pattern})"),
    "catalog": re.compile(r"/v2/_catalog"),
    "base": re.compile(r"/v2/"),
}
_PULL: Final = ("pull",)
# Deleting needs all there is. Source: docker/distribution v2.6.2 registry/handlers/app.go (appendAccessRecords).
_ACTIONS: Final = {"GET": _PULL, "HEAD": _PULL, "DELETE": ("*",)}
_PUSH: Final = ("pull", "push")
_KNOWN_TYPES: Final = frozenset({DOCKER_MANIFEST, DOCKER_LIST, policies.SIGNED_SCHEMA1, policies.SCHEMA1})


@dataclass(frozen=True, slots=True)
class Access:
    """One action on one resource, as the registry asks for it."""

    type: str
    name: str
    action: str

    def plain(self) -> dict[str, str]:
        """Returns it as an error's detail shows it."""
        return {"Type": self.type, "Class": "", "Name": self.name, "Action": self.action}


@dataclass(frozen=True)
class Registry:
    """Serves `/v2` for one stand-in."""

    vic: Vic

    async def serve(self, request: Request) -> Response:
        """Returns the answer to a request.

        Raises:
            PolicyError: Harbor refuses.
            RegistryError: The registry does.
        """
        method, path = request.method, request.url.path
        policies.check_read_only(self.vic, method)
        kind, found = _route(path)
        repository, reference = found.get("repository", ""), found.get("reference", "")
        if kind == "manifest" and method == "GET":
            await policies.check_pull(self.vic, repository, reference)
        if kind == "manifest" and method == "PUT":
            policies.check_push(self.vic, _media_type(request))
        if not kind:  # no referrers, and whatever else came later
            return Response("404 page not found\n", status_code=404, headers={"Content-Type": "text/plain"})
        caller = self._admit(request, kind, repository)
        if kind == "base":
            return Response("{}", headers={**DISTRIBUTION, "Content-Type": "application/json; charset=utf-8"})
        if kind == "catalog":
            return self._catalog()
        if kind == "manifest":
            return await self._manifest(request, caller, repository, reference)
        return await self.vic.backend.forward(request)

    def _admit(self, request: Request, kind: str, repository: str) -> Caller:
        """Returns the holder of the token.

        Raises:
            RegistryError: 401 with a challenge.
        """
        needs = _needs(request, kind, repository)
        scheme, _, token = request.headers.get("authorization", "").partition(" ")
        if scheme.lower() != "bearer" or not token or " " in token:
            raise self._challenge(needs)
        claims = self.vic.tokens.claims(token)
        if claims is None or not self._is_current(claims, request.method):
            raise self._challenge(needs, "invalid_token")
        held = {(each["type"], each["name"], action) for each in claims["access"] for action in each["actions"]}
        if any((need.type, need.name, need.action) not in held for need in needs):
            raise self._challenge(needs, "insufficient_scope")
        return Caller(name=claims["sub"])

    def _is_current(self, claims: dict[str, Any], method: str) -> bool:
        if self.vic.faults.token_is_spent(claims["jti"], method):
            return False
        return bool(claims["nbf"] - LEEWAY_S <= self.vic.now() <= claims["exp"] + LEEWAY_S)

    def _challenge(self, needs: Sequence[Access], error: str = "") -> RegistryError:
        """Returns a 401: without a space in its challenge, unless a blob is mounted."""
        actions: dict[str, list[str]] = {}
        for need in needs:
            actions.setdefault(f"{need.type}:{need.name}", []).append(need.action)
        scopes = " ".join(f"{resource}:{','.join(names)}" for resource, names in actions.items())
        parts = [f'Bearer realm="{self.vic.config.external_url}/service/token"', f'service="{SERVICE}"']
        parts += [f'scope="{scopes}"'] if scopes else []
        parts += [f'error="{error}"'] if error else []
        detail = [need.plain() for need in needs] or None
        headers = {"Www-Authenticate": ",".join(parts)}
        return RegistryError(401, "UNAUTHORIZED", "authentication required", detail, headers)

    def _catalog(self) -> Response:
        rows = self.vic.store.all("SELECT name FROM repositories ORDER BY name")
        body = json.dumps({"repositories": [row["name"] for row in rows] or None}, separators=(",", ":"))
        return Response(body, headers={**DISTRIBUTION, "Content-Type": "application/json; charset=utf-8"})

    async def _manifest(self, request: Request, caller: Caller, repository: str, reference: str) -> Response:
        if request.method == "PUT":
            return await self._put(request, caller, repository, reference)
        await self._move_tag(repository, reference)
        response = await self.vic.backend.fetch(request, f"/v2/{repository}/manifests/{reference}")
        if request.method == "GET" and response.status_code == 200:
            self._pulled(caller, repository, reference)
            digest = response.headers.get("docker-content-digest", "")
            if self.vic.faults.corrupts(repository, reference, digest):
                response.body = corrupted(bytes(response.body))
        return response

    async def _move_tag(self, repository: str, reference: str) -> None:
        """Moves a tag between two reads when a fault switch says so, as another client's push would."""
        digest = None if DIGEST.fullmatch(reference) else self.vic.faults.moved_tag(repository, reference)
        if digest is not None:
            moved = await self.vic.inside.manifest(repository, digest)
            await self.vic.inside.put(repository, reference, moved.headers["content-type"], moved.content)

    async def _put(self, request: Request, caller: Caller, repository: str, reference: str) -> Response:
        raw = await request.body()
        if _media_type(request) not in _KNOWN_TYPES or not _is_docker(raw):
            # Whatever it does not know is read as schema 1, and has no signature.
            raise RegistryError(400, "MANIFEST_INVALID", "manifest invalid", {})
        response = await self.vic.backend.fetch(request, f"/v2/{repository}/manifests/{reference}", raw)
        if response.status_code == 201:
            self._pushed(caller, repository, reference)
        return response

    def _pushed(self, caller: Caller, repository: str, reference: str) -> None:
        """Does what the registry's notification makes Harbor do."""
        project = self.vic.directory.project(repository.partition("/")[0])
        if project is None:
            return
        sql = "INSERT OR IGNORE INTO repositories (project_id, name, creation_time, update_time) VALUES (?, ?, ?, ?)"
        now = self.vic.stamp()
        self.vic.store.run(sql, project.id, repository, now, now)
        self.vic.store.run("UPDATE repositories SET update_time = ? WHERE name = ?", now, repository)
        if not DIGEST.fullmatch(reference):
            self.vic.log(caller, project, "push", repository=repository, tag=reference)

    def _pulled(self, caller: Caller, repository: str, reference: str) -> None:
        project = self.vic.directory.project(repository.partition("/")[0])
        self.vic.store.run("UPDATE repositories SET pull_count = pull_count + 1 WHERE name = ?", repository)
        if project is not None:
            self.vic.log(caller, project, "pull", repository=repository, tag=reference)


def _route(path: str) -> tuple[str, dict[str, str]]:
    for kind, pattern in _ROUTES.items():
        match = pattern.fullmatch(path)
        if match is not None:
            return kind, match.groupdict()
    return "", {}


def _needs(request: Request, kind: str, repository: str) -> list[Access]:
    """Returns what the caller's token must hold: mounting a blob also pulls from where it lies."""
    if kind == "catalog":
        return [Access("registry", "catalog", "*")]
    if not repository:
        return []
    needs = [Access("repository", repository, action) for action in _ACTIONS.get(request.method, _PUSH)]
    source = dict(query_of(request)).get("from", "")
    return [*needs, Access("repository", source, "pull")] if source else needs


def _media_type(request: Request) -> str:
    return request.headers.get("content-type", "").partition(";")[0].strip()


def _is_docker(raw: bytes) -> bool:
    """Returns whether a manifest's own media type, if it has one, is one of Docker's."""
    try:
        document = json.loads(raw)
    except ValueError:
        return True  # the registry says what is wrong with it
    stated = document.get("mediaType") if isinstance(document, dict) else None
    return not stated or stated in _KNOWN_TYPES
