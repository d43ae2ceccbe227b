"""What was done in a project of a Harbor 2.x."""

from collections.abc import Iterator
from datetime import datetime

from imagepipe.harbor.paging import Listing, rows
from imagepipe.harbor.v2.session import Session, project_path
from imagepipe.harbor.wire import WireAudit, parse
from imagepipe.model.access import AuditEntry, Project

__all__ = ["AuditLog2"]


class AuditLog2:
    """Keeps `ports.administration.AuditLog`; before Harbor 2.13 the log knows pushes, pulls and deletions only."""

    def __init__(self, session: Session) -> None:
        self._session = session

    def entries(self, project: Project, *, since: datetime | None = None) -> Iterator[AuditEntry]:
        """Yields entries, newest first, back to `since`."""
        what = f"read the audit log of {project.name}"
        log = "auditlog-exts" if self._session.gate.has("audit-ext") else "logs"
        listing = Listing(project_path(project.name, log), what, {"sort": "-op_time"})
        with self._session.inside(project.name):
            for row in rows(self._session.client, listing):
                wire = parse(WireAudit, row, what)
                if since is not None and wire.op_time < since:
                    return
                yield AuditEntry(
                    wire.op_time,
                    wire.username,
                    wire.operation,
                    wire.resource_type,
                    wire.resource,
                    wire.operation_result,
                    str(wire.id),
                )
