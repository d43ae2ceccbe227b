"""What the stand-in is told when it starts."""

import json
from collections.abc import Mapping
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any, Self
from urllib.parse import urlsplit


@dataclass(frozen=True, slots=True, kw_only=True)
class SigstoreConfig:
    """One JSON document; unknown names are refused.

    Args:
        external_url: base URL of every service, without a trailing slash; it is also the OIDC issuer.
        state_dir: keys, log and trust files; made with mode 0700.
        host: address to listen on.
        port: TCP port to listen on.
        clock_offset_s: seconds added to the machine's clock, to make certificates and entries of another time.
        tsa: whether an RFC 3161 timestamp authority is served and named in the trust config.
    """

    external_url: str
    state_dir: Path
    host: str = "127.0.0.1"
    port: int = 5031
    clock_offset_s: float = 0.0
    tsa: bool = False

    def __post_init__(self) -> None:
        parts = urlsplit(self.external_url)
        if parts.scheme not in {"http", "https"} or not parts.hostname or parts.path or parts.query:
            raise ValueError(f"external_url must be scheme://host[:port] without a path, not {self.external_url!r}")

    @property
    def hostname(self) -> str:
        """The name the log signs its checkpoints with."""
        return urlsplit(self.external_url).hostname or self.host

    @classmethod
    def parse(cls, document: Mapping[str, Any]) -> Self:
        """Returns the config that a decoded JSON document describes.

        Raises:
            ValueError: a name is unknown, or external_url is missing or carries a path.
        """
        given = dict(document)
        listen = given.pop("listen", {})
        given.update({name: listen[name] for name in ("host", "port") if name in listen})
        if unknown := set(given) - {field.name for field in fields(cls)}:
            raise ValueError(f"unknown settings: {', '.join(sorted(unknown))}")
        if missing := {"external_url", "state_dir"} - set(given):
            raise ValueError(f"missing settings: {', '.join(sorted(missing))}")
        return cls(**given | {"state_dir": Path(given["state_dir"])})

    @classmethod
    def read(cls, path: Path) -> Self:
        """Returns the config in the JSON file at path."""
        return cls.parse(json.loads(path.read_text(encoding="utf-8")))
