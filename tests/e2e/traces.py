"""What a sandbox may leave behind on the machine, told by the machine."""

import subprocess
from pathlib import Path
from typing import Any

from imagepipe.sandbox.layout import Layout
from imagepipe.sandbox.processes import marked


def traces(directory: Path) -> set[str]:
    """Returns everything on this machine that belongs to the sandbox in a directory; empty when nothing is left."""
    layout = Layout.at(directory)
    mounts = Path("/proc/self/mountinfo").read_text().splitlines()
    found = {f"mount {line}" for line in mounts if f"{directory}/" in line or layout.namespace_prefix in line}
    found |= {f"netns {line}" for line in _run("ip", "netns", "list") if layout.namespace_prefix in line}
    found |= {f"link {line}" for line in _run("ip", "-o", "link") if layout.host_link in line}
    found |= {f"cgroup {path}" for path in Path("/sys/fs/cgroup").glob(f"**/{layout.cgroup}")}
    found |= {f"process {pid}" for pid in marked(layout.world_id)}
    return found | ({f"files {directory}"} if directory.exists() else set())


def machine() -> dict[str, Any]:
    """Returns what a sandbox must leave as it found it."""
    return {
        "iptables": [line.partition("[")[0] for line in _run("iptables-save") if not line.startswith("#")],
        "forwarding": Path("/proc/sys/net/ipv4/ip_forward").read_text(),
        "etc-docker": sorted(str(path) for path in Path("/etc/docker").glob("**/*")),
    }


def _run(*argv: str) -> list[str]:
    return subprocess.run(argv, capture_output=True, text=True, timeout=20, check=True).stdout.splitlines()
