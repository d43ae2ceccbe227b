"""`imagepipe promote` to one target against `docker pull` there: by digest to an engine, by tag to a VCH.

Of two images of one size, each goes to one target by us and to the other target by the docker command, so both are new
to whoever fetches them. On an engine ours waits for the disk, and theirs does not: to create the container that proves
an image, the kernel writes what the pull left in memory. A VCH's pull itself ends with its layers on disk. So ours is
held against the docker command's pull, and against its pull with a container created and removed, which waits as well.
`BENCH_DIR=/dev/shm` measures without a disk.

    .venv/bin/python tests/bench/promote.py [MIB:ROUNDS]...
"""

import os
import sys
from typing import Final

from tests.bench.images import Bench, Work, opened
from tests.bench.measure import Comparison, Sample, report

SIZES: Final = ("100:4", "1024:6")
ENGINE: Final = "engine-a"
VCH: Final = "vch-a"


def main(sizes: tuple[str, ...]) -> int:
    """Compares at every size, on both kinds of target."""
    with opened() as bench:
        compared = [one for size in sizes for one in _compare(bench, *map(int, size.split(":")))]
    return report([one.document() for one in compared])


def _compare(bench: Bench, size_mib: int, rounds: int) -> list[Comparison]:
    compared = {target: _comparisons(target, size_mib) for target in (ENGINE, VCH)}
    for number in range(rounds):
        first, second = _published(bench, size_mib), _published(bench, size_mib)
        for target, ours, theirs in ((ENGINE, first, second), (VCH, second, first)):
            _round(bench, compared[target], target, (ours, theirs), ours_first=number % 2 == 0)
        bench.forget(first, second)
    return [one for pair in compared.values() for one in pair]


def _comparisons(target: str, size_mib: int) -> tuple[Comparison, Comparison]:
    pull, use = (
        Comparison(f"imagepipe promote / {peer}, {target}, {size_mib} MiB", factor=1.0, allowance_s=1.0)
        for peer in ("docker pull", "docker pull, create and rm")
    )
    return pull, use


def _round(
    bench: Bench,
    comparisons: tuple[Comparison, Comparison],
    target: str,
    works: tuple[Work, Work],
    *,
    ours_first: bool,
) -> None:
    (ours, theirs), (pull, use) = works, comparisons
    for ours_now in (ours_first, not ours_first):
        os.sync()  # what was written before is not to be paid for now
        if ours_now:
            promoted = bench.promote(ours, target)
            pull.ours.append(promoted)
            use.ours.append(promoted)
        else:
            pulled = bench.pull(theirs, target)
            used = bench.use(theirs, target)
            pull.theirs.append(pulled)
            use.theirs.append(Sample(pulled.seconds + used.seconds, max(pulled.peak_mib, used.peak_mib)))


def _published(bench: Bench, size_mib: int) -> Work:
    work = bench.fresh(size_mib)
    bench.run(work)
    return work


if __name__ == "__main__":
    sys.exit(main(tuple(sys.argv[1:]) or SIZES))
