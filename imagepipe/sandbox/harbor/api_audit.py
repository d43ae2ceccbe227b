"""REST: the audit log, of everything or of one project.

Source: goharbor/harbor v2.15.2 src/server/v2.0/handler/auditlog.go, project.go (GetLogs, GetLogExts).
"""

from __future__ import annotations

from starlette.responses import Response

from imagepipe.sandbox.harbor import wire
from imagepipe.sandbox.harbor.audit import EVENT_TYPES, EXTENDED_SINCE
from imagepipe.sandbox.harbor.call import Call
from imagepipe.sandbox.harbor.identity import Person
from imagepipe.sandbox.harbor.paging import Listing
from imagepipe.sandbox.harbor.problems import json_response, not_found
from imagepipe.sandbox.harbor.store import Row


async def list_events(call: Call) -> Response:
    """`GET /auditlog-exts`: all of it for administrators, else that of the projects whose log the caller may list."""
    _require_extended(call)
    listing = call.listing()
    return _page(call, listing, _everything(call), extended=True)


async def list_event_types(call: Call) -> Response:
    """`GET /auditlog-exts/events`."""
    _require_extended(call)
    call.require_system("audit-log", "list")
    return json_response([{"event_type": name} for name in EVENT_TYPES])


async def list_project_events(call: Call) -> Response:
    """`GET /projects/{p}/auditlog-exts`: the path always holds the project's name."""
    _require_extended(call)
    listing = call.listing()
    return _page(call, listing, _of_project(call), extended=True)


async def list_old_events(call: Call) -> Response:
    """`GET /audit-logs`: what was recorded before 2.13, so nothing in a newer Harbor that began as one."""
    listing, rows = call.listing(), _everything(call)
    return _page(call, listing, [] if _is_extended(call) else rows, extended=False)


async def list_old_project_events(call: Call) -> Response:
    """`GET /projects/{p}/logs`: likewise."""
    listing, rows = call.listing(), _of_project(call)
    return _page(call, listing, [] if _is_extended(call) else rows, extended=False)


def _is_extended(call: Call) -> bool:
    return call.harbor.config.release >= EXTENDED_SINCE


def _require_extended(call: Call) -> None:
    """Raises 404 where Harbor has no such path yet."""
    if not _is_extended(call):
        raise not_found(f"path {call.request.url.path} was not found")


def _everything(call: Call) -> list[Row]:
    call.require_login()
    rows = call.store.all("SELECT * FROM audit_log ORDER BY id DESC")
    if call.caller.may_system(("audit-log", "list")):
        return rows
    # Robots that may not list the system's log are shown nothing, whatever their projects allow.
    members = isinstance(call.caller, Person)
    may = {key: call.caller.may(key, ("log", "list")) for key in {row["project_id"] for row in rows}} if members else {}
    return [row for row in rows if may.get(row["project_id"], False)]


def _of_project(call: Call) -> list[Row]:
    name = call.params["project"]
    call.require_project(name, "log", "list")
    project_id = call.project(name)["id"]
    return call.store.all("SELECT * FROM audit_log WHERE project_id = ? ORDER BY id DESC", project_id)


def _page(call: Call, listing: Listing, rows: list[Row], *, extended: bool) -> Response:
    shown = listing.select(rows, default_sort="-op_time", ignore=("project_id",))
    return call.page(listing, shown, lambda row: wire.audit(row, extended=extended))
