"""`imagepipe status` over 8 targets and 50 images, and `imagepipe history` of 500 records: wall time, requests, memory.

All of it is real: hosts, registry, signatures. The 8 targets are 3 hosts under several names, because engines are dear;
each name is asked as a host of its own. What is not measured is made straight away: images are brought to the hosts by
pulls alone, and records are written one after the other without asking a gate or a host; how long that took is told.
Status is held against `docker images` and `docker ps` on each host, one after the other, which prove nothing; history
against reading and proving the same records, one after the other, with no process to start and no chain to follow.

    .venv/bin/python -m tests.bench.ledger [TARGETS:IMAGES:RECORDS]
"""

import json
import os
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, redirect_stdout
from io import StringIO
from pathlib import Path
from typing import Any, Final

from imagepipe.cli import main as cli
from imagepipe.events import silent
from imagepipe.model.digest import Digest
from imagepipe.model.evidence import PROMOTION_PREDICATE, SIGNATURE_PREDICATE, Bundle, Statement
from imagepipe.model.host import Target
from imagepipe.model.ledger import Link, Previous, head_tag
from imagepipe.model.promotion import Arrival, PromotionRecord, TargetResult
from imagepipe.model.reference import Pinned, Reference, Repository
from imagepipe.promote.record import stamp
from imagepipe.registry.connection import Ask, Connections
from imagepipe.settings import load_settings
from imagepipe.wiring import Wiring
from tests.bench.measure import Sample, report, timed
from tests.e2e.images import hand_made
from tests.e2e.registry import Registry
from tests.interop.world import ROOT, Box, peer

SIZES: Final = "8:50:500"
ROUNDS: Final = 3
MEMORY_MIB: Final = 150
IMAGES_PER_REPOSITORY: Final = 5
HISTORY_IMAGES: Final = 20


def main(sizes: str) -> int:
    """Fills a ledger, and reads it again."""
    targets, images, records = map(int, sizes.split(":"))
    with tempfile.TemporaryDirectory(prefix="ip-bench-", dir="/tmp") as folder, Box(Path(folder)) as box:
        bench = Bench(box, targets)
        return report([*bench.status(images), *bench.history(records)])


