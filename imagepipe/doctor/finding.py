"""What a doctor found, one thing at a time.

>>> Finding("vch-a", "reachable", Level.OK, "VIC 1.5.8").to_json()["level"]
'ok'
"""

from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum
from typing import Any, Final

from imagepipe.errors import ImagepipeError

__all__ = ["Finding", "Level", "failed", "size", "until"]

# A VCH's certificates live one year, and a month is enough to get new ones. Source: VIC v1.5.8 pkg/certificate.
WARN_BEFORE: Final = timedelta(days=30)
_WAY_OUT: Final = "correct it, then look again"


class Level(StrEnum):
    """How bad it is; a note is something that nobody can tell, or that only matters to some."""

    OK = "ok"
    NOTE = "note"
    WARN = "warn"
    FAIL = "fail"


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing that was looked at: what it is about, what was asked, how bad the answer is, and the way out."""

    subject: str
    check: str
    level: Level
    detail: str
    hint: str | None = None

    def to_json(self) -> dict[str, Any]:
        """Returns the finding as a JSON object."""
        return {
            "subject": self.subject,
            "check": self.check,
            "level": self.level.value,
            "detail": self.detail,
            "hint": self.hint,
        }


def failed(subject: str, check: str, error: ImagepipeError) -> Finding:
    """Returns what an error means for one check."""
    return Finding(subject, check, Level.FAIL, error.message, error.hint or _WAY_OUT)


def size(size_bytes: int) -> str:
    """Returns a size as people read it.

    >>> size(1536 * 1024**2), size(3 * 1024**2), size(700)
    ('1.5 GiB', '3 MiB', '700 bytes')
    """
    for unit, name in ((1024**3, ".1f"), (1024**2, ".0f")):
        if size_bytes >= unit:
            return f"{size_bytes / unit:{name}} {'GiB' if unit == 1024**3 else 'MiB'}"
    return f"{size_bytes} bytes"


def until(ends: datetime, now: datetime, *, warn_before: timedelta = WARN_BEFORE) -> tuple[Level, str]:
    """Returns how bad it is that something ends then, and words for it."""
    if ends <= now:
        return Level.FAIL, f"expired on {ends:%Y-%m-%d %H:%M} UTC"
    left = ends - now
    words = f"valid until {ends:%Y-%m-%d}" if left >= timedelta(days=1) else f"valid until {ends:%H:%M} UTC"
    return (Level.WARN if left < warn_before else Level.OK), f"{words}, {_left(left)} left"


def _left(left: timedelta) -> str:
    minutes = int(left.total_seconds() // 60)
    if left >= timedelta(days=2):
        return f"{left.days} days"
    return f"{minutes // 60} h" if minutes >= 120 else f"{minutes} min"
