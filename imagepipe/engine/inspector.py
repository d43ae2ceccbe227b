"""What a doctor asks of a VCH or an engine: networks, volume stores, and when certificates run out.

>>> EngineInspector.__name__
'EngineInspector'
"""

import socket
import ssl
from datetime import UTC, datetime
from pathlib import Path
from typing import Final
from urllib.parse import urlsplit

from cryptography import x509

from imagepipe.engine.client import Endpoint
from imagepipe.engine.host import volume_stores
from imagepipe.errors import CredentialsError, ImagepipeError, UnavailableError
from imagepipe.model.host import HostFacts

__all__ = ["EngineInspector"]

_HANDSHAKE_TIMEOUT_S: Final = 10.0


class EngineInspector:
    """Looks at one host; keeps the port `HostInspector`.

    Args:
        endpoint: Its address.
        cert_path: The folder with ca.pem, cert.pem and key.pem, or None without TLS.
    """

    def __init__(self, endpoint: Endpoint, cert_path: str | None) -> None:
        self._endpoint = endpoint
        self._folder = Path(cert_path).expanduser() if cert_path else None

    def facts(self) -> HostFacts:
        """Returns networks, volume stores and when certificates run out.

        Raises:
            AccessError, UnavailableError: The host refuses us, or is away.
        """
        try:
            networks = tuple(sorted(str(one["Name"]) for one in self._endpoint.get("/networks") or ()))
            stores = volume_stores(self._endpoint.get("/info") or {})
        except ImagepipeError as error:
            raise error.doing(f"look at {self._endpoint.host}") from error
        if self._folder is None:
            return HostFacts(networks, stores)
        own = x509.load_pem_x509_certificate((self._folder / "cert.pem").read_bytes())
        return HostFacts(networks, stores, own.not_valid_after_utc, self._server_certificate_ends(self._folder))

    def _server_certificate_ends(self, folder: Path) -> datetime | None:
        """Returns when the certificate that the host shows runs out; verified, or there is none to speak of."""
        address = urlsplit(self._endpoint.host)
        context = ssl.create_default_context(cafile=str(folder / "ca.pem"))
        context.load_cert_chain(folder / "cert.pem", folder / "key.pem")
        try:
            with (
                socket.create_connection((address.hostname or "", address.port or 2376), _HANDSHAKE_TIMEOUT_S) as plain,
                context.wrap_socket(plain, server_hostname=address.hostname) as secured,
            ):
                shown = secured.getpeercert()
        except ssl.SSLError as error:
            raise CredentialsError(
                f"look at {self._endpoint.host}: TLS: {error.reason}",
                hint="get fresh certificates from the administrator of this target",
            ) from error
        except OSError as error:
            raise UnavailableError(f"look at {self._endpoint.host}: {error}", hint="check that it is up") from error
        ends = shown.get("notAfter") if shown else None
        return datetime.fromtimestamp(ssl.cert_time_to_seconds(str(ends)), UTC) if ends else None
