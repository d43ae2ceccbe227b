"""What one Harbor stand-in is told when it starts: a JSON file, with every secret in a file of its own."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Self
from urllib.parse import urlsplit

from imagepipe.sandbox.harbor.directory import Directory
from imagepipe.sandbox.harbor.faults import check_faults

FLAVOURS = ("harbor", "harbor-1", "vic")
AUTH_MODES = ("db", "ldap", "oidc")


@dataclass(frozen=True, slots=True)
class HarborConfig:
    """The settings of one stand-in.

    Attributes:
        backend_url: Base URL of the docker-registry that keeps manifests and blobs.
        state_file: SQLite file; all that Harbor knows lives here and survives a restart.
        admin_password: First password of `admin` (user id 1); later starts keep the stored one.
        external_url: URL that clients use; its scheme goes into challenges and Location headers.
        version: Harbor version to imitate, "2.15.2"; older ones recognise fewer signature types.
        referrers: False serves a registry without the referrers API.
        auth_mode: Where users live: "db" (here), "ldap" or "oidc".
        directory: The users and groups outside; in harbor.json `directory_file` names the JSON file.
        robot_prefix: What comes before every robot's name.
            Source: goharbor/harbor v2.15.2 src/lib/config/metadata/metadatalist.go (robot_name_prefix).
        token_minutes: Lifetime of a registry token. Source: same file (token_expiration, 30).
        lock_s: Seconds a user name stays locked after a wrong password.
            Source: goharbor/harbor v2.15.2 src/core/auth/authenticator.go (frozenTime).
        now_offset_s: Added to the clock, in seconds.
    """

    backend_url: str
    state_file: Path
    admin_password: str = field(repr=False)
    external_url: str = "https://127.0.0.1:8443"
    flavour: str = "harbor"
    version: str = "2.15.2"
    referrers: bool = True
    auth_mode: str = "db"
    directory: Directory = field(default_factory=Directory)
    robot_prefix: str = "robot$"
    token_minutes: int = 30
    lock_s: float = 1.5
    now_offset_s: float = 0.0
    faults: Mapping[str, Any] = field(default_factory=dict)
    faults_file: Path | None = None
    listen_host: str = "127.0.0.1"
    listen_port: int = 8443
    cert_file: Path | None = None
    key_file: Path | None = None

    def __post_init__(self) -> None:
        if self.flavour not in FLAVOURS:
            raise ValueError(f"flavour is {self.flavour!r}, not one of {', '.join(FLAVOURS)}")
        if self.auth_mode not in AUTH_MODES:
            raise ValueError(f"auth_mode is {self.auth_mode!r}, not one of {', '.join(AUTH_MODES)}")
        check_faults(self.faults)

    @property
    def external_scheme(self) -> str:
        """Returns "https" or "http"."""
        return urlsplit(self.external_url).scheme

    @property
    def release(self) -> tuple[int, int]:
        """Returns the imitated version as (major, minor)."""
        major, minor = self.version.removeprefix("v").split(".")[:2]
        return int(major), int(minor)

    @classmethod
    def parse(cls, data: Mapping[str, Any]) -> Self:
        """Returns the configuration that `data`, the content of harbor.json, describes.

        Raises:
            ValueError: A key is unknown or its value cannot be used.
        """
        rest = dict(data)
        listen, tls = rest.pop("listen", None) or {}, rest.pop("tls", None) or {}
        values: dict[str, Any] = {
            "listen_host": listen.get("host", "127.0.0.1"),
            "listen_port": listen.get("port", 8443),
            "admin_password": Path(rest.pop("admin_password_file")).read_text("utf-8").strip(),
            "state_file": Path(rest.pop("state_file")),
        }
        for key in ("cert_file", "key_file"):
            values[key] = Path(tls[key]) if tls.get(key) else None
        faults_file = rest.pop("faults_file", None)
        values["faults_file"] = Path(faults_file) if faults_file else None
        directory_file = rest.pop("directory_file", None)
        if directory_file:
            values["directory"] = Directory.from_file(Path(directory_file))
        unknown = rest.keys() - (set(cls.__slots__) - {"directory"})
        if unknown:
            raise ValueError(f"unknown keys: {', '.join(sorted(unknown))}")
        return cls(**rest, **values)

    @classmethod
    def from_file(cls, path: Path) -> Self:
        """Returns the configuration in the JSON file `path`."""
        return cls.parse(json.loads(path.read_text("utf-8")))
