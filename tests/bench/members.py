"""Makes 500 member changes over a network that spoils requests, and counts what was lost or doubled.

python -m tests.bench.members [--changes 500] [--share 0.02] [--latency-ms 5]
"""

import argparse
import resource
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path

import httpx

from imagepipe.harbor.administration import open_administration
from imagepipe.model.access import Member, Principal, Project, Role
from imagepipe.model.result import Credential
from imagepipe.ports.administration import Administration
from tests.bench.measure import report
from tests.contract.harbor_chaos import ChaosTransport
from tests.contract.harbor_world import PASSWORD, HarborClient, config_for, served


class Latency(httpx.BaseTransport):
    """A network that takes its time."""

    def __init__(self, inner: httpx.BaseTransport, seconds: float) -> None:
        self._inner = inner
        self._seconds = seconds

    def handle_request(self, request: httpx.Request) -> httpx.Response:
        time.sleep(self._seconds)
        return self._inner.handle_request(request)

    def close(self) -> None:
        self._inner.close()


def main() -> int:
    """Returns 0 when nothing was lost and nothing doubled."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--changes", type=int, default=500, help="member changes; default: 500")
    parser.add_argument("--share", type=float, default=0.02, help="part of requests that is spoilt; default: 0.02")
    parser.add_argument("--latency-ms", type=float, default=5.0, help="added to every request; default: 5")
    options = parser.parse_args()
    names = [f"user-{number:04}" for number in range(options.changes // 2)]
    with tempfile.TemporaryDirectory() as folder:
        config = config_for(Path(folder), "http://127.0.0.1:1", lock_s=0.0)
        with served(config) as standin, httpx.HTTPTransport() as network:
            now = standin.harbor.stamp()
            for name in names:
                standin.harbor.store.insert(
                    "users", username=name, secret="", salt="", creation_time=now, update_time=now
                )
            chaos = ChaosTransport(Latency(network, options.latency_ms / 1000), share=options.share)
            return report([figures(*measured(standin, chaos, names), chaos)])


def measured(standin: HarborClient, chaos: ChaosTransport, names: list[str]) -> tuple[float, int, int, int]:
    """Returns seconds, changes, and how many members were lost and doubled."""
    credential = Credential("admin", PASSWORD)
    harbor = open_administration(url=str(standin.http.base_url), credential=credential, transport=chaos)
    project = harbor.projects.create("bench", {})
    started = time.monotonic()
    members = [harbor.membership.add(project, Principal.parse(name), Role.GUEST) for name in names]
    change(harbor, project, members)
    took_s = time.monotonic() - started
    wanted = {"admin": 1} | {member.principal.name: 4 for member in members[::2]}
    sql = "SELECT username, role FROM members JOIN users ON users.id = entity_id WHERE project_id = ?"
    found = [(row["username"], row["role"]) for row in standin.harbor.store.all(sql, int(project.handle))]
    doubled = sum(times - 1 for times in Counter(name for name, _ in found).values())
    return took_s, 2 * len(names), len(wanted.items() ^ set(found)), doubled


def change(harbor: Administration, project: Project, members: list[Member]) -> None:
    """Gives every second member another role, and removes the others."""
    for member in members[::2]:
        harbor.membership.set_role(project, member, Role.MAINTAINER)
    for member in members[1::2]:
        harbor.membership.remove(project, member)


def figures(took_s: float, changes: int, lost: int, doubled: int, chaos: ChaosTransport) -> dict[str, object]:
    """Returns what was measured."""
    return {
        "name": f"{changes} member changes, a share of {chaos.share:g} of all requests spoilt",
        "seconds": round(took_s, 1),
        "requests": chaos.requests,
        "requests_per_change": round(chaos.requests / changes, 2),
        "spoilt": sum(chaos.spoilt.values()),
        "spoilt_by_kind": dict(sorted(chaos.spoilt.items())),
        "lost": lost,
        "doubled": doubled,
        "peak_mib": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024,
        "target": "0 lost, 0 doubled",
        "ok": lost == doubled == 0,
    }


if __name__ == "__main__":
    sys.exit(main())
