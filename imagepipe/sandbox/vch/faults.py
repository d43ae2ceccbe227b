"""Faults that a test switches on: what goes wrong on real VCHs, at will.

Each switch is off when absent, false or 0; `true` stays on; a whole number n is on for the next n uses.

    leaf_write_fails        pull: the image is listed, then the leaf layer cannot be written (error in the stream)
    no_space_left           pull: the endpoint VM's /tmp is full while the layers come in
    second_read             pull: the tag or digest which the second manifest read sees (the tag "moved" meanwhile)
    pause_between_reads_s   pull: seconds between the two manifest reads, for a test that moves the tag itself
    no_such_image           create: the cache claims layers that the datastore lacks
    portlayer_stopped       info: the back end shows STOPPED
    slow_start_s            start: seconds of refused connections before the facade listens
    fresh_names             turns the stale name cache off (on a real VCH it is always stale)
"""

import json
from collections.abc import Mapping
from pathlib import Path

SWITCHES = frozenset(
    {
        "leaf_write_fails",
        "no_space_left",
        "second_read",
        "pause_between_reads_s",
        "no_such_image",
        "portlayer_stopped",
        "slow_start_s",
        "fresh_names",
    }
)


class Faults:
    """The switches, from the configuration and from a JSON file that is read again when it changes."""

    def __init__(self, initial: Mapping[str, object], path: str = "") -> None:
        self._initial = dict(initial)
        self._path = Path(path) if path else None
        self._stamp = (0, 0)
        self.switches: dict[str, object] = _checked(self._initial)

    def take(self, name: str) -> bool:
        """Returns whether the fault strikes now, and uses it up by one if it is counted."""
        value = self.value(name)
        if isinstance(value, int) and not isinstance(value, bool) and value > 0:
            self.switches[name] = value - 1
        return bool(value)

    def seconds(self, name: str) -> float:
        """Returns a switch that holds seconds; 0 when it is off."""
        value = self.value(name)
        return float(value) if isinstance(value, int | float) else 0.0

    def text(self, name: str) -> str:
        """Returns a switch that holds text; empty when it is off."""
        value = self.value(name)
        return value if isinstance(value, str) else ""

    def value(self, name: str) -> object:
        """Returns a switch as it is set now, after looking at the file."""
        self._refresh()
        return self.switches.get(name)

    def _refresh(self) -> None:
        if self._path is None:
            return
        try:
            stat = self._path.stat()
            stamp = (stat.st_mtime_ns, stat.st_ino)
            if stamp != self._stamp:
                read = json.loads(self._path.read_text(encoding="utf-8") or "{}")
                self.switches, self._stamp = _checked({**self._initial, **read}), stamp
        except FileNotFoundError:
            if self._stamp != (0, 0):
                self.switches, self._stamp = dict(self._initial), (0, 0)
        except json.JSONDecodeError:
            return  # half-written: the next look reads it again


def _checked(switches: dict[str, object]) -> dict[str, object]:
    unknown = sorted(set(switches) - SWITCHES)
    if unknown:
        raise ValueError(f"unknown fault switches: {', '.join(unknown)}")
    return switches
