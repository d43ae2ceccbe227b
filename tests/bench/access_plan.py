"""`imagepipe access plan` over a thousand projects against the same reads made with harborapi, and paging under change.

.venv/bin/python -m tests.bench.access_plan [--projects 1000] [--members 20] [--latency-ms 5]

harborapi is measured where it can be imported (`pip install harborapi`): one project after another, as its
documentation shows it, and four at once, as many as `access plan` asks for.
"""

import argparse
import importlib.util
import json
import os
import subprocess
import sys
import tempfile
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, cast

import httpx

from tests.bench.measure import Sample, report, timed

PASSWORD: Final = "Harbor12345"
AT_ONCE: Final = 4
MEMORY_MIB: Final = 150
CHANGES: Final = 8
"""How many projects are deleted, and as many made, while the list is read."""


@dataclass(frozen=True, slots=True)
class Bench:
    """A full Harbor behind a slow network, and a folder with the files to ask it."""

    folder: Path
    url: str

    @property
    def file(self) -> Path:
        """The access file of the whole Harbor."""
        return self.folder / "access.yaml"

    def ours(self, *arguments: str) -> tuple[Sample, int]:
        """Returns what one of our commands took, and how many requests it made."""
        command = [sys.executable, "-m", "imagepipe", "access", *arguments, "-c", str(self.folder / "imagepipe.toml")]
        return self._counted(command)

    def theirs(self, way: str) -> tuple[Sample, int]:
        """Returns what harborapi took, and how many requests it made."""
        return self._counted([sys.executable, "-m", "tests.bench.access_peer", way, self.url])

    def export(self) -> None:
        """Writes the access file of what is there."""
        command = [sys.executable, "-m", "imagepipe", "access", "export", "-c", str(self.folder / "imagepipe.toml")]
        said = subprocess.run(command, check=True, capture_output=True, timeout=600)
        self.file.write_bytes(said.stdout)

    def under_change(self, *reader: str) -> dict[str, Any]:
        """Returns how often a reading of the project list named each project that was there all the while."""
        self._ask("/bench/change")
        command = [sys.executable, "-m", *reader, self.url]
        said = subprocess.run(command, check=True, capture_output=True, timeout=600)
        found = Counter(cast("list[str]", json.loads(said.stdout)))
        told = self._ask("/bench/stable")
        stable = cast("list[str]", told["stable"])
        return {
            "projects": len(stable),
            "missing": sum(name not in found for name in stable),
            "doubled": sum(found[name] > 1 for name in stable),
            "changes": told["changes"],
            "requests": self._ask("/bench/requests")["requests"],
        }

    def _counted(self, command: Sequence[str]) -> tuple[Sample, int]:
        self._ask("/bench/requests")
        sample = timed(command)
        return sample, int(self._ask("/bench/requests")["requests"])

    def _ask(self, path: str) -> dict[str, Any]:
        answer: dict[str, Any] = httpx.get(self.url + path, trust_env=False, timeout=30).json()
        return answer


def main(options: argparse.Namespace) -> int:
    """Measures and compares."""
    size = f"{options.projects} projects x {options.members} members, {options.latency_ms:g} ms"
    with opened(options) as bench:
        bench.export()
        # The file is what is there, so that a plan with changes fails the bench.
        ours, requests = bench.ours("plan", str(bench.file), "--detailed-exitcode")
        rows = [_row(f"access plan, {size}", ours, requests) | _memory(ours)]
        rows.append(_row(f"access export, {size}", *bench.ours("export")) | {"ok": True})
        peers = tuple(_WORDS) if importlib.util.find_spec("harborapi") else ()
        for way in peers:
            theirs, asked = bench.theirs(way)
            rows.append(_row(f"harborapi, {_WORDS[way]}", theirs, asked) | {"ok": True})
            rows.append(_ratio(way, (ours, requests), (theirs, asked)))
        if not peers:
            rows.append({"name": "harborapi", "left_out": "it cannot be imported: pip install harborapi", "ok": True})
        # Who reads a list by its offsets alone misses some: that is shown, and is no failure of ours.
        paging = bench.under_change("tests.bench.access_list")
        rows.append({"name": "list under change", **paging, "target": "0 missing, 0 doubled", "ok": _complete(paging)})
        if peers:
            theirs_read = bench.under_change("tests.bench.access_peer", "list")
            rows.append({"name": "list under change, harborapi", **theirs_read, "ok": True})
    return report(rows)


_WORDS: Final = {"one-by-one": "one project after another", "at-once": f"{AT_ONCE} projects at once"}


def _row(name: str, sample: Sample, requests: int) -> dict[str, Any]:
    seconds, peak = round(sample.seconds, 2), round(sample.peak_mib)
    return {"name": name, "requests": requests, "seconds": seconds, "peak_mib": peak}


def _memory(sample: Sample) -> dict[str, Any]:
    return {"target": f"<= {MEMORY_MIB} MiB", "ok": sample.peak_mib <= MEMORY_MIB}


def _ratio(way: str, ours: tuple[Sample, int], theirs: tuple[Sample, int]) -> dict[str, Any]:
    return {
        "name": f"access plan / harborapi, {_WORDS[way]}",
        "requests_ratio": round(ours[1] / theirs[1], 3),
        "seconds_ratio": round(ours[0].seconds / theirs[0].seconds, 3),
        "memory_ratio": round(ours[0].peak_mib / theirs[0].peak_mib, 3),
        "target": "fewer requests, less time",
        "ok": ours[1] <= theirs[1] and ours[0].seconds <= theirs[0].seconds,
    }


def _complete(paging: dict[str, Any]) -> bool:
    return bool(paging["missing"] == paging["doubled"] == 0 and paging["changes"] == CHANGES)


@contextmanager
def opened(options: argparse.Namespace) -> Iterator[Bench]:
    """Serves a full Harbor from a process of its own."""
    with tempfile.TemporaryDirectory(prefix="ip-bench-", dir="/tmp") as name:
        folder = Path(name)
        command = [sys.executable, "-m", "tests.bench.access_server", str(folder)]
        command += [str(options.projects), str(options.members), str(options.latency_ms)]
        with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as server:
            assert server.stdout is not None
            try:
                url = server.stdout.readline().strip()
                (folder / "password").write_text(PASSWORD)
                settings = {"url": url, "username": "admin", "password_file": str(folder / "password")}
                lines = ["[harbor]", *(f'{key} = "{value}"' for key, value in settings.items())]
                (folder / "imagepipe.toml").write_text("\n".join(lines))
                yield Bench(folder, url)
            finally:
                server.terminate()


def parsed(arguments: Sequence[str]) -> argparse.Namespace:
    """Returns the options of a measurement."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--projects", type=int, default=1000)
    parser.add_argument("--members", type=int, default=20, help="of each project")
    parser.add_argument("--latency-ms", type=float, default=5.0, help="added to every request")
    return parser.parse_args(arguments)


if __name__ == "__main__":
    os.environ.pop("IMAGEPIPE_CONFIG", None)
    sys.exit(main(parsed(sys.argv[1:])))
