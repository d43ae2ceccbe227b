"""Who answers at an address: what a host calls itself, and whether it is the one that was pinned.

>>> host_id({"ID": "AB:CD", "Name": "build-1", "Driver": "overlay2"})
'AB:CD'
>>> host_id({"ID": "vSphere Integrated Containers", "Name": "prod-a"})
'prod-a'
"""

import socket
import ssl
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

from imagepipe.errors import HostChangedError
from imagepipe.model.certificate import fingerprint
from imagepipe.model.host import Target

__all__ = ["Pin", "host_id", "is_vch"]

# Source: VIC v1.5.8 cmd/docker/main.go:69, lib/apiservers/engine/backends/backends.go:118.
_VCH_NAME: Final = "vSphere Integrated Containers"


def is_vch(info: Mapping[str, Any]) -> bool:
    """Tells whether the answer to `/info` is a VCH's."""
    return str(info.get("ID")) == _VCH_NAME or str(info.get("Driver")).startswith(_VCH_NAME)


def host_id(info: Mapping[str, Any]) -> str:
    """Returns what tells a host from others of its kind: an engine's own id, and a VCH's name.

    Every VCH gives the product's name as its id. Source: VIC v1.5.8 cmd/docker/main.go:69, backends/system.go:111.
    """
    return str(info.get("Name" if is_vch(info) else "ID") or "")


@dataclass(frozen=True, slots=True)
class Pin:
    """What a target was when somebody looked and said yes; None is not held against it.

    Attributes:
        target: Its name, for the way out.
        certificate: The fingerprint of the certificate that it showed.
        host_id: What it called itself.
    """

    target: str
    certificate: str | None = None
    host_id: str | None = None

    @classmethod
    def of(cls, target: Target) -> "Pin":
        """Returns what the configuration pins of a target."""
        return cls(target.name, target.pin, target.host_id)

    def check_certificate(self, host: str, connection: socket.socket) -> None:
        """Lets a connection pass whose other side showed the pinned certificate, beside all other checks.

        urllib3's own `assert_fingerprint` would leave the host's name unchecked. Source: urllib3 2 connection.py
        _ssl_wrap_socket_and_match_hostname.

        Raises:
            HostChangedError: It showed another.
        """
        shown = connection.getpeercert(binary_form=True) if isinstance(connection, ssl.SSLSocket) else None
        found = fingerprint(shown or b"")
        if self.certificate not in (None, found):
            raise HostChangedError(
                f"{host}: its certificate is {found}, and {self.certificate} is pinned; nothing was sent to it",
                hint=self._way_out,
            )

    def check_id(self, host: str, info: Mapping[str, Any]) -> None:
        """Lets the answer to `/info` pass in which the host calls itself as pinned.

        Raises:
            HostChangedError: It calls itself something else.
        """
        found = host_id(info)
        if self.host_id not in (None, found):
            raise HostChangedError(
                f"{host}: it calls itself {found!r}, and {self.host_id!r} is pinned; nothing but this was asked of it",
                hint=self._way_out,
            )

    @property
    def _way_out(self) -> str:
        return f"find out who changed it; if that is right, accept it: imagepipe targets add {self.target} --replace"
