"""Images of a given size that nobody has seen before: a sandbox, and build contexts of fresh random data in it."""

import json
import os
import shutil
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from tests.bench.measure import Sample, timed
from tests.interop.world import Box, peer

__all__ = ["Bench", "Work", "opened"]

LAYERS: Final = 4
FILES_PER_LAYER: Final = 4
_PIECE_BYTES: Final = 1024 * 1024


@dataclass(frozen=True, slots=True)
class Work:
    """A build context of its own with the pipeline that builds it.

    Attributes:
        name: The pipeline's, and the repository's in the project.
        folder: Holds `context/` and `pipelines/`.
        image: `host/project/name:tag`.
    """

    name: str
    folder: Path
    image: str


class Bench:
    """A sandbox, and both ways of bringing images through it: our command, and the docker command as its peer."""

    def __init__(self, box: Box) -> None:
        self.box = box
        self._made = 0

    def fresh(self, size_mib: int) -> Work:
        """Returns a context of that size, which does not compress and shares no layer with any other."""
        self._made += 1
        name = f"random-{self._made}"
        folder = self.box.folder / name
        context = folder / "context"
        share = size_mib * _PIECE_BYTES // (LAYERS * FILES_PER_LAYER)
        for layer in range(LAYERS):
            (context / f"layer-{layer}").mkdir(parents=True)
            for number in range(FILES_PER_LAYER):
                _fill(context / f"layer-{layer}" / f"{number}.bin", share)
        copies = "".join(f"COPY layer-{layer} /layer-{layer}\n" for layer in range(LAYERS))
        (context / "Dockerfile").write_text(f"ARG BASE\nFROM $BASE\n{copies}")
        (folder / "pipelines").mkdir()
        pipeline = {
            "version": 1,
            "name": name,
            "project": self.box.document["registry"]["project"],
            "build": {"context": "../context", "args": {"BASE": "{registry}/es-sandbox/base:1"}},
            "tags": ["1"],
        }
        (folder / "pipelines" / f"{name}.yaml").write_text(json.dumps(pipeline))
        os.sync()
        return Work(name, folder, f"{self.box.repository(name)}:1")

    def run(self, work: Work) -> Sample:
        """Builds, pushes, signs and proves it by `imagepipe run`."""
        return self._imagepipe("run", work.name, cwd=work.folder)

    def build_and_push(self, work: Work) -> Sample:
        """Builds and pushes it by the docker command."""
        base = self.box.repository("base:1")
        host = {"DOCKER_HOST": self.box.document["build_host"]["host"]}
        built = self._docker(
            host, "build", "--build-arg", f"BASE={base}", "-t", work.image, str(work.folder / "context")
        )
        pushed = self._docker(host, "push", work.image)
        return Sample(built.seconds + pushed.seconds, max(built.peak_mib, pushed.peak_mib))

    def promote(self, work: Work, target: str) -> Sample:
        """Brings it to a target by `imagepipe promote`."""
        return self._imagepipe("promote", work.image, "--to", target, "--yes", cwd=work.folder)

    def pull(self, work: Work, target: str) -> Sample:
        """Brings it to a target by `docker pull`: by tag to a VCH, which knows no other way, else by digest."""
        by_digest = self.box.document["targets"][target]["kind"] == "docker"
        return self._docker(self._host(target), "pull", self._pinned(work) if by_digest else work.image)

    def use(self, work: Work, target: str) -> Sample:
        """Creates a container of what was pulled there, and removes it again, by the docker command."""
        host, name = self._host(target), f"{work.name}-used"
        created = self._docker(host, "create", "--name", name, self._pinned(work), "/nothing")
        removed = self._docker(host, "rm", name)
        return Sample(created.seconds + removed.seconds, max(created.peak_mib, removed.peak_mib))

    def forget(self, *works: Work) -> None:
        """Removes contexts, and everything from the build host, so that the next build starts from nothing."""
        for work in works:
            shutil.rmtree(work.folder)
        host = {"DOCKER_HOST": self.box.document["build_host"]["host"]}
        self._docker(host, "system", "prune", "--all", "--force")
        os.sync()

    def _pinned(self, work: Work) -> str:
        return f"{self.box.repository(work.name)}@{self.box.harbor.digest(work.image)}"

    def _host(self, target: str) -> dict[str, str]:
        row = self.box.document["targets"][target]
        return {"DOCKER_HOST": row["host"], "DOCKER_TLS_VERIFY": "1", "DOCKER_CERT_PATH": row["cert_path"]}

    def _imagepipe(self, *words: str, cwd: Path) -> Sample:
        return timed([sys.executable, "-m", "imagepipe", *words], self.box.environment, cwd)

    def _docker(self, host: dict[str, str], *words: str) -> Sample:
        # The builder inside the engine, which is the one that `imagepipe run` uses.
        environment = self.box.harbor.environment | {"DOCKER_BUILDKIT": "0"} | host
        return timed([peer("docker"), *words], environment)


@contextmanager
def opened() -> Iterator[Bench]:
    """Yields a bench in a sandbox that is gone afterwards, below the folder that `BENCH_DIR` names, else `/tmp`.

    In a folder in memory, such as `/dev/shm`, no disk takes part: it holds some four times the images of all rounds.
    """
    below = os.environ.get("BENCH_DIR", "/tmp")
    with tempfile.TemporaryDirectory(prefix="ip-bench-", dir=below) as folder, Box(Path(folder)) as box:
        yield Bench(box)


def _fill(file: Path, size_bytes: int) -> None:
    with file.open("wb") as out:
        for start in range(0, size_bytes, _PIECE_BYTES):
            out.write(os.urandom(min(_PIECE_BYTES, size_bytes - start)))
