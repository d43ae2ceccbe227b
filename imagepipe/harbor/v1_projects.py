"""Projects of a Harbor 1.x, which knows them by number and says what is wrong in plain text."""

import re
from collections.abc import Iterator, Mapping
from typing import Final

from imagepipe.errors import NotFoundError, RefusedError
from imagepipe.harbor.change import Change
from imagepipe.harbor.client import Call
from imagepipe.harbor.making import different, made
from imagepipe.harbor.v1_session import Session1, WireProject1, project_path
from imagepipe.harbor.v1_settings import Setting, checked, from_metadata, to_metadata
from imagepipe.http.failure import words
from imagepipe.model.access import Project, ProjectFacts

__all__ = ["Projects1"]

# Source: goharbor/harbor v1.7.8 src/core/api/project.go (validateProjectReq)
_NAME: Final = re.compile(r"[a-z0-9]+(?:[._-][a-z0-9]+)*")
_NAME_CHARS: Final = range(2, 256)


class Projects1:
    """Keeps `ports.administration.Projects`."""

    def __init__(self, session: Session1) -> None:
        self._session = session
        self._client = session.client

    def list(self, *, name: str | None = None) -> Iterator[Project]:
        """Yields every project that we may see; with `name` that one, or nothing where there is none.

        Raises:
            PermissionRefusedError: The project of that name exists and is hidden from us.
        """
        if name is None:
            for wire in sorted(self._session.projects("list projects"), key=lambda wire: wire.name):
                yield _project(wire)
            return
        try:
            yield self._require(name, f"look for project {name}")
        except NotFoundError:
            return

    def create(self, name: str, settings: Mapping[str, Setting]) -> Project:
        """Makes a project and returns it as read back."""
        what = f"create project {name[:80]}"
        if len(name) not in _NAME_CHARS or _NAME.fullmatch(name) is None:
            raise RefusedError(
                f"{what}: Harbor takes no such name",
                hint="use lower-case letters and digits, with single . _ - between them, from 2 to 255",
            )
        checked(settings, self._session.version, what)
        body = {"metadata": {"public": "false", **to_metadata(settings)}}
        return self.change(made(self._client, name, body, exists=self._session.exists, read=self._require), settings)

    def change(self, project: Project, settings: Mapping[str, Setting]) -> Project:
        """Changes these settings only, writes nothing that is so already, and returns the project as read back."""
        what = f"change project {project.name}"
        checked(settings, self._session.version, what)
        change = Change(self._client, what)

        def attempt() -> Project | None:
            now = self._require(project.name, what)
            wrong = different(now, settings)
            if not wrong:
                return now
            path = project_path(int(now.handle))
            change.write(Call("PUT", path, what, body={"metadata": to_metadata(wrong)}))
            now = self._require(project.name, what)
            return None if different(now, settings) else now

        with self._session.inside(project.name, what):
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
            response = change.write(Call("DELETE", project_path(wire.project_id), what, accept=(404, 412)))
            if response is not None and response.status_code == 412:
                held = "1 repository" if wire.repo_count == 1 else f"{wire.repo_count} repositories"
                said = words(response)
                raise RefusedError(f"{what}: it holds {held}: {said}", hint="delete its repositories first")
            return None if self._session.exists(project.name) else True

        with self._session.inside(project.name, what):
            change.until(attempt)

    def facts(self, project: Project) -> ProjectFacts:
        """Returns how many repositories the project holds: Harbor 1.x does not tell sizes or times."""
        wire = self._session.wire_project(project.name, f"look into project {project.name}")
        return ProjectFacts(wire.repo_count, None, None)

    def _require(self, name: str, what: str) -> Project:
        return _project(self._session.wire_project(name, what))


def _project(wire: WireProject1) -> Project:
    return Project(wire.name, from_metadata(wire.metadata), str(wire.project_id))
