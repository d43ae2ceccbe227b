"""dockerd's answers in VIC's words: which fields vanish, change or appear."""

import random
import struct
from collections.abc import AsyncIterator, Mapping
from datetime import UTC, datetime
from typing import Any

from imagepipe.sandbox.vch.answers import PRODUCT
from imagepipe.sandbox.vch.facade import Facade
from imagepipe.sandbox.vch.tables import image_hex
from imagepipe.sandbox.vch.versions import API_VERSION, MINIMUM_VERSION

MEBIBYTE = 1 << 20
OS_TYPE = "linux-x64"
"""What a vCenter appliance calls itself. Source: VIC v1.5.8 lib/portlayer/exec/exec.go:143."""

CPU_MHZ = 8164
"""CPU limit of the resource pool, which a VCH reports as NCPU. Source: vmware/vic#6256."""


def version(facade: Facade) -> dict[str, Any]:
    """Returns `/version`. Source: VIC v1.5.8 lib/apiservers/engine/backends/system.go:288-332."""
    return {
        "Version": facade.config.vic_version,
        "ApiVersion": API_VERSION,
        "MinAPIVersion": MINIMUM_VERSION,
        "GitCommit": "9489f63",
        "GoVersion": "go1.8.7",
        "Os": "linux",
        "Arch": "amd64",
        "KernelVersion": "-",
        "Experimental": True,
        "BuildTime": "2021/05/26@11:20:50",
    }


def info(facade: Facade, below: Mapping[str, Any]) -> dict[str, Any]:
    """Returns `/info`. Source: VIC v1.5.8 lib/apiservers/engine/backends/system.go:97-283."""
    counts = {name: below.get(name, 0) for name in _COUNTS}
    always_true = dict.fromkeys(_TRUE, True)
    volume_plugins = ["vsphere"] if facade.config.volume_stores else None
    return {
        "ID": PRODUCT,
        "Name": facade.config.name,
        "ServerVersion": facade.server_version,
        "Driver": facade.portlayer_name,
        "DriverStatus": None,
        "SystemStatus": _system_status(facade, below),
        "Plugins": {"Volume": volume_plugins, "Network": list(facade.config.networks), "Authorization": None},
        **counts,
        **always_true,
        **dict.fromkeys(_EMPTY, ""),
        "Images": len(facade.tables.images),
        "OperatingSystem": OS_TYPE,
        "OSType": OS_TYPE,
        "Architecture": "x86_64",
        "IndexServerAddress": "registry-1.docker.io",
        "NCPU": CPU_MHZ,
        "MemTotal": below.get("MemTotal", 0),
        "RegistryConfig": None,
        "Labels": None,
        "Debug": False,
        "ExperimentalBuild": False,
        "NFd": 0,
        "NGoroutines": 42,
        "NEventsListener": 0,
        "SystemTime": datetime.now(UTC).isoformat(),
        "Swarm": {"NodeID": "", "NodeAddr": "", "LocalNodeState": "inactive", "RemoteManagers": None},
        "Runtimes": None,
        "SecurityOptions": None,
    }


_COUNTS = ("Containers", "ContainersRunning", "ContainersPaused", "ContainersStopped")
_TRUE = (
    *("MemoryLimit", "SwapLimit", "KernelMemory", "CpuCfsPeriod", "CpuCfsQuota", "CPUShares", "CPUSet"),
    *("IPv4Forwarding", "BridgeNfIptables", "BridgeNfIp6tables", "OomKillDisable"),
)
_EMPTY = (
    *("KernelVersion", "DockerRootDir", "LoggingDriver", "CgroupDriver", "ClusterStore", "ClusterAdvertise"),
    *("HttpProxy", "HttpsProxy", "NoProxy", "DefaultRuntime", "InitBinary", "Isolation"),
)


def _system_status(facade: Facade, below: Mapping[str, Any]) -> list[list[str]]:
    config = facade.config
    gibibytes = below.get("MemTotal", 0) / (1 << 30)
    state = "STOPPED" if facade.faults.value("portlayer_stopped") else "RUNNING"
    listed = (*config.whitelist, *config.insecure_registries) if config.whitelist else ()
    whitelist = [[" Registry Whitelist Mode", "disabled.  All registry access allowed."]]
    if listed:
        whitelist = [[" Registry Whitelist Mode", "enabled"], [" Whitelisted Registries", ",".join(listed)]]
    insecure = [[" Insecure Registries", ",".join(config.insecure_registries)]] if config.insecure_registries else []
    return [
        ["VolumeStores", " ".join(config.volume_stores)],
        [facade.portlayer_name, state],
        [" VCH CPU limit", f"{CPU_MHZ} MHz"],
        [" VCH memory limit", f"{gibibytes:.4g}GiB"],
        [" VCH CPU usage", "127 MHz"],
        [" VCH memory usage", "1.953GiB"],
        [" VCH storage usage", "0B"],
        [" VMware Product", "VMware vCenter Server"],
        [" VMware OS", OS_TYPE],
        [" VMware OS version", "6.5.0"],
        *insecure,
        *whitelist,
    ]


def image(facade: Facade, found: Mapping[str, Any], image_id: str) -> dict[str, Any]:
    """Returns an image's inspection. Source: VIC v1.5.8 backends/image.go:503-542."""
    entry = facade.tables.images[image_id]
    kept = ("Comment", "Created", "Container", "ContainerConfig", "DockerVersion", "Author", "Config", "Architecture")
    tags, digests = _names(facade, image_id)
    return {
        "Id": f"sha256:{image_id}",
        "RepoTags": tags,
        "RepoDigests": digests,
        "Parent": entry.layers[-2].id if len(entry.layers) > 1 else "",
        **{name: found.get(name) for name in kept},
        "Os": found.get("Os", "linux"),
        "Size": found.get("Size", 0),
        "VirtualSize": found.get("Size", 0),
        "GraphDriver": {"Name": f"{PRODUCT} Backend Engine", "Data": None},
        "RootFS": {"Type": "layers"},
    }


