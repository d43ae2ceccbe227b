"""Runs commands, times them, and holds what was measured in one run against each other."""

import json
import os
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final, Literal

__all__ = ["Comparison", "Sample", "report", "timed"]

_KIB_PER_MIB: Final = 1024
_DEADLINE_S: Final = 1800.0


@dataclass(frozen=True, slots=True)
class Sample:
    """One run of a command: how long it took, and the most memory it held, in MiB."""

    seconds: float
    peak_mib: float


@dataclass(slots=True)
class Comparison:
    """What we take against what the peer takes, interleaved so that a busy machine is busy for both.

    Attributes:
        name: What is compared.
        factor: How many times the peer's time ours may be.
        allowance_s: Seconds on top of that.
        by: What is held against the target: `median`, or `best` where rounds are long and few, because what disturbs
            a round only ever adds to it.
        ours: Our samples.
        theirs: The peer's samples.
    """

    name: str
    factor: float
    allowance_s: float = 0.0
    by: Literal["median", "best"] = "best"
    ours: list[Sample] = field(default_factory=list)
    theirs: list[Sample] = field(default_factory=list)

    def document(self) -> dict[str, Any]:
        """Returns medians, the best of each, their ratio, the target and the verdict.

        The median of the differences within rounds is the least moved by a machine that becomes slower or faster.
        """
        measures: dict[str, Callable[[list[float]], float]] = {"median": statistics.median, "best": min}
        figures = {
            f"{side}_{name}_s": round(measure([one.seconds for one in samples]), 4)
            for name, measure in measures.items()
            for side, samples in (("ours", self.ours), ("peer", self.theirs))
        }
        differences = [one.seconds - other.seconds for one, other in zip(self.ours, self.theirs, strict=True)]
        ours, theirs = figures[f"ours_{self.by}_s"], figures[f"peer_{self.by}_s"]
        return {
            "name": self.name,
            "rounds": len(self.ours),
            **figures,
            "median_difference_s": round(statistics.median(differences), 4),
            "peak_mib": round(max(one.peak_mib for one in self.ours)),
            "by": self.by,
            "ratio": round(ours / theirs, 3),
            "target": f"<= {self.factor:g} x peer" + (f" + {self.allowance_s:g} s" if self.allowance_s else ""),
            "limit_s": round(self.factor * theirs + self.allowance_s, 4),
            "ok": ours <= self.factor * theirs + self.allowance_s,
        }


def timed(command: Sequence[str], env: Mapping[str, str] | None = None, cwd: Path | None = None) -> Sample:
    """Runs a command to its end.

    The peak counts what this process holds as well, if that is more: a child's high-water mark starts at its parent's.

    Raises:
        RuntimeError: It failed; the message holds the end of what it said.
    """
    started = time.perf_counter()
    with subprocess.Popen(
        command, env=None if env is None else dict(env), cwd=cwd, stdout=subprocess.PIPE, stderr=subprocess.STDOUT
    ) as process:
        assert process.stdout is not None
        said = process.stdout.read()
        _, status, usage = os.wait4(process.pid, 0)
        process.returncode = os.waitstatus_to_exitcode(status)
    seconds = time.perf_counter() - started
    if process.returncode:
        raise RuntimeError(f"{' '.join(command)}: exit code {process.returncode}\n{said.decode()[-2000:]}")
    return Sample(seconds, usage.ru_maxrss / _KIB_PER_MIB)


def report(documents: Sequence[Mapping[str, Any]]) -> int:
    """Prints one JSON line each, with the machine's load, and returns 0 when every one is ok."""
    load = round(os.getloadavg()[0], 1)
    for document in documents:
        sys.stdout.write(json.dumps({**document, "load": load, "cores": os.cpu_count()}) + "\n")
    sys.stdout.flush()
    return 0 if all(document["ok"] for document in documents) else 1
