"""What became of a plan for access, as text, as a document, and as the error that a command ends in."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from imagepipe.cli.printing import clean
from imagepipe.cli.session import error_body
from imagepipe.errors import DriftError, ImagepipeError, PartialError

if TYPE_CHECKING:
    from imagepipe.access.apply import Applied
    from imagepipe.access.state import AccessPlan

__all__ = ["applied_document", "describe", "outcome", "summary"]


def describe(plan: AccessPlan) -> str:
    """Returns one line per change, then one per thing that differs and stays."""
    lines = [change.describe() for change in plan.changes] + [f"! {line}" for line in plan.reports]
    return "\n".join(map(clean, lines))


def summary(plan: AccessPlan) -> str:
    """Returns how many changes there are, in one line."""
    count = {symbol: sum(one.action.symbol == symbol for one in plan.changes) for symbol in "+~-"}
    if not plan.changes:
        return "no changes: access is as the file says"
    return f"{count['+']} to add, {count['~']} to change, {count['-']} to remove"


def outcome(applied: Applied) -> ImagepipeError | None:
    """Returns the error that an apply ends in, or None: partial, all failed, or written and not to be seen."""
    if applied.failed:
        lines = [
            f"{clean(one.change.describe())}: {'not tried: ' if one.skipped else ''}{one.error.message}"
            for one in applied.failed
        ]
        first = applied.failed[0].error
        kind = PartialError if applied.done else type(first)
        return kind("\n".join(lines), hint=first.hint or "repair the cause, then run the same command again")
    if applied.remaining is None:
        said = applied.unread.message if applied.unread else "reading failed"
        return PartialError(
            f"every change was made, but it could not be read again: {said}", hint="look with `imagepipe access plan`"
        )
    if applied.remaining.changes:
        left = "; ".join(clean(one.describe()) for one in applied.remaining.changes)
        return DriftError(f"every change was made, and yet Harbor differs: {left}", hint="look who else changes it")
    return None


def applied_document(applied: Applied, error: ImagepipeError | None) -> dict[str, Any]:
    """Returns `imagepipe.access-apply/v1`; `error` is there when not everything is as the file says."""
    document: dict[str, Any] = {
        "schema": "imagepipe.access-apply/v1",
        "done": [one.to_json() for one in applied.done],
        "failed": [
            {"change": one.change.to_json(), "error": error_body(one.error), "skipped": one.skipped}
            for one in applied.failed
        ],
        "remaining": None if applied.remaining is None else applied.remaining.to_json(),
    }
    return document if error is None else document | {"error": error_body(error)}
