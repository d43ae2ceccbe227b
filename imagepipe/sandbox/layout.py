"""Where everything of one sandbox lives: names, addresses and paths, all derived from its directory.

>>> Layout(Path("/srv/box")).host_link[:4]
'imgp'
"""

import hashlib
import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from imagepipe.errors import SettingsError

__all__ = [
    "ENGINES",
    "PROJECT",
    "PUBLIC_NETWORK",
    "REGISTRY_NAMESPACE",
    "SWITCH_NAMESPACE",
    "VCHS",
    "Addresses",
    "Layout",
    "default_directory",
]

PROJECT = "es-sandbox"
PUBLIC_NETWORK = "public"
VCHS = ("vch-a", "vch-b")
ENGINES = ("build", "vch-a", "vch-b", "engine-a")
REGISTRY_NAMESPACE = "registry"
SWITCH_NAMESPACE = "switch"
# A unix socket's path holds 107 bytes (Source: unix(7), sun_path) and containerd's longest in us is
# `/engines/engine-a/exec/containerd/containerd.sock.ttrpc`.
_LONGEST_DIRECTORY = 107 - len("/engines/engine-a/exec/containerd/containerd.sock.ttrpc")

# A comma parts two endpoints of the store of networks; a percent sign is a format, and what it prints a folder made
# beside the sandbox. Source: docker/libkv store/boltdb/boltdb.go (New); seen with moby v20.10.24.
_ENGINES_FAIL_ON = ",%"


def default_directory(environ: Mapping[str, str] | None = None) -> Path:
    """Returns `$XDG_STATE_HOME/imagepipe/sandbox`, or the same under `~/.local/state`."""
    given = (os.environ if environ is None else environ).get("XDG_STATE_HOME", "")
    base = Path(given) if Path(given).is_absolute() else Path.home() / ".local" / "state"
    return base / "imagepipe" / "sandbox"


@dataclass(frozen=True, slots=True)
class Addresses:
    """The /24 of one sandbox.

    Args:
        third_octet: N of 198.18.N.0/24, from the range kept for benchmarks (Source: RFC 2544, appendix C.2.2).
    """

    third_octet: int

    def __post_init__(self) -> None:
        if not 0 <= self.third_octet <= 255:
            raise SettingsError(f"198.18.{self.third_octet}.0/24 is no network")

    def _at(self, last: int) -> str:
        return f"198.18.{self.third_octet}.{last}"

    @property
    def network(self) -> str:
        """Returns the whole network in CIDR notation."""
        return f"{self._at(0)}/24"

    @property
    def public_range(self) -> dict[str, str]:
        """Returns the addresses that containers on `public` are given, by target, in CIDR notation."""
        return {"vch-a": f"{self._at(64)}/27", "vch-b": f"{self._at(96)}/27", "engine-a": f"{self._at(128)}/27"}

    @property
    def host(self) -> str:
        """Returns the address of the machine itself on the sandbox's network."""
        return self._at(254)

    def of(self, name: str) -> str:
        """Returns the address of a namespace."""
        return self._at({"registry": 2, "build": 5, "vch-a": 11, "vch-b": 12, "engine-a": 21}[name])


@dataclass(frozen=True, slots=True)
class Layout:
    """The paths and names of the sandbox in a directory.

    Names derive from the directory alone, so that what a crash left behind is found without any record of it.
    """

    directory: Path

    @classmethod
    def at(cls, directory: Path) -> "Layout":
        """Returns the layout of a directory, which need not exist.

        Raises:
            SettingsError: The path is too long for the unix sockets in it.
        """
        resolved = directory.expanduser().resolve()
        if len(os.fsencode(resolved)) > _LONGEST_DIRECTORY:
            raise SettingsError(
                f"sandbox directory {resolved}: longer than {_LONGEST_DIRECTORY} bytes, too long for unix sockets",
                hint="choose a shorter directory",
            )
        return cls(resolved)

    def check_engines_take_it(self) -> None:
        """Checks that engines can live in this directory.

        Raises:
            SettingsError: A character in its path is one that they, or the addresses of their sockets, do not take.
        """
        odd = next((letter for letter in str(self.directory) if letter in _ENGINES_FAIL_ON or letter.isspace()), None)
        if odd is not None:
            raise SettingsError(
                f"sandbox directory {str(self.directory)!r}: engines do not work below a path with {odd!r} in it",
                hint="choose a directory without white space, comma and percent sign",
            )

    @property
    def world_id(self) -> str:
        """Returns six hexadecimal digits that name this sandbox on the machine."""
        return hashlib.sha256(str(self.directory).encode()).hexdigest()[:6]

    @property
    def host_link(self) -> str:
        """Returns the machine's one interface into the sandbox (at most 15 characters, IFNAMSIZ)."""
        return f"imgp{self.world_id}"

    @property
    def cgroup(self) -> str:
        """Returns the name of the control group above all containers."""
        return f"imagepipe-{self.world_id}"

    @property
    def namespace_prefix(self) -> str:
        """Returns what the names of all network namespaces of this sandbox start with."""
        return f"imagepipe-{self.world_id}-"

    def namespace(self, name: str) -> str:
        """Returns the full name of a network namespace."""
        return f"{self.namespace_prefix}{name}"

    @property
    def state_file(self) -> Path:
        """Returns where the state is written."""
        return self.directory / "state.json"

    @property
    def config_file(self) -> Path:
        """Returns the generated `imagepipe.toml`."""
        return self.directory / "imagepipe.toml"

    @property
    def sigstore(self) -> Path:
        """Returns the folder of the Sigstore stand-in's keys, log and trust files."""
        return self.directory / "sigstore"

    @property
    def token_file(self) -> Path:
        """Returns the file of the identity token to sign with."""
        return self.directory / "secrets" / "identity-token"

    @property
    def registry_ca(self) -> Path:
        """Returns the certificate that the registry's TLS chains up to."""
        return self.directory / "pki" / "registry" / "ca.pem"

    def pki(self, name: str) -> Path:
        """Returns the folder of a CA with its key and its server's certificate."""
        return self.directory / "pki" / name

    def client_certificates(self, target: str) -> Path:
        """Returns a target's `cert_path`: `ca.pem`, `cert.pem`, `key.pem`."""
        return self.directory / "certs" / target

    def password(self, user: str) -> Path:
        """Returns the file of a user's password."""
        return self.directory / "secrets" / f"{user}.password"

    def log(self, name: str) -> Path:
        """Returns a process's log."""
        return self.directory / "logs" / f"{name}.log"

    def configuration(self, name: str) -> Path:
        """Returns the JSON or YAML configuration of a process."""
        return self.directory / "config" / name

    def data(self, name: str) -> Path:
        """Returns the folder in which a process keeps its state."""
        return self.directory / "data" / name

    def engine(self, name: str) -> Path:
        """Returns the folder of an engine: data, runtime state, socket and own `/etc/docker`."""
        return self.directory / "engines" / name

    def engine_data(self, name: str) -> Path:
        """Returns the folder in which an engine keeps images and containers."""
        return self.engine(name) / "data"

    def engine_socket(self, name: str) -> Path:
        """Returns an engine's unix socket."""
        return self.engine(name) / "docker.sock"
