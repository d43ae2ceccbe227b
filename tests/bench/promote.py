"""`imagepipe promote` to one target against `docker pull` there: by digest to an engine, by tag to a VCH.

Of two images of one size, each goes to one target by us and to the other target by the docker command, so both are new
to whoever fetches them. On an engine ours waits for the disk, and theirs does not: to create the container that proves
an image, the kernel writes what the pull left in memory. A VCH's pull itself ends with its layers on disk.
`BENCH_DIR=/dev/shm` measures without a disk.

    .venv/bin/python tests/bench/promote.py [MIB:ROUNDS]...
"""

import os
import sys
from typing import Final

from tests.bench.images import Bench, Work, opened
from tests.bench.measure import Comparison, report

SIZES: Final = ("100:4", "1024:6")
ENGINE: Final = "engine-a"
VCH: Final = "vch-a"


def main(sizes: tuple[str, ...]) -> int:
    """Compares at every size, on both kinds of target."""
    with opened() as bench:
        compared = [one for size in sizes for one in _compare(bench, *map(int, size.split(":")))]
    return report([one.document() for one in compared])


def _compare(bench: Bench, size_mib: int, rounds: int) -> list[Comparison]:
    compared = {
        target: Comparison(f"imagepipe promote / docker pull, {target}, {size_mib} MiB", factor=1.0, allowance_s=1.0)
        for target in (ENGINE, VCH)
    }
    for number in range(rounds):
        first, second = _published(bench, size_mib), _published(bench, size_mib)
        for target, ours, theirs in ((ENGINE, first, second), (VCH, second, first)):
            _round(bench, compared[target], target, (ours, theirs), ours_first=number % 2 == 0)
        bench.forget(first, second)
    return list(compared.values())


def _round(bench: Bench, comparison: Comparison, target: str, works: tuple[Work, Work], *, ours_first: bool) -> None:
    ours, theirs = works
    for ours_now in (ours_first, not ours_first):
        os.sync()  # what was written before is not to be paid for now
        if ours_now:
            comparison.ours.append(bench.promote(ours, target))
        else:
            comparison.theirs.append(bench.pull(theirs, target))


def _published(bench: Bench, size_mib: int) -> Work:
    work = bench.fresh(size_mib)
    bench.run(work)
    return work


if __name__ == "__main__":
    sys.exit(main(tuple(sys.argv[1:]) or SIZES))
