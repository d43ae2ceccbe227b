"""One image to 1, 2, 4 and 8 engines: `imagepipe promote` against as many `docker pull` at once, and against one alone.

Every engine is a real dockerd in its own namespace, as those of the sandbox are; all share this machine's cores and
disk, so that what eight take at once says little of eight machines. What is outside of the slowest target is ours.

    .venv/bin/python -m tests.bench.scaling [MIB] [COUNT]...
"""

import ipaddress
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from imagepipe.sandbox import engines, namespaces, pki
from imagepipe.sandbox.engines import EngineSpec
from imagepipe.sandbox.layout import Addresses, Layout
from imagepipe.sandbox.processes import Starter
from imagepipe.sandbox.state import Record
from tests.bench.images import Bench, Work, opened
from tests.bench.measure import report
from tests.interop.world import Box, peer

SIZE_MIB: Final = 64
COUNTS: Final = (1, 2, 4, 8)
# Gates, locks and the signed record once, and on every target a lock and a probe, which its engine pays for.
_ALLOWANCE_S: Final = 2.0
_FACTOR: Final = 1.25
_ROUNDS: Final = 2
_READY_S: Final = 60.0


class _More(Addresses):
    """The sandbox's addresses, and those of engines beside it."""

    __slots__ = ()

    def of(self, name: str) -> str:
        first = ipaddress.IPv4Network(self.network).network_address + 200
        return str(first + int(name.rpartition("-")[2]))


@dataclass(frozen=True, slots=True)
class Engine:
    """One more engine: its name, its address as a Docker host, and the client's certificates."""

    name: str
    host: str
    cert_path: Path

    @property
    def environment(self) -> dict[str, str]:
        """What the docker command is told of it."""
        return {"DOCKER_HOST": self.host, "DOCKER_TLS_VERIFY": "1", "DOCKER_CERT_PATH": str(self.cert_path)}


def main(size_mib: int, counts: tuple[int, ...]) -> int:
    """Measures with every number of engines."""
    with opened() as bench:
        more = _start(bench.box, max(counts))
        config = _configuration(bench.box, more)
        rows = [_measure(bench, more[:count], config, size_mib) for count in counts]
    return report(rows)


def _measure(bench: Bench, targets: list[Engine], config: Path, size_mib: int) -> dict[str, Any]:
    """Returns the best of some rounds, each with images that no engine has seen."""
    ours_s, own_s, slowest_s, alone_s = (
        min(column) for column in zip(*_rounds(bench, targets, config, size_mib), strict=True)
    )
    limit_s = _FACTOR * slowest_s + _ALLOWANCE_S
    return {
        "name": f"imagepipe promote / slowest docker pull at once, {len(targets)} engines, {size_mib} MiB",
        "targets": len(targets),
        "ours_best_s": round(ours_s, 2),
        "peer_best_s": round(slowest_s, 2),
        "one_pull_alone_s": round(alone_s, 2),
        "own_s": round(own_s, 2),
        "own_share": round(own_s / ours_s, 3),
        "target": f"<= {_FACTOR:g} x peer + {_ALLOWANCE_S:g} s, own <= {_ALLOWANCE_S:g} s",
        "limit_s": round(limit_s, 2),
        "ok": ours_s <= limit_s and own_s <= _ALLOWANCE_S,
    }


def _rounds(bench: Bench, targets: list[Engine], config: Path, size_mib: int) -> Iterator[tuple[float, ...]]:
    """Yields our wall time, what of it was no target's, the slowest of as many pulls at once, and one pull alone."""
    for number in range(_ROUNDS):
        ours, theirs, alone = (bench.fresh(size_mib) for _ in range(3))
        for work in (ours, theirs, alone):
            bench.run(work)
            bench.forget(work)
        first = _promote(bench.box, targets, ours, config) if number % 2 else None
        slowest_s = max(_pull(bench.box, targets, theirs))
        alone_s = max(_pull(bench.box, targets[:1], alone))
        yield (*(first or _promote(bench.box, targets, ours, config)), slowest_s, alone_s)


def _promote(box: Box, targets: list[Engine], work: Work, config: Path) -> tuple[float, float]:
    """Returns how long a promotion took, and what of it was outside of its slowest target: plan, locks and record."""
    os.sync()
    started = time.perf_counter()
    names = [word for one in targets for word in ("--to", one.name)]
    answer = box.imagepipe("promote", work.image, *names, "--yes", "--json", config=config)
    took_s = time.perf_counter() - started
    if answer.code:
        raise RuntimeError(answer.text)
    return took_s, took_s - max(float(row["duration_s"]) for row in answer.json()["targets"])


def _pull(box: Box, targets: list[Engine], work: Work) -> list[float]:
    """Pulls on all targets at once by the docker command, and returns how long each took."""
    os.sync()
    image = f"{box.repository(work.name)}@{box.harbor.digest(work.image)}"
    environment = box.harbor.environment  # once: it writes the file with the login, which docker is to find whole
    started = time.perf_counter()
    pulls = {
        one.name: subprocess.Popen(
            [peer("docker"), "pull", "--quiet", image],
            env=environment | one.environment,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
        )
        for one in targets
    }
    took_s = dict[str, float]()
    while len(took_s) < len(pulls):
        for name, pull in pulls.items():
            if name not in took_s and pull.poll() is not None:
                took_s[name] = time.perf_counter() - started
        time.sleep(0.01)
    for name, pull in pulls.items():
        said = pull.communicate()[1].decode()
        if pull.returncode:
            raise RuntimeError(f"docker pull on {name}: {said}")
    return list(took_s.values())


def _start(box: Box, count: int) -> list[Engine]:
    """Starts engines beside the sandbox's own, and puts them on its record: they go when it goes."""
    layout = Layout.at(Path(box.document["dir"]))
    state = Record.read(layout.state_file)
    assert state is not None
    assert state.third_octet is not None
    record, addresses = Record(layout.state_file, state), _More(state.third_octet)
    starter = Starter(world_id=layout.world_id, directory=layout.directory)
    made, started = list[Engine](), []
    for number in range(1, count + 1):
        name = f"engine-{number}"
        namespaces.join(layout, addresses, name)
        folder, address = layout.client_certificates(name), addresses.of(name)
        certificate = pki.issue_target(layout.pki(name), folder, name, address)
        spec = EngineSpec(name, (f"{address}:2376", layout.pki(name) / "ca.pem", *certificate))
        process = starter.start(name, engines.prepare(layout, spec, box.harbor.host), layout.log(name))
        record.add_process(process)
        started.append(process)
        made.append(Engine(name, f"tcp://{address}:2376", folder))
    for process in started:
        engines.wait_ready(layout, process, process.name, timeout_s=_READY_S)
    return made


def _configuration(box: Box, more: list[Engine]) -> Path:
    """Writes the sandbox's configuration with the engines in it as targets."""
    file = box.folder / "more.toml"
    keys = {one.name: {"kind": "docker", "host": one.host, "cert_path": str(one.cert_path)} for one in more}
    lines = [Path(box.document["config"]).read_text()]
    for name, values in keys.items():
        lines += [f"[targets.{name}]", *(f'{key} = "{value}"' for key, value in values.items()), 'policy = "sandbox"']
    file.write_text("\n".join(lines) + "\n")
    return file


if __name__ == "__main__":
    given = [int(word) for word in sys.argv[1:]]
    sys.exit(main(given[0] if given else SIZE_MIB, tuple(given[1:]) or COUNTS))
