"""What one facade is told at its start: a JSON file with paths to its secrets, never the secrets."""

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

DEFAULT_PORT = 2376
"""TCP port of a VCH with TLS. Source: VIC v1.5.8 lib/install/management/appliance.go:534."""


@dataclass(frozen=True, slots=True)
class Config:
    """The facade's settings; every path is absolute or relative to the working directory.

    `engine_data` is the folder in which the engine below keeps layers; empty where it is not ours to look at.
    """

    host: str
    port: int
    engine_socket: str
    engine_data: str = ""
    cert_file: str = ""
    key_file: str = ""
    client_ca_file: str = ""
    name: str = "vch"
    vic_version: str = "1.5.8"
    registry_ca_files: Mapping[str, str] = field(default_factory=dict)
    whitelist: tuple[str, ...] = ()
    insecure_registries: tuple[str, ...] = ()
    volume_stores: tuple[str, ...] = ("default",)
    networks: Mapping[str, str] = field(default_factory=lambda: {"bridge": "bridge"})
    state_file: str = ""
    faults: Mapping[str, object] = field(default_factory=dict)
    faults_file: str = ""

    @classmethod
    def parse(cls, data: Mapping[str, Any]) -> "Config":
        """Returns the settings in a decoded JSON document; unknown keys are a TypeError, so that typos show."""
        rest = dict(data)
        listen, tls = rest.pop("listen"), rest.pop("tls", None) or {}
        for name in ("whitelist", "insecure_registries", "volume_stores"):
            if name in rest:
                rest[name] = tuple(rest[name])
        present = {key: value for key, value in {**rest, **tls}.items() if value is not None}
        return cls(host=listen["host"], port=int(listen.get("port", DEFAULT_PORT)), **present)

    @classmethod
    def load(cls, path: str) -> "Config":
        """Returns the settings in the JSON file at `path`."""
        return cls.parse(json.loads(Path(path).read_text(encoding="utf-8")))
