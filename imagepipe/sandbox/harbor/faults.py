"""Switches that make the stand-in misbehave as a real Harbor, its proxy or its backend sometimes does."""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

KEYS = frozenset(
    {"rules", "corrupt_manifests", "tag_moves", "token_uses", "expired_robots", "read_only", "scans"},
)


def check_faults(values: Mapping[str, Any]) -> None:
    """Accepts a set of switches.

    Raises:
        ValueError: A switch is unknown.
    """
    unknown = values.keys() - KEYS
    if unknown:
        raise ValueError(f"unknown fault switches: {', '.join(sorted(unknown))}; known: {', '.join(sorted(KEYS))}")


@dataclass(slots=True)
class Rule:
    """One answer given instead of, or after, the true one.

    Attributes:
        path: Regular expression searched in the request's path.
        method: HTTP method it applies to; empty for all.
        status: Status answered (500 as Harbor, 502/504 as its nginx); 0 only waits.
        delay_s: Seconds to wait first.
        skip: Matching requests that are let through before the rule starts.
        times: How many requests it applies to; 0 for all.
        after: True lets the request take effect and then replaces the answer.
    """

    path: str
    method: str = ""
    status: int = 0
    delay_s: float = 0.0
    skip: int = 0
    times: int = 0
    after: bool = False
    _seen: int = 0

    def applies(self, method: str, path: str) -> bool:
        """Returns whether this request is hit, and counts it."""
        if self.method not in {"", method} or re.search(self.path, path) is None:
            return False
        self._seen += 1
        turn = self._seen - self.skip
        return turn > 0 and (self.times == 0 or turn <= self.times)


@dataclass
class Faults:
    """The switches in force: those of the configuration, overlaid by a file that may change at run time.

    `values` may also be set in-process, through `set`.
    """

    values: dict[str, Any] = field(default_factory=dict)
    file: Path | None = None
    _stamp: tuple[int, int] | None = None
    _base: dict[str, Any] = field(default_factory=dict)
    _rules: list[Rule] = field(default_factory=list)
    _reads: Counter[str] = field(default_factory=Counter)
    _rescanned: set[str] = field(default_factory=set)

    def __post_init__(self) -> None:
        self._base = dict(self.values)
        self.set(**self.values)

    def set(self, **values: Any) -> None:
        """Replaces all switches and restarts their counters."""
        check_faults(values)
        self.values = values
        self._rules = [Rule(**rule) for rule in values.get("rules", [])]
        self._reads = Counter()
        self._rescanned = set()

    def refresh(self) -> None:
        """Reads the file again when it changed; a file that is away or half-written changes nothing."""
        if self.file is None:
            return
        try:
            stat = self.file.stat()
            stamp = (stat.st_mtime_ns, stat.st_size)
            if stamp != self._stamp:
                self.set(**self._base | json.loads(self.file.read_text("utf-8")))
                self._stamp = stamp
        except (OSError, ValueError, TypeError):
            return

    def rule(self, method: str, path: str) -> Rule | None:
        """Returns the first rule that hits this request."""
        return next((rule for rule in self._rules if rule.applies(method, path)), None)

    def corrupts(self, repository: str, reference: str, digest: str) -> bool:
        """Returns whether this manifest is handed out with other bytes than its digest says."""
        wanted = self.values.get("corrupt_manifests", ())
        return any(name in wanted for name in ("*", f"{repository}:{reference}", f"{repository}@{digest}"))

    def moved_tag(self, repository: str, tag: str) -> str | None:
        """Returns the digest that `tag` points to from this read on, when its time to move has come."""
        move = self.values.get("tag_moves", {}).get(f"{repository}:{tag}")
        if move is None:
            return None
        name = f"tag {repository}:{tag}"
        self._reads[name] += 1
        return str(move["to"]) if self._reads[name] > move.get("after_reads", 1) else None

    def token_is_spent(self, token_id: str, method: str) -> bool:
        """Returns whether a token has served as many requests of a method as it may, and counts this one."""
        limit = self.values.get("token_uses", {}).get(method)
        if limit is None:
            return False
        self._reads[token_id] += 1
        return self._reads[token_id] > int(limit)

    def robot_is_expired(self, name: str) -> bool:
        """Returns whether this robot (full login name) counts as expired."""
        return name in self.values.get("expired_robots", ())

    @property
    def read_only(self) -> bool:
        """Returns whether the whole system refuses changes."""
        return bool(self.values.get("read_only", False))

    @property
    def has_scanner(self) -> bool:
        """Returns whether a scanner is installed: the switch `scans` brings one, be it empty."""
        return "scans" in self.values

    def scan(self, digest: str) -> dict[str, Any] | None:
        """Returns the scan result seeded for an artifact: status, severity, summary.

        A result may hold another one as `then`: that one counts once a scan was asked for.
        """
        result: dict[str, Any] | None = self.values.get("scans", {}).get(digest)
        then: dict[str, Any] | None = (result or {}).get("then")
        return then if then is not None and digest in self._rescanned else result

    def rescan(self, digest: str) -> None:
        """Notes that a scan was asked for."""
        self._rescanned.add(digest)
