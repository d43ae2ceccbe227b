"""What was done in a project of a Harbor 1.x: pushes, pulls and deletions; what failed is not written down."""

from collections.abc import Iterator
from datetime import datetime

from imagepipe.harbor.paging import Listing, rows
from imagepipe.harbor.v1_session import Session1, project_path
from imagepipe.harbor.wire import Foreign, parse
from imagepipe.model.access import AuditEntry, Project

__all__ = ["AuditLog1"]


class _WireLog(Foreign):
    log_id: int
    username: str = ""
    repo_name: str = ""
    repo_tag: str = ""
    operation: str = ""
    op_time: datetime


class AuditLog1:
    """Keeps `ports.administration.AuditLog`."""

    def __init__(self, session: Session1) -> None:
        self._session = session

    def entries(self, project: Project, *, since: datetime | None = None) -> Iterator[AuditEntry]:
        """Yields entries, newest first, back to `since`."""
        what = f"read the access log of {project.name}"
        with self._session.inside(project.name, what):
            path = project_path(self._session.number(project, what), "logs")
            for row in rows(self._session.client, Listing(path, what, key="log_id")):
                wire = parse(_WireLog, row, what)
                if since is not None and wire.op_time < since:
                    return
                # A project is written down as the repository `name/`.
                of_project = wire.repo_name.endswith("/")
                resource = wire.repo_name.rstrip("/") if of_project else f"{wire.repo_name}:{wire.repo_tag}"
                kind = "project" if of_project else "artifact"
                yield AuditEntry(wire.op_time, wire.username, wire.operation, kind, resource, handle=str(wire.log_id))
