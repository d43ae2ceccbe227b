"""What a vulnerability scanner says of an image, and what a policy makes of that.

>>> rank("High") > rank("medium")
True
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import date, datetime
from enum import StrEnum
from typing import Final

__all__ = ["ScanReport", "ScanStatus", "Vulnerability", "Waiver", "rank"]

# Source: Harbor v2.15.2 src/pkg/scan/vuln/severity.go
_SEVERITIES: Final = ("none", "unknown", "negligible", "low", "medium", "high", "critical")


def rank(severity: str) -> int:
    """Returns how bad a severity is; a word that nobody knows is worse than all others."""
    word = severity.lower()
    return _SEVERITIES.index(word) if word in _SEVERITIES else len(_SEVERITIES)


class ScanStatus(StrEnum):
    """How far a scan came."""

    DONE = "done"
    RUNNING = "running"
    CRASHED = "crashed"


@dataclass(frozen=True, slots=True)
class ScanReport:
    """The newest scan of an image, in short.

    Attributes:
        status: How far it came.
        severity: The worst finding, in the scanner's word; `None` when nothing was found.
        counts: Findings by severity.
        fixable: How many findings a newer package would mend.
        finished_at: When it ended, aware, or None.
        scanner: Name and version.
    """

    status: ScanStatus
    severity: str = "None"
    counts: Mapping[str, int] = field(default_factory=dict, hash=False)
    fixable: int = 0
    finished_at: datetime | None = None
    scanner: str = "an unnamed scanner"

    @property
    def worst(self) -> int:
        """The rank of the worst finding, by the severity or by the counts."""
        return max([rank(self.severity), *(rank(severity) for severity, count in self.counts.items() if count)])

    def __str__(self) -> str:
        ordered = sorted(self.counts, key=rank, reverse=True)
        counts = ", ".join(f"{self.counts[severity]} {severity.lower()}" for severity in ordered)
        when = f" of {self.finished_at:%Y-%m-%dT%H:%M:%SZ}" if self.finished_at else ""
        found = f"worst {self.severity.lower()} ({counts}; {self.fixable} fixable)" if counts else "nothing found"
        return f"{found} by {self.scanner}{when}"


@dataclass(frozen=True, slots=True)
class Vulnerability:
    """One finding; `fix_version` is empty where no newer package mends it."""

    cve: str
    package: str
    severity: str
    fix_version: str = ""

    def __str__(self) -> str:
        return f"{self.cve} in {self.package} ({self.severity.lower()})"


@dataclass(frozen=True, slots=True)
class Waiver:
    """A finding that somebody answers for, up to and with a day, in UTC."""

    cve: str
    owner: str
    until: date

    def covers(self, found: Vulnerability, today: date) -> bool:
        """Tells whether the finding is waived today."""
        return self.cve.lower() == found.cve.lower() and today <= self.until

    def __str__(self) -> str:
        return f"{self.cve} waived by {self.owner} until {self.until}"
