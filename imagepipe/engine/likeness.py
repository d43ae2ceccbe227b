"""Says how a container is made that differs from another one in its image alone.

A container's inspection mixes what an operator gave with what the image brought; only the former is passed on, or a new
image's command, environment and labels would never count.

>>> given(["A=1", "B=2"], ["A=1"])
['B=2']
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from imagepipe.model.reference import Pinned

__all__ = ["Likeness", "given"]

# Source: VIC v1.5.8 lib/apiservers/engine/backends/container.go:1896-1956: put in where neither image nor user has one.
_VCH_PATH: Final = "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
# Passed on where the image does not say the same. Source: Docker Engine API 1.25 ContainerCreate.
_IMAGE_MAY_SAY: Final = ("User", "WorkingDir", "StopSignal", "Shell", "Healthcheck")
# Passed on as they are: no image says them.
_OWN: Final = (
    "Hostname",
    "Domainname",
    "Tty",
    "OpenStdin",
    "StdinOnce",
    "NetworkDisabled",
    "StopTimeout",
    "MacAddress",
)
_NAMES_CHARS: Final = 12  # an id's short form, which is a container's host name and alias unless told otherwise
_MEBIBYTE: Final = 1 << 20
# Networks that are no networks of their own. Source: moby v20.10.24 api/types/container/hostconfig_unix.go.
_NO_NETWORK: Final = ("host", "none", "container:")

Json = Mapping[str, Any]


def given(container: Sequence[str] | None, image: Sequence[str] | None) -> list[str]:
    """Returns what a container has that its image does not, in order."""
    return [one for one in container or () if one not in (image or ())]


@dataclass(frozen=True, slots=True)
class Likeness:
    """A container to copy.

    Attributes:
        container: Its inspection.
        image: Its image's inspection.
        vch: Whether a VCH told them, which rewrites much of them.
        addresses: Addresses to keep, by network, where the inspection does not say that they were asked for.
    """

    container: Json
    image: Json
    vch: bool = False
    addresses: Mapping[str, str] | None = None

    def body(self, wanted: Pinned) -> dict[str, Any]:
        """Returns the request that creates it anew from another image."""
        first = next(iter(self._endpoints().items()), None)
        networking = {"NetworkingConfig": {"EndpointsConfig": {first[0]: first[1]}}} if first else {}
        return {**self._config(), "Image": str(wanted), "HostConfig": self._host_config(), **networking}

    def further_networks(self) -> dict[str, dict[str, Any]]:
        """Returns the networks to connect it to before it starts: creation takes one.

        Source: Docker Engine API before 1.44, and VIC v1.5.8 lib/apiservers/engine/backends/container.go:2016.
        """
        return dict(list(self._endpoints().items())[1:])

    def _config(self) -> dict[str, Any]:
        config, image = self.container["Config"], self.image.get("Config") or {}
        kept: dict[str, Any] = {key: config[key] for key in _OWN if config.get(key)}
        kept |= {key: config[key] for key in _IMAGE_MAY_SAY if config.get(key) and config[key] != image.get(key)}
        if self._named_by_host():
            kept.pop("Hostname", None)
        if self.vch and not image.get("WorkingDir") and kept.get("WorkingDir") == "/":
            del kept["WorkingDir"]
        labels, ports = image.get("Labels") or {}, image.get("ExposedPorts") or {}
        return {
            **kept,
            **_command(config, image),
            "Env": [one for one in given(config.get("Env"), image.get("Env")) if not (self.vch and one == _VCH_PATH)],
            "Labels": {key: value for key, value in (config.get("Labels") or {}).items() if labels.get(key) != value},
            "ExposedPorts": {port: {} for port in config.get("ExposedPorts") or {} if port not in ports},
        }

    def _named_by_host(self) -> bool:
        """Tells whether nobody chose the host name: it is the id, or belongs to whom the network belongs to."""
        host = self.container.get("HostConfig") or {}
        shared = str(host.get("NetworkMode")).startswith(("host", "container:")) or host.get("UTSMode") == "host"
        return shared or self.container["Config"].get("Hostname") == self._short_id

    @property
    def _short_id(self) -> str:
        return str(self.container["Id"])[:_NAMES_CHARS]

    def _host_config(self) -> dict[str, Any]:
        host = dict(self.container.get("HostConfig") or {})
        host.pop("ContainerIDFile", None)
        host["Links"] = [_link(one) for one in host.get("Links") or ()]
        if self.vch:
            # Source: VIC v1.5.8 lib/apiservers/engine/proxy/container_proxy.go:1251-1254 (MB; the portlayer's name),
            # network/utils.go:358-475 (an address that creation refuses).
            host.pop("VolumeDriver", None)
            host["Memory"] = int(host.get("Memory") or 0) * _MEBIBYTE
            host["PortBindings"] = {
                port: [{"HostPort": one.get("HostPort") or ""} for one in bindings or ()]
                for port, bindings in (host.get("PortBindings") or {}).items()
            }
        # Volumes without a name of their own hold data, too: they are bound by the name that the host gave them.
        named = [one for one in host.get("Mounts") or () if one.get("Type") != "volume" or one.get("Source")]
        taken = {str(one.get("Target")) for one in named} | {_destination(one) for one in host.get("Binds") or ()}
        unnamed = [
            f"{mount['Name']}:{mount['Destination']}{'' if mount.get('RW', True) else ':ro'}"
            for mount in self.container.get("Mounts") or ()
            if mount.get("Type", "volume") == "volume" and mount.get("Name") and mount["Destination"] not in taken
        ]
        return {**host, "Binds": [*(host.get("Binds") or ()), *unnamed], "Mounts": named}

    def _endpoints(self) -> dict[str, dict[str, Any]]:
        """Returns what was asked of each network, the one of creation first."""
        mode = str((self.container.get("HostConfig") or {}).get("NetworkMode") or "")
        networks = (self.container.get("NetworkSettings") or {}).get("Networks") or {}
        if mode.startswith(_NO_NETWORK):
            return {}
        first = mode if mode in networks else ""
        return {name: self._endpoint(name, networks[name] or {}) for name in sorted(networks, key=lambda n: n != first)}

    def _endpoint(self, name: str, told: Json) -> dict[str, Any]:
        address = (self.addresses or {}).get(name)
        asked: dict[str, Any] = {
            "IPAMConfig": told.get("IPAMConfig") or ({"IPv4Address": address} if address else None)
        }
        # A VCH tells links as `container:alias` and aliases as `:alias`, all as aliases.
        # Source: VIC v1.5.8 lib/apiservers/engine/backends/endpoint/alias.go.
        aliases = [str(one) for one in told.get("Aliases") or () if one != self._short_id]
        asked["Aliases"] = [one.lstrip(":") for one in aliases if ":" not in one.lstrip(":")]
        asked["Links"] = [*(told.get("Links") or ()), *(one for one in aliases if ":" in one.lstrip(":"))]
        asked["DriverOpts"] = told.get("DriverOpts")
        return {key: value for key, value in asked.items() if value}


def _command(config: Json, image: Json) -> dict[str, Any]:
    """Returns entrypoint and command where they are not the image's: an own entrypoint takes the image's command away.

    Source: moby v20.10.24 daemon/commit.go merge.
    """
    entrypoint, command = config.get("Entrypoint") or None, config.get("Cmd") or None
    if entrypoint != (image.get("Entrypoint") or None):
        # An empty one, and not none at all, is what takes the image's away.
        return {"Entrypoint": entrypoint or [""], "Cmd": command or []}
    return {} if command == (image.get("Cmd") or None) else {"Cmd": command or []}


def _link(text: str) -> str:
    """Returns `container:alias`, from `/container:/us/alias` as an engine tells it."""
    container, _, alias = text.partition(":")
    return f"{container.lstrip('/')}:{alias.rpartition('/')[2]}"


def _destination(bind: str) -> str:
    """Returns where a bind is seen: `volume:/here:ro`."""
    parts = bind.split(":")
    return parts[1] if len(parts) > 1 else parts[0]
