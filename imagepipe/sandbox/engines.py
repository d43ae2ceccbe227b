"""Real Docker Engines side by side: each in its own network and mount namespace, with its own `/etc/docker` and `/run`.

Tried on Debian 12 with dockerd 20.10: control groups stay visible because /sys is left as it is, nothing is mounted
outside of the engine's own namespace, and the machine's iptables, bridges and `/run/containerd` are not touched.
"""

import json
import socket
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx

from imagepipe.errors import UnavailableError
from imagepipe.sandbox import namespaces
from imagepipe.sandbox.layout import PUBLIC_NETWORK, Addresses, Layout
from imagepipe.sandbox.plain import trusting_nobody
from imagepipe.sandbox.probing import failure
from imagepipe.sandbox.processes import alive
from imagepipe.sandbox.state import ProcessRecord, write_private

__all__ = ["ETC_DOCKER", "EngineApi", "EngineSpec", "add_public_network", "prepare", "wait_ready"]

ETC_DOCKER = Path("/etc/docker")  # the engine looks nowhere else for certs.d (Source: moby registry/registry_unix.go)
_MOUNTS = 'mount --bind "$1" /etc/docker && { [ "$2" = keep ] || mount -t tmpfs -o mode=755 tmpfs /run; } && shift 2'

_PING_S = 2.0


@dataclass(frozen=True, slots=True)
class EngineSpec:
    """One engine to be started.

    Args:
        name: Its name in the sandbox, and its namespace's.
        tls: Where it also listens with mutual TLS: address, CA file, certificate and key; absent: unix socket only.
    """

    name: str
    tls: tuple[str, Path, Path, Path] | None = None


class EngineApi:
    """The few calls of the Docker Engine API that the sandbox makes, over a unix socket."""

    def __init__(self, path: Path, *, timeout_s: float = 20.0) -> None:
        transport = httpx.HTTPTransport(uds=str(path), verify=trusting_nobody())
        self._client = httpx.Client(transport=transport, base_url="http://engine", timeout=timeout_s)
        self._socket = path

    def __enter__(self) -> "EngineApi":
        return self

    def __exit__(self, *_: object) -> None:
        self._client.close()

    def answers(self) -> bool:
        """Returns whether the engine answers its ping."""
        try:
            # First by ourselves: httpcore 1.0 leaves its socket open when a unix socket refuses.
            with socket.socket(socket.AF_UNIX) as probe:
                probe.settimeout(_PING_S)
                probe.connect(str(self._socket))
            return self._client.get("/_ping", timeout=_PING_S).status_code == 200
        except (httpx.HTTPError, OSError):
            return False

    def networks(self) -> dict[str, dict[str, Any]]:
        """Returns the engine's networks by name, each as the engine describes it."""
        return {row["Name"]: row for row in self._call("GET", "networks")}

    def create_network(self, body: Mapping[str, Any]) -> None:
        """Creates a network; `body` is the engine's own document."""
        self._call("POST", "networks/create", body)

    def remove_network(self, name: str) -> None:
        """Removes a network.

        Raises:
            UnavailableError: The engine is away, or containers still use it.
        """
        self._call("DELETE", f"networks/{name}")

    def _call(self, method: str, path: str, body: Mapping[str, Any] | None = None) -> Any:
        try:
            answer = self._client.request(method, f"/{path}", json=body)
        except httpx.HTTPError as error:
            raise UnavailableError(f"engine at {self._socket}: {method} {path}: {error}") from None
        if answer.status_code >= 400:
            raise UnavailableError(f"engine at {self._socket}: {method} {path}: {answer.text.strip()[:500]}")
        return answer.json() if answer.content else None


def prepare(layout: Layout, spec: EngineSpec, registry: str) -> list[str]:
    """Writes an engine's configuration, and returns the command that starts it in its namespaces.

    Args:
        layout: The sandbox's.
        spec: The engine.
        registry: `host:port` of the registry whose CA the engine is to trust.
    """
    folder = layout.engine(spec.name)
    etc = folder / "etc-docker"
    (etc / "certs.d" / registry).mkdir(mode=0o700, parents=True, exist_ok=True)
    write_private(etc / "certs.d" / registry / "ca.crt", layout.registry_ca.read_text())
    write_private(etc / "daemon.json", json.dumps(_daemon_settings(layout, spec), indent=1))
    (folder / "tmp").mkdir(mode=0o700, exist_ok=True)
    run_stays = "keep" if layout.directory.is_relative_to("/run") else "own"
    return [
        *namespaces.enter(layout.namespace(spec.name)),
        *("unshare", "--mount", "--propagation", "slave", "--", "sh", "-c", f'{_MOUNTS} && exec "$@"', "engine"),
        # containerd writes there what it was doing when it is stopped by force.
        # Source: containerd v1.6.20 cmd/containerd/command/main.go dumpStacks
        *(str(etc), run_stays, "env", f"TMPDIR={folder / 'tmp'}", "dockerd"),
    ]


def _daemon_settings(layout: Layout, spec: EngineSpec) -> dict[str, Any]:
    folder = layout.engine(spec.name)
    settings: dict[str, Any] = {
        "hosts": [f"unix://{layout.engine_socket(spec.name)}"],
        "data-root": str(layout.engine_data(spec.name)),
        "exec-root": str(folder / "exec"),
        "pidfile": str(folder / "dockerd.pid"),
        "log-level": "warn",
        "shutdown-timeout": 2,
        "cgroup-parent": f"/{layout.cgroup}/{spec.name}",
        "exec-opts": ["native.cgroupdriver=cgroupfs"],
    }
    if spec.tls is not None:
        address, authority, certificate, key = spec.tls
        settings["hosts"].append(f"tcp://{address}")
        settings |= {"tlsverify": True, "tlscacert": str(authority), "tlscert": str(certificate), "tlskey": str(key)}
    return settings


def wait_ready(layout: Layout, record: ProcessRecord, name: str, *, timeout_s: float) -> None:
    """Waits until an engine answers.

    Raises:
        UnavailableError: It ended, or did not answer in time; the message quotes its log.
    """
    deadline = time.monotonic() + timeout_s
    place = layout.engine_socket(name)
    with EngineApi(place) as api:
        while not api.answers():
            if not alive(record) or time.monotonic() > deadline:
                raise failure(record, f"{place} does not answer")
            time.sleep(0.05)


def add_public_network(layout: Layout, name: str, addresses: Addresses) -> None:
    """Gives an engine the network `public`, whose containers have addresses of the sandbox's own network.

    The driver is macvlan on the namespace's own link, so neither a route nor NAT lies between them and the machine.

    Raises:
        UnavailableError: The engine refused.
    """
    pool = {"Subnet": addresses.network, "IPRange": addresses.public_range[name], "Gateway": addresses.host}
    body = {
        "Name": PUBLIC_NETWORK,
        "CheckDuplicate": True,
        "Driver": "macvlan",
        "IPAM": {"Config": [pool]},
        "Options": {"parent": "eth0"},
    }
    with EngineApi(layout.engine_socket(name)) as api:
        api.create_network(body)