def image_summary(facade: Facade, found: Mapping[str, Any], image_id: str) -> dict[str, Any]:
    """Returns an image of the list; its Id is bare hex. Source: VIC v1.5.8 backends/image.go:481-500."""
    entry = facade.tables.images[image_id]
    tags, digests = _names(facade, image_id)
    return {
        "Id": image_id,
        "ParentId": entry.layers[-2].id if len(entry.layers) > 1 else "",
        "RepoTags": tags,
        "RepoDigests": digests,
        "Created": found.get("Created", 0),
        "Size": found.get("Size", 0),
        "VirtualSize": found.get("Size", 0),
        "SharedSize": 0,
        "Labels": found.get("Labels"),
        "Containers": 0,
    }


def _names(facade: Facade, image_id: str) -> tuple[list[str] | None, list[str] | None]:
    tags, digests = facade.tables.tags(image_id), facade.tables.digests(image_id)
    if not tags and not digests:
        return ["<none>:<none>"], ["<none>@<none>"]
    # map iteration in Go: the order is random, and nobody may count on it
    return random.sample(tags, len(tags)) or None, random.sample(digests, len(digests)) or None


def container(facade: Facade, found: dict[str, Any]) -> dict[str, Any]:
    """Returns a container's inspection. Source: VIC v1.5.8 lib/apiservers/engine/proxy/container_proxy.go:1195-1469."""
    known = facade.tables.containers.get(found["Id"])
    host_config = {**found["HostConfig"], "VolumeDriver": facade.portlayer_name}
    host_config["LogConfig"] = {"Type": "json-file", "Config": {}}
    config = dict(found["Config"])
    settings = {**found["NetworkSettings"], "IPAddress": "", "Gateway": "", "MacAddress": "", "IPPrefixLen": 0}
    networks = settings.get("Networks") or {}
    settings["Networks"] = {name: {**end, "NetworkID": ""} for name, end in networks.items()}
    if known is not None:
        config["Image"] = known.image
        host_config.update(Memory=known.memory_mb, CpusetCpus=str(known.cpus))
        if known.ports:
            host_config["PortBindings"] = known.ports
            settings["Ports"] = _external_ports(known.ports, settings["Networks"])
    host_config["NetworkMode"] = next(iter(networks), "bridge")
    mounts = [{**mount, "Driver": "vsphere", "Source": mount.get("Name", "")} for mount in found.get("Mounts") or []]
    changed = {
        "Image": image_hex(found["Image"]),
        "Driver": facade.portlayer_name,
        "GraphDriver": {"Name": facade.portlayer_name, "Data": None},
        "HostConfig": host_config,
        "Config": config,
        "NetworkSettings": settings,
        "Mounts": mounts,
    }
    return {name: value for name, value in {**found, **changed}.items() if name not in {"Platform", "AppArmorProfile"}}


def _external_ports(ports: Mapping[str, Any], networks: Mapping[str, Any]) -> dict[str, Any]:
    address = next((end["IPAddress"] for end in networks.values()), "")
    return {
        port: [{"HostIp": address, "HostPort": binding.get("HostPort", "")} for binding in bindings or []]
        for port, bindings in ports.items()
    }


def container_summary(facade: Facade, found: Mapping[str, Any]) -> dict[str, Any]:
    """Returns a container of the list. Source: VIC v1.5.8 backends/container.go:1635-1670."""
    kept = ("Id", "Names", "Command", "Created", "Ports", "Labels", "State", "Status", "SizeRw")
    known = facade.tables.containers.get(found["Id"])
    name = known.image if known else found["Image"]
    image_id = image_hex(found["ImageID"])
    if ":" in name and name not in facade.tables.references:
        name = image_id[:12]
    return {**{key: found[key] for key in kept if key in found}, "Image": name}


def network(facade: Facade, found: Mapping[str, Any]) -> dict[str, Any]:
    """Returns a network as VIC shows it: container networks have the driver `external`."""
    driver = facade.config.networks.get(found["Name"], found["Driver"])
    kept = ("Name", "Id", "EnableIPv6", "IPAM", "Internal", "Attachable", "Containers", "Options", "Labels")
    shown = {name: found[name] for name in kept if name in found}
    return {**shown, "Driver": driver, "Scope": "", "Created": datetime.now(UTC).isoformat()}


def volume(facade: Facade, found: Mapping[str, Any]) -> dict[str, Any]:
    """Returns a volume as VIC shows it. Source: VIC v1.5.8 lib/apiservers/engine/backends/volume.go:183."""
    return {
        "Driver": "vsphere",
        "Name": found["Name"],
        "Labels": found.get("Labels"),
        "Mountpoint": found["Name"],
        "Options": facade.tables.volumes.get(found["Name"], {}),
        "Scope": "",
    }


async def on_stdout(frames: AsyncIterator[bytes]) -> AsyncIterator[bytes]:
    """Yields multiplexed log frames with every stream type set to 1: VIC merges stderr into stdout.

    Source: VIC v1.5.8 lib/apiservers/engine/backends/container.go:1471-1477.
    """
    rest = b""
    async for chunk in frames:
        rest += chunk
        while len(rest) >= 8 and len(rest) >= 8 + _frame_size(rest):
            end = 8 + _frame_size(rest)
            yield b"\x01" + rest[1:end]
            rest = rest[end:]


def _frame_size(header: bytes) -> int:
    size: int = struct.unpack(">I", header[4:8])[0]
    return size
