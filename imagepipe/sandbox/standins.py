"""How the registry, Harbor, Sigstore and VCH stand-ins are configured and started; secrets go in as file paths only."""

import json
import socket
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from imagepipe.sandbox.layout import PUBLIC_NETWORK, VCHS, Addresses, Layout
from imagepipe.sandbox.state import write_private

__all__ = ["HARBOR_VERSIONS", "Places", "harbor", "registry", "sigstore", "vch"]

HARBOR_VERSIONS = {"harbor": "2.15.2", "harbor-1": "1.10.3", "vic": "1.7.8"}
"""The newest Harbor, one of the last minor version before 2.0, and the one that VIC 1.5.8 bundles.

Source: vic-product v1.5.8 .drone.yml; goharbor/harbor#10952, #11932, #12273 quote what 1.10.1 to 1.10.3 answer.
"""

_VIC_VERSION = "1.5.8"
_LOOPBACK = "127.0.0.1"
_TLS_PORT = 2376  # Source: VIC v1.5.8 lib/install/management/appliance.go:534; Docker uses the same


@dataclass(frozen=True, slots=True)
class Places:
    """Where everything of a sandbox answers; `Places.of(places.plain()) == places`.

    Attributes:
        registry: `host:port` of Harbor, as it stands in image references.
        backend: `host:port` of the docker-registry behind it.
        sigstore: `host:port` of the Sigstore stand-in.
        build: Docker host of the build engine; empty without.
        targets: Docker host by target.
    """

    registry: str
    backend: str
    sigstore: str
    build: str
    targets: Mapping[str, str]

    @classmethod
    def own(cls, layout: Layout, addresses: Addresses) -> "Places":
        """Returns the places in a sandbox with engines of its own."""
        shared = addresses.of("registry")
        return cls(
            registry=f"{shared}:8443",
            backend=f"{_LOOPBACK}:5000",
            sigstore=f"{shared}:5031",
            build=f"unix://{layout.engine_socket('build')}",
            targets={name: f"tcp://{addresses.of(name)}:{_TLS_PORT}" for name in (*VCHS, "engine-a")},
        )

    @classmethod
    def existing(cls, engine_host: str) -> "Places":
        """Returns places on free ports of the loopback interface, round an engine that already runs."""
        registry, backend, log, *facades = _free_ports(3 + len(VCHS))
        targets = {name: f"tcp://{port}" for name, port in zip(VCHS, facades, strict=True)}
        return cls(registry, backend, log, build=engine_host, targets={**targets, "engine-a": engine_host})

    @classmethod
    def alone(cls) -> "Places":
        """Returns places on free ports of the loopback interface, without any engine."""
        registry, backend, log = _free_ports(3)
        return cls(registry, backend, log, build="", targets={})

    def plain(self) -> dict[str, str]:
        """Returns a flat mapping, as the state keeps it."""
        rest = {"registry": self.registry, "backend": self.backend, "sigstore": self.sigstore, "build": self.build}
        return {**rest, **self.targets}

    @classmethod
    def of(cls, data: Mapping[str, str]) -> "Places":
        """Returns the places that `plain` returned."""
        named = {name: data[name] for name in ("registry", "backend", "sigstore", "build")}
        return cls(**named, targets={name: host for name, host in data.items() if name not in named})


def _free_ports(count: int) -> list[str]:
    """Returns places where nothing listens, as `host:port`."""
    sockets = [socket.create_server((_LOOPBACK, 0)) for _ in range(count)]
    try:
        return [f"{_LOOPBACK}:{each.getsockname()[1]}" for each in sockets]
    finally:
        for each in sockets:
            each.close()


def _listen(host_and_port: str) -> dict[str, Any]:
    host, _, port = host_and_port.rpartition(":")
    return {"host": host, "port": int(port)}


def _module(layout: Layout, name: str, module: str, settings: Mapping[str, Any]) -> list[str]:
    file = layout.configuration(f"{name}.json")
    write_private(file, json.dumps(dict(settings), indent=1))
    return [sys.executable, "-m", f"imagepipe.sandbox.{module}", "--config", str(file)]


def registry(layout: Layout, places: Places) -> list[str]:
    """Returns the command of the real docker-registry that keeps Harbor's blobs and manifests."""
    settings = {
        "version": "0.1",
        "log": {"level": "warn", "accesslog": {"disabled": True}},
        "storage": {
            "filesystem": {"rootdirectory": str(layout.data("registry"))},
            "delete": {"enabled": True},
            "maintenance": {"uploadpurging": {"enabled": False}},
        },
        "http": {"addr": places.backend},
        # Source: goharbor/harbor v2.15.2 make/photon/prepare/templates/registry/config.yml.jinja
        "compatibility": {"schema1": {"enabled": True}},
    }
    file = layout.configuration("registry.yml")
    write_private(file, json.dumps(settings, indent=1))  # YAML 1.2 reads JSON
    return ["docker-registry", "serve", str(file)]


def harbor(layout: Layout, places: Places, flavour: str, certificate: tuple[Path, Path]) -> list[str]:
    """Returns the command of the Harbor stand-in, of one flavour."""
    settings = {
        "listen": _listen(places.registry),
        "tls": {"cert_file": str(certificate[0]), "key_file": str(certificate[1])},
        "external_url": f"https://{places.registry}",
        "flavour": flavour,
        "version": HARBOR_VERSIONS[flavour],
        "backend_url": f"http://{places.backend}",
        "state_file": str(layout.data("harbor") / "harbor.db"),
        "admin_password_file": str(layout.password("admin")),
        "faults": {},
        "faults_file": str(layout.configuration("harbor-faults.json")),
    }
    layout.data("harbor").mkdir(mode=0o700, parents=True, exist_ok=True)
    return _module(layout, "harbor", "harbor", settings)


def sigstore(layout: Layout, places: Places) -> list[str]:
    """Returns the command of the Sigstore stand-in."""
    settings = {
        "listen": _listen(places.sigstore),
        "external_url": f"http://{places.sigstore}",
        "state_dir": str(layout.sigstore),
        "clock_offset_s": 0,
    }
    return _module(layout, "sigstore", "sigstore", settings)


def vch(
    layout: Layout,
    places: Places,
    name: str,
    *,
    engine_socket: str,
    engine_data: Path | None,
    certificate: tuple[Path, Path],
) -> list[str]:
    """Returns the command of one VCH's facade before its engine; `engine_data` is None where the engine is not ours."""
    settings = {
        "listen": _listen(places.targets[name].removeprefix("tcp://")),
        "tls": {
            "cert_file": str(certificate[0]),
            "key_file": str(certificate[1]),
            "client_ca_file": str(layout.pki(name) / "ca.pem"),
        },
        "engine_socket": engine_socket,
        "engine_data": str(engine_data) if engine_data else None,
        "name": name,
        "vic_version": _VIC_VERSION,
        "registry_ca_files": {places.registry: str(layout.registry_ca)},
        "whitelist": [places.registry],
        "insecure_registries": [],
        "volume_stores": ["default"],
        "networks": {"bridge": "bridge", PUBLIC_NETWORK: "external"},
        "state_file": str(layout.data(name) / "vch.json"),
        "faults": {},
        "faults_file": str(layout.configuration(f"{name}-faults.json")),
    }
    layout.data(name).mkdir(mode=0o700, parents=True, exist_ok=True)
    return _module(layout, name, "vch", settings)
