"""`imagepipe run` against `docker build` and `docker push` of the same kind of image, both from nothing.

.venv/bin/python tests/bench/run.py [MIB:ROUNDS]...
"""

import sys
from typing import Any, Final

from tests.bench.images import Bench, opened
from tests.bench.measure import Comparison, report

SIZES: Final = ("100:4", "1024:2")
MEMORY_MIB: Final = 150


def main(sizes: tuple[str, ...]) -> int:
    """Compares at every size, and holds our memory against its ceiling."""
    with opened() as bench:
        compared = [_compare(bench, *map(int, size.split(":"))).document() for size in sizes]
    return report([*compared, *map(_memory, compared)])


def _compare(bench: Bench, size_mib: int, rounds: int) -> Comparison:
    comparison = Comparison(f"imagepipe run / docker build + push, {size_mib} MiB", factor=1.05, allowance_s=2.0)
    for number in range(rounds):
        sides = [(bench.run, comparison.ours), (bench.build_and_push, comparison.theirs)]
        for bring, samples in sides if number % 2 == 0 else reversed(sides):
            work = bench.fresh(size_mib)
            samples.append(bring(work))
            bench.forget(work)
    return comparison


def _memory(compared: dict[str, Any]) -> dict[str, Any]:
    peak = compared["peak_mib"]
    return {
        "name": f"memory of {compared['name'].replace(' / docker build + push', '')}",
        "peak_mib": peak,
        "target": f"<= {MEMORY_MIB} MiB",
        "ok": peak <= MEMORY_MIB,
    }


if __name__ == "__main__":
    sys.exit(main(tuple(sys.argv[1:]) or SIZES))
