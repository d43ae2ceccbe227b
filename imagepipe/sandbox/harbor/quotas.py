"""Storage quotas: what a project uses and when a push is too much.

Source: goharbor/harbor v2.15.2 src/pkg/quota/{errors,util}.go, src/pkg/quota/types/format.go.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from imagepipe.sandbox.harbor.problems import HarborError
from imagepipe.sandbox.harbor.store import Store

UNLIMITED = -1
MAX_LIMIT = 1024**5
"""1024 TB, in bytes. Source: v2.15.2 src/pkg/quota/types/resources.go (MaxLimitedValue)."""


def used(store: Store, project_id: int) -> int:
    """Returns the bytes a project holds, each blob and manifest once."""
    sql = "SELECT coalesce(sum(size), 0) FROM project_blobs JOIN blobs USING (digest) WHERE project_id = ?"
    return int(store.value(sql, project_id))


def has_blob(store: Store, project_id: int, digest: str) -> bool:
    """Returns whether a project already pays for this blob."""
    return store.one("SELECT 1 FROM project_blobs WHERE project_id = ? AND digest = ?", project_id, digest) is not None


def check(store: Store, project_id: int, added: int) -> None:
    """Accepts `added` bytes more in a project.

    Raises:
        HarborError: 403 DENIED, the project would hold more than its quota.
    """
    hard = store.value("SELECT hard FROM quotas WHERE project_id = ?", project_id)
    now = used(store, project_id)
    if hard is None or hard == UNLIMITED or now + added <= hard:
        return
    # Go's message for no growth at all says "subtracting 0 B".
    word = "adding" if added > 0 else "subtracting"
    raise HarborError(
        "DENIED",
        f"{word} {display(added)} of storage resource, which when updated to current usage of {display(now)} "
        f"will exceed the configured upper limit of {display(hard)}.",
    )


def display(size: int) -> str:
    """Returns a size as Harbor prints it: "10.0 MiB"."""
    if size < 1024:
        return f"{size} B"
    value, unit = size / 1024, 0
    while value >= 1024:
        value, unit = value / 1024, unit + 1
    return f"{value:.1f} {'KMGTPE'[unit]}iB"


def problem_with(hard: Mapping[str, Any]) -> str:
    """Returns what is wrong with new limits, or an empty text."""
    for resource, value in hard.items():
        if resource != "storage":
            return f"resource {resource} not support"
        if not isinstance(value, int) or (value <= 0 and value != UNLIMITED):
            return f"invalid non-positive value for quota limit, value={value}"
        if value > MAX_LIMIT:
            return f"exceeded 1024TB, which is {MAX_LIMIT} Bytes, value={value}"
    return "" if "storage" in hard else "resource storage not found"
