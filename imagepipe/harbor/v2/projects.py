"""Projects of a Harbor 2.x, their settings and quotas."""

import re
from collections.abc import Iterator, Mapping
from typing import Final

from imagepipe.errors import NotFoundError, PermissionRefusedError, RefusedError
from imagepipe.harbor.change import Change
from imagepipe.harbor.client import Call
from imagepipe.harbor.making import different, made
from imagepipe.harbor.paging import Listing, every
from imagepipe.harbor.v2.session import Session, project_path
from imagepipe.harbor.v2.settings import STORAGE, Setting, checked, from_metadata, to_metadata
from imagepipe.harbor.wire import WireArtifact, WireProject, WireQuota, WireSummary, parse
from imagepipe.http.failure import words
from imagepipe.model.access import Project, ProjectFacts

__all__ = ["Projects2"]

# Source: goharbor/harbor v2.15.2 src/server/v2.0/handler/project.go (validateProjectReq)
_NAME: Final = re.compile(r"[a-z0-9]+(?:[._-][a-z0-9]+)*")
_NAME_CHARS: Final = 255


class Projects2:
    """Keeps `ports.administration.Projects`."""

    def __init__(self, session: Session) -> None:
        self._session = session
        self._client = session.client

    def list(self, *, name: str | None = None) -> Iterator[Project]:
        """Yields every project that we may see; with `name` that one, or nothing where there is none.

        Raises:
            PermissionRefusedError: The project of that name exists and is hidden from us.
        """
        if name is not None:
            found = self._find(name, f"look for project {name}")
            if found is not None:
                yield found
            return
        # Before the projects: who stops being an administrator in between loses limits and no project.
        limits = self._limits()
        listing = Listing("/projects", "list projects", {"sort": "-project_id"}, "project_id", open_to_all=True)
        for row in sorted(every(self._client, listing), key=lambda row: str(row.get("name"))):
            wire = parse(WireProject, row, listing.what)
            yield self._project(wire, limits.get(wire.project_id))

    def create(self, name: str, settings: Mapping[str, Setting]) -> Project:
        """Makes a project and returns it as read back."""
        what = f"create project {name[:80]}"
        if len(name) > _NAME_CHARS or _NAME.fullmatch(name) is None:
            raise RefusedError(
                f"{what}: Harbor takes no such name",
                hint="use lower-case letters and digits, with single . _ - between them, at most 255",
            )
        self._check(settings, what)
        body: dict[str, object] = {"metadata": {"public": "false", **to_metadata(settings)}}
        if STORAGE in settings:
            body["storage_limit"] = settings[STORAGE]
        return self.change(made(self._client, name, body, exists=self._session.exists, read=self._require), settings)

    def change(self, project: Project, settings: Mapping[str, Setting]) -> Project:
        """Changes these settings only, writes nothing that is so already, and returns the project as read back."""
        what = f"change project {project.name}"
        self._check(settings, what)
        change = Change(self._client, what)

        def attempt() -> Project | None:
            now = self._require(project.name, what)
            wrong = different(now, settings)
            if not wrong:
                return now
            self._write(change, now, wrong)
            now = self._require(project.name, what)
            return None if different(now, settings) else now

        with self._session.inside(project.name):
            return change.until(attempt)

    def delete(self, project: Project) -> None:
        """Deletes an empty project; one of the same name that was made since then stays."""
        what = f"delete project {project.name}"
        change = Change(self._client, what)

        def attempt() -> bool | None:
            if change.in_doubt and not self._session.exists(project.name):
                return True
            wire = self._session.wire_project(project.name, what)
            if project.handle and project.handle != str(wire.project_id):
                raise RefusedError(f"{what}: it is another project of that name now", hint="look at it again")
            call = Call("DELETE", self._session.path(project), what, accept=(404, 412))
            response = change.write(call)
            if response is not None and response.status_code == 412:
                raise self._not_empty(project.name, what, words(response))
            return None if self._session.exists(project.name) else True

        with self._session.inside(project.name):
            change.until(attempt)

    def facts(self, project: Project) -> ProjectFacts:
        """Returns what the project holds; the last push from Harbor 2.12 on."""
        what = f"look into project {project.name}"
        with self._session.inside(project.name):
            found = self._client.json(Call("GET", self._session.path(project, "summary"), what))
            summary = parse(WireSummary, found, what)
            quota = summary.quota
            newest = self._newest(project.name, what) if summary.repo_count else None
        used, limit = (quota.used.get("storage"), quota.hard.get("storage")) if quota else (None, None)
        return ProjectFacts(summary.repo_count, used, newest.push_time if newest else None, limit)

    def _newest(self, name: str, what: str) -> WireArtifact | None:
        if not self._session.gate.has("project-artifacts"):
            return None
        params: dict[str, str | int | bool] = {"sort": "-push_time", "page": 1, "page_size": 1, "with_tag": False}
        found = self._client.json(Call("GET", project_path(name, "artifacts"), what, params))
        return parse(WireArtifact, found[0], what) if found else None

    def _check(self, settings: Mapping[str, Setting], what: str) -> None:
        checked(settings, self._session.gate, what)
        if STORAGE in settings and not self._session.caller.system_admin:
            # Harbor takes it from others and drops it. Source: v2.15.2 src/server/v2.0/handler/project.go
            raise PermissionRefusedError(
                f"{what}: {STORAGE}: {self._session.caller.name} is not a system administrator",
                hint="leave the storage limit out, or ask a system administrator to set it",
            )

    def _write(self, change: Change, project: Project, wrong: Mapping[str, Setting]) -> None:
        what = f"change project {project.name}"
        metadata = to_metadata(wrong)
        if metadata:
            change.write(Call("PUT", self._session.path(project), what, body={"metadata": metadata}))
        if STORAGE in wrong:
            quota = self._quota(int(project.handle), what)
            if quota is None:
                raise NotFoundError(f"{what}: it has no quota", hint="turn quotas on in Harbor's configuration")
            body = {"hard": {**quota.hard, "storage": wrong[STORAGE]}}
            change.write(Call("PUT", f"/quotas/{quota.id}", what, body=body))

    def _not_empty(self, name: str, what: str, said: str) -> RefusedError:
        count = self._session.wire_project(name, what).repo_count
        held = "1 repository" if count == 1 else f"{count} repositories"
        return RefusedError(f"{what}: it holds {held}: {said}", hint="delete its repositories first")

    def _require(self, name: str, what: str) -> Project:
        wire = self._session.wire_project(name, what)
        return self._project(wire, self._limit(wire.project_id, what))

    def _find(self, name: str, what: str) -> Project | None:
        try:
            return self._require(name, what)
        except NotFoundError:
            return None

    def _project(self, wire: WireProject, limit: int | None) -> Project:
        settings = from_metadata(wire.metadata, self._session.gate)
        if limit is not None:
            settings[STORAGE] = limit
        return Project(wire.name, settings, str(wire.project_id))

    def _limits(self) -> dict[int, int]:
        """Returns every project's storage limit, by project; only system administrators are told."""
        if not self._session.caller.system_admin:
            return {}
        listing = Listing("/quotas", "list quotas", {"reference": "project"})
        quotas = (parse(WireQuota, row, listing.what) for row in every(self._client, listing))
        return {quota.ref.id: quota.hard["storage"] for quota in quotas if "storage" in quota.hard}

    def _limit(self, project_id: int, what: str) -> int | None:
        if not self._session.caller.system_admin:
            return None
        quota = self._quota(project_id, what)
        return quota.hard.get("storage") if quota else None

    def _quota(self, project_id: int, what: str) -> WireQuota | None:
        params: dict[str, str | int | bool] = {"reference": "project", "reference_id": str(project_id)}
        found = self._client.json(Call("GET", "/quotas", what, params)) or ()
        quotas = (parse(WireQuota, row, what) for row in found)
        return next((quota for quota in quotas if quota.ref.id == project_id), None)
