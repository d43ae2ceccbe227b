"""The sandbox's own network: a switch and one namespace per machine, with a single link to the real one.

    machine ── imgp<id> ──┐
    registry ── eth0 ─────┤
    build ── eth0 ────────┼── bridge in the namespace `switch`, 198.18.N.0/24
    vch-a ── eth0 ────────┤     (containers on `public` hang on eth0 as macvlan: own address, own MAC)
    vch-b, engine-a ──────┘

No namespace has a default route: what is not in the sandbox is unreachable at once, not after a timeout.
"""

import fcntl
import ipaddress
import json
import os
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from imagepipe.errors import UnavailableError
from imagepipe.sandbox.layout import SWITCH_NAMESPACE, Addresses, Layout
from imagepipe.sandbox.processes import run

__all__ = [
    "NAMESPACES",
    "choose_addresses",
    "enter",
    "exclusively",
    "join",
    "make_switch",
    "others_present",
    "present",
    "remove",
    "used_networks",
]

_RUN = Path("/run")
NAMESPACES = _RUN / "netns"
"""Where `ip netns` keeps namespaces by name; made and mounted on itself by its first use. Source: ip-netns(8)."""


def enter(namespace: str) -> list[str]:
    """Returns the start of a command that runs in a network namespace.

    Not `ip netns exec`: that mounts a fresh /sys, which hides the control groups from engines.
    """
    return ["nsenter", f"--net={NAMESPACES / namespace}", "--"]


@contextmanager
def exclusively() -> Iterator[None]:
    """Keeps other sandboxes from choosing the same network at the same time; leaves no file behind."""
    descriptor = os.open(_RUN, os.O_RDONLY | os.O_DIRECTORY)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        os.close(descriptor)


def used_networks() -> list[ipaddress.IPv4Network]:
    """Returns every IPv4 network that the machine has a route to, the default route left out."""
    rows: list[dict[str, Any]] = json.loads(run(["ip", "-j", "-4", "route", "show", "table", "all"]) or "[]")
    named = (row["dst"] for row in rows if row.get("dst") not in {None, "default"} and row.get("type") != "broadcast")
    return [ipaddress.IPv4Network(name, strict=False) for name in named]


def choose_addresses(world_id: str) -> Addresses:
    """Returns a /24 that the machine does not use yet; call it within `exclusively`.

    Raises:
        UnavailableError: All of them are used.
    """
    taken, first = used_networks(), int(world_id, 16) % 256
    for offset in range(256):
        addresses = Addresses((first + offset) % 256)
        if not any(ipaddress.IPv4Network(addresses.network).overlaps(used) for used in taken):
            return addresses
    raise UnavailableError("no network of 198.18.0.0/16 is free", hint="take other sandboxes down")


def make_switch(layout: Layout, addresses: Addresses) -> None:
    """Makes the bridge in its own namespace, and the machine's link to it.

    Raises:
        UnavailableError: The kernel refused.
    """
    switch = layout.namespace(SWITCH_NAMESPACE)
    _make_namespace(switch)
    run(["ip", "-n", switch, "link", "add", "br0", "type", "bridge", "forward_delay", "0"])
    run(["ip", "-n", switch, "link", "set", "br0", "up"])
    run(["ip", "link", "add", layout.host_link, "type", "veth", "peer", "name", "machine", "netns", switch])
    run(["ip", "-n", switch, "link", "set", "machine", "master", "br0", "up"])
    run(["ip", "address", "add", f"{addresses.host}/24", "dev", layout.host_link])
    run(["ip", "link", "set", layout.host_link, "up"])


def join(layout: Layout, addresses: Addresses, name: str) -> None:
    """Makes a namespace with its address on the switch.

    Raises:
        UnavailableError: The kernel refused.
    """
    switch, namespace = layout.namespace(SWITCH_NAMESPACE), layout.namespace(name)
    _make_namespace(namespace)
    run(["ip", "-n", switch, "link", "add", f"to-{name}", "type", "veth", "peer", "name", "eth0", "netns", namespace])
    run(["ip", "-n", switch, "link", "set", f"to-{name}", "master", "br0", "up"])
    run(["ip", "-n", namespace, "address", "add", f"{addresses.of(name)}/24", "dev", "eth0"])
    run(["ip", "-n", namespace, "link", "set", "eth0", "up"])


def _make_namespace(namespace: str) -> None:
    run(["ip", "netns", "add", namespace])
    run(["ip", "-n", namespace, "link", "set", "lo", "up"])


def present(layout: Layout) -> list[str]:
    """Returns the sandbox's namespaces that exist, recorded or not."""
    return sorted(path.name for path in NAMESPACES.glob(f"{layout.namespace_prefix}*"))


def others_present(layout: Layout) -> bool:
    """Returns whether another sandbox has namespaces on this machine."""
    return any(not path.name.startswith(layout.namespace_prefix) for path in NAMESPACES.glob("imagepipe-*"))


def remove(layout: Layout) -> None:
    """Removes the machine's link and all namespaces of the sandbox; what is gone already is no error.

    Raises:
        UnavailableError: Something is still there afterwards.
    """
    if (Path("/sys/class/net") / layout.host_link).exists():
        _attempt(["ip", "link", "delete", layout.host_link])
    for namespace in present(layout):
        _attempt(["ip", "netns", "delete", namespace])
        (NAMESPACES / namespace).unlink(missing_ok=True)  # a crash between creat and mount leaves a plain file
    left = present(layout)
    if left or (Path("/sys/class/net") / layout.host_link).exists():
        raise UnavailableError(f"namespaces {left} or link {layout.host_link} cannot be removed")


def _attempt(argv: list[str]) -> None:
    subprocess.run(argv, capture_output=True, timeout=20, check=False)
