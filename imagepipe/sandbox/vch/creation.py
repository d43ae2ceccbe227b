"""What a VCH checks, changes and silently drops when a container is created."""

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from imagepipe.sandbox.vch.answers import RefusalError, from_portlayer
from imagepipe.sandbox.vch.config import Config
from imagepipe.sandbox.vch.tables import Container

# Source: VIC v1.5.8 lib/apiservers/engine/backends/container.go:98-108, 1971-2011
DEFAULT_CPUS = 2
DEFAULT_MEMORY_MB = 2048
LEAST_MEMORY_MB = 512
MEMORY_STEP_MB = 128
MEBIBYTE = 1 << 20

# Not referenced by VIC's engine, so a client sees no error and no effect.
# Source: VIC v1.5.8 lib/apiservers/engine/proxy/storage_proxy.go:314-331 for Mounts
_IGNORED = (
    *("Mounts", "RestartPolicy", "Ulimits", "CapAdd", "CapDrop", "Privileged", "Tmpfs", "ExtraHosts", "LogConfig"),
    *("Memory", "MemorySwap", "MemoryReservation", "MemorySwappiness", "CpusetCpus", "CpusetMems", "NanoCpus"),
    *("CpuShares", "CpuQuota", "CpuPeriod", "CpuCount", "Devices", "Sysctls", "SecurityOpt", "VolumeDriver"),
    *("PidsLimit", "ShmSize", "IpcMode", "PidMode", "UTSMode", "UsernsMode", "OomScoreAdj", "Init", "Runtime"),
)
_NO_HOST_PATHS = "Bad request error from portlayer: mounting directories as a data volume is not supported."
"""Source: VIC v1.5.8 tests/test-cases/Group1-Docker-Commands/1-04-Docker-Create.robot."""


@dataclass(frozen=True, slots=True)
class Creation:
    """A create request that passed: the body for dockerd and what the VCH remembers."""

    body: dict[str, Any]
    remembered: Container


def checked(config: Config, body: Mapping[str, Any], image_config: Mapping[str, Any]) -> Creation:
    """Returns the request as dockerd gets it.

    Args:
        config: the VCH's settings.
        body: the decoded request.
        image_config: `Config` of the image it names.

    Raises:
        RefusalError: in VIC's words. Source: VIC v1.5.8 backends/container.go:1963-2065.
    """
    host: dict[str, Any] = body.get("HostConfig") or {}
    cpus = _cpus(host)
    memory_mb = _memory_mb(int(host.get("Memory") or 0))
    network = _network(body, host)
    _check_ports(config, host.get("PortBindings") or {})
    if not _command(body) and not _command(image_config):
        raise RefusalError("No command specified", 404)
    _check_network(config, network)
    _check_volumes(config, host.get("Binds") or [], {**(body.get("Volumes") or {}), **_volumes(image_config)})
    kept_host = {name: value for name, value in host.items() if name not in _IGNORED}
    ports: dict[str, Any] = {}
    if config.networks.get(network) == "external":
        # such ports are redirected inside the container's own VM; the VCH's address must not answer for them
        ports = kept_host.pop("PortBindings", None) or {}
    kept = {name: value for name, value in body.items() if name != "Healthcheck"}
    if "default" in ((body.get("NetworkingConfig") or {}).get("EndpointsConfig") or {}):
        del kept["NetworkingConfig"]  # newer clients name the default network, which has no such name below
    remembered = Container(str(body.get("Image", "")), memory_mb, cpus, ports)
    return Creation({**kept, "HostConfig": {**kept_host, "NetworkMode": network}}, remembered)


def _cpus(host: Mapping[str, Any]) -> int:
    # --cpuset-cpus is the number of virtual CPUs, not a set
    wanted = str(host.get("CpusetCpus") or "").partition(",")[0]
    if not wanted:
        return max(int(host.get("CpuCount") or DEFAULT_CPUS), 1)
    if not re.fullmatch(r"[+-]?\d+", wanted):
        raise RefusalError(f'Error parsing CPU count: strconv.ParseInt: parsing "{wanted}": invalid syntax', 500)
    return max(int(wanted), 1)


def _memory_mb(size_bytes: int) -> int:
    size = size_bytes // MEBIBYTE
    size = DEFAULT_MEMORY_MB if size == 0 else max(size, LEAST_MEMORY_MB)
    return -(-size // MEMORY_STEP_MB) * MEMORY_STEP_MB


def _network(body: Mapping[str, Any], host: Mapping[str, Any]) -> str:
    endpoints = (body.get("NetworkingConfig") or {}).get("EndpointsConfig") or {}
    if len(endpoints) > 1:
        raise RefusalError("NetworkMode error: Container can be connected to one vicnetwork endpoint only", 500)
    network = next(iter(endpoints), "") or host.get("NetworkMode") or "bridge"
    return "bridge" if network == "default" else str(network)


def _check_network(config: Config, network: str) -> None:
    if network in {"host", "none"} and network not in config.networks:
        raise RefusalError(f"network {network} not found", 404)


def _check_ports(config: Config, bindings: Mapping[str, Any]) -> None:
    for binding in (one for many in bindings.values() for one in many or []):
        if (binding.get("HostIp") or "") not in {"", "0.0.0.0", config.host}:  # noqa: S104 - compared, not bound
            raise from_portlayer(
                "host IP for port bindings is only supported for 0.0.0.0 and the public interface IP address"
            )
        start, dash, end = str(binding.get("HostPort") or "").partition("-")
        if dash and start != end:
            raise from_portlayer("host port ranges are not supported for port bindings")


def _check_volumes(config: Config, binds: Iterable[str], anonymous: Mapping[str, Any]) -> None:
    listed = list(binds)
    if any(bind.startswith("/") and ":" in bind for bind in listed):
        raise RefusalError(_NO_HOST_PATHS, 400)
    if (listed or anonymous) and "default" not in config.volume_stores:
        raise RefusalError("No volume store named (default) exists", 500)


def _command(config: Mapping[str, Any]) -> bool:
    return bool(config.get("Cmd") or config.get("Entrypoint"))


def _volumes(image_config: Mapping[str, Any]) -> dict[str, Any]:
    return image_config.get("Volumes") or {}