class Bench:
    """A sandbox, and a configuration that knows its hosts under several names."""

    def __init__(self, box: Box, targets: int) -> None:
        self.box = box
        self._made = set[tuple[str, str]]()
        self.names = [f"t{number}" for number in range(targets)]
        self.rows: dict[str, dict[str, Any]] = {}
        text = [Path(box.document["config"]).read_text()]
        hosts = list(box.document["targets"].values())
        for number, name in enumerate(self.names):
            row = self.rows[name] = hosts[number % len(hosts)]
            text.append(f'[targets.{name}]\nkind = "{row["kind"]}"\nhost = "{row["host"]}"')
            text.append(f'cert_path = "{row["cert_path"]}"\npolicy = "sandbox"')
        self.config = box.folder / "many.toml"
        self.config.write_text("\n".join(text) + "\n")
        self.environment = {**box.environment, "IMAGEPIPE_CONFIG": str(self.config), "PYTHONPATH": str(ROOT)}
        settings = load_settings(flags={}, config_file=self.config, cwd=box.folder, environ=self.environment)
        self.wiring = Wiring(settings, events=silent, environ=self.environment)
        self.world = self.wiring.promotion_world()
        # Where each chain ends: by repository and target, the last place and the record there.
        self._ends: dict[tuple[Repository, str], tuple[int, Previous]] = {}

    def status(self, images: int) -> Iterator[dict[str, Any]]:
        """Yields figures of status over all targets and so many images."""
        repositories = list(dict.fromkeys(self._image(number).repository for number in range(images)))
        targets = [self.wiring.target(name) for name in self.names]
        started = time.perf_counter()
        for number in range(images):
            self._hold(self._image(number), targets)
        self._tag()
        made_s = time.perf_counter() - started
        words = ("status", *self.names, *(str(one.path) for one in repositories))
        ours, theirs = [], []
        for _ in range(ROUNDS):
            theirs.append(sum(self._docker(name).seconds for name in self.names))
            ours.append(self._imagepipe(*words))
        document, asked = self._counted(*words)
        rows = sum(len(target["images"]) for target in document["targets"])
        yield _figure(
            f"status, {len(self.names)} targets x {images} images / docker images + ps on each",
            ours,
            min(theirs),
            factor=10.0,
            more={
                "made_s": round(made_s),
                "rows": rows,
                "registry_requests": asked,
                "requests_per_image": round(asked / images, 1),
            },
            ok=rows == len(self.names) * images,
        )

    def history(self, records: int) -> Iterator[dict[str, Any]]:
        """Yields figures of the history of one repository with so many records of one target."""
        images = [self._pushed("history", f"{number}") for number in range(HISTORY_IMAGES)]
        target, started = self.wiring.target(self.names[0]), time.perf_counter()
        for number in range(records):
            self._record(images[number % len(images)], [target])
        self._tag()
        made_s = time.perf_counter() - started
        words = ("history", str(images[0].repository.path))
        ours = [self._imagepipe(*words) for _ in range(ROUNDS)]
        document, asked = self._counted(*words)
        entries = [entry for entry in document["entries"] if entry["standing"] == "verified"]
        yield _figure(
            f"history of {records} records / reading and proving them alone",
            ours,
            self._read_and_proven(images),
            factor=1.5,
            more={
                "made_s": round(made_s),
                "registry_requests": asked,
                "requests_per_record": round(asked / records, 1),
            },
            ok=len(entries) == records and all(chain["intact"] for chain in document["chains"]),
        )

    def _image(self, number: int) -> Pinned:
        return self._pushed(f"many-{number // IMAGES_PER_REPOSITORY}", str(number % IMAGES_PER_REPOSITORY))

    def _pushed(self, name: str, tag: str) -> Pinned:
        """Returns a signed image; made when it is first asked for."""
        path = f"{self.box.document['registry']['project']}/{name}"
        made = hand_made(f"{name} {tag}")
        image = Repository(self.box.harbor.host, path).pin(Digest.parse(made.digest))
        if (name, tag) not in self._made:
            Registry(self.box.document["registry"]).push(path, tag, made)
            subject = self.world.source.manifest(image).descriptor
            self.world.writer.ensure(image, subject, [Statement.about(image, SIGNATURE_PREDICATE, {})])
            self._made.add((name, tag))
        return image

    def _hold(self, image: Pinned, targets: list[Target]) -> None:
        """Brings an image to every host, and puts all their names on one record of it."""
        manifest = self.world.source.manifest(image)
        for target in {target.host: target for target in targets}.values():
            reference = Reference(image.repository, digest=image.digest)
            if not target.kind.pulls_by_digest:
                reference = image.carrier
                self.world.sink.tag(image.repository, manifest, str(reference.tag))
            self.world.connect(target).puller.pull(reference, silent)
        self._record(image, targets)

    def _record(self, image: Pinned, targets: list[Target]) -> None:
        """Signs and attaches the record of a promotion, at the end of each target's chain."""
        places = {one.name: self._ends.get((image.repository, one.name)) for one in targets}
        links = {name: Link(end[0] + 1, end[1], ()) if end else Link(1, None, ()) for name, end in places.items()}
        results = [TargetResult(one.name, one.kind, Arrival.PROMOTED, image.digest) for one in targets]
        now = stamp(self.world.clock.now())
        record = PromotionRecord(image, image.digest, "", now, now, (), tuple(results), links=links)
        statement = Statement.about(image, PROMOTION_PREDICATE, record.to_predicate())
        made = self.world.writer.add(image, self.world.source.manifest(image).descriptor, statement).manifest
        for name, link in links.items():
            self._ends[image.repository, name] = (link.sequence, Previous(made, image.digest))

    def _tag(self) -> None:
        """Makes the tags of the newest records point at them."""
        for (repository, target), (_, last) in self._ends.items():
            self.world.sink.tag(repository, self.world.source.manifest(repository.pin(last.record)), head_tag(target))

    def _read_and_proven(self, images: list[Pinned]) -> float:
        """Returns how long it takes to read all records of these images, one after the other, and to prove them."""
        trusted = self.wiring.policy("sandbox").signed_by
        started = time.perf_counter()
        for image in images:
            for one in self.world.reader.attachments(image):
                if one.predicate_hint == PROMOTION_PREDICATE:
                    self.world.reader.opened(Bundle(one.artifact.content), image, PROMOTION_PREDICATE, trusted)
        return time.perf_counter() - started

    def _imagepipe(self, *words: str) -> Sample:
        return timed([sys.executable, "-m", "imagepipe", *words, "--json"], self.environment, self.box.folder)

    def _docker(self, target: str) -> Sample:
        row = self.rows[target]
        host = {"DOCKER_HOST": row["host"], "DOCKER_TLS_VERIFY": "1", "DOCKER_CERT_PATH": row["cert_path"]}
        environment = self.box.harbor.environment | host
        first = timed([peer("docker"), "images", "--digests"], environment)
        second = timed([peer("docker"), "ps", "--all"], environment)
        return Sample(first.seconds + second.seconds, max(first.peak_mib, second.peak_mib))

    def _counted(self, *words: str) -> tuple[dict[str, Any], int]:
        """Runs a command here, and returns its document and how often it asked a registry."""
        told = StringIO()
        with _counting() as count, _environment(self.environment), redirect_stdout(told):
            cli.run([*words, "--json", "--quiet"])
        return json.loads(told.getvalue()), count()


def _figure(
    name: str, ours: list[Sample], theirs: float, *, factor: float, more: dict[str, Any], ok: bool
) -> dict[str, Any]:
    best, peak = min(one.seconds for one in ours), round(max(one.peak_mib for one in ours))
    return {
        "name": name,
        "ours_s": round(best, 3),
        "peer_s": round(theirs, 3),
        "ratio": round(best / theirs, 3),
        "peak_mib": peak,
        **more,
        "target": f"<= {factor:g} x peer, <= {MEMORY_MIB} MiB",
        "ok": ok and best <= factor * theirs and peak <= MEMORY_MIB,
    }


@contextmanager
def _counting() -> Iterator[Callable[[], int]]:
    """Counts what registries are asked meanwhile."""
    real, asked = Connections.ask, list[str]()

    def counted(self: Connections, ask: Ask, what: str) -> Any:
        asked.append(what)
        return real(self, ask, what)

    Connections.ask = counted  # type: ignore[method-assign] # put back below
    try:
        yield lambda: len(asked)
    finally:
        Connections.ask = real  # type: ignore[method-assign] # as it was


@contextmanager
def _environment(wanted: dict[str, str]) -> Iterator[None]:
    before = dict(os.environ)
    os.environ.clear()
    os.environ.update(wanted)
    try:
        yield
    finally:
        os.environ.clear()
        os.environ.update(before)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1] if sys.argv[1:] else SIZES))
