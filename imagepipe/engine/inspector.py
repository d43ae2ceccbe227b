"""What a doctor asks of a VCH or an engine beyond what it is: TLS, clock, networks, volume stores, storage.

>>> _bytes("1.953GiB") // 1024**2
1999
"""

import re
import ssl
from datetime import UTC, datetime
from typing import Any, Final
from urllib.parse import urlsplit

from imagepipe.engine.client import Endpoint
from imagepipe.engine.host import system_status, volume_stores
from imagepipe.engine.tls import Certificates
from imagepipe.errors import ImagepipeError
from imagepipe.http import tls
from imagepipe.model.certificate import Certificate, TlsLook
from imagepipe.model.host import HostFacts
from imagepipe.ports import Clock

__all__ = ["EngineInspector"]

_TLS_PORT: Final = 2376
# Source: docker/go-units size.go BytesSize, by which a VCH writes sizes: four digits and a unit of 1024.
_SIZE: Final = re.compile(r"([0-9.e+]+) ?([KMGTPEZY]?)i?B")
_UNITS: Final = "KMGTPEZY"
_CA_HINT: Final = "put the certificate of the authority that signed it into ca.pem"


class EngineInspector:
    """Looks at one host; keeps the port `HostInspector`.

    Args:
        endpoint: Its address.
        cert_path: The folder with ca.pem, cert.pem and key.pem, or None without TLS.
        clock: The time that certificates are held against.
    """

    def __init__(self, endpoint: Endpoint, cert_path: str | None, clock: Clock) -> None:
        self._endpoint = endpoint
        self._cert_path = cert_path
        self._clock = clock

    def facts(self) -> HostFacts:
        """Returns what the host tells of itself.

        Raises:
            AccessError, UnavailableError: The host refuses us, or is away.
        """
        try:
            info = self._endpoint.info()
            networks = tuple(sorted(str(one["Name"]) for one in self._endpoint.get("/networks") or ()))
        except ImagepipeError as error:
            raise error.doing(f"look at {self._endpoint.host}") from error
        status = system_status(info)
        return HostFacts(
            networks,
            volume_stores(info),
            system_time=_moment(info.get("SystemTime")),
            architecture=str(info.get("Architecture") or ""),
            root_dir=str(info.get("DockerRootDir") or ""),
            storage_limit_bytes=_bytes(status.get("VCH storage limit")),
            storage_used_bytes=_bytes(status.get("VCH storage usage")),
        )

    def tls(self) -> TlsLook | None:
        """Returns what the host shows in a TLS handshake, and what is wrong with it; None without TLS.

        Raises:
            CredentialsError, SettingsError: Our own files are not usable.
            UnavailableError: Nobody answers.
        """
        files = self._files()
        if files is None:
            return None
        address = urlsplit(self._endpoint.host)
        context = ssl.create_default_context(cafile=str(files.ca))
        context.load_cert_chain(files.cert, files.key)
        place = (address.hostname or "", address.port or _TLS_PORT)
        return tls.look(place, context, self._clock.now(), ca_hint=_CA_HINT, client=(files.cert, files.key))

    def own_certificate(self) -> Certificate | None:
        """Returns the certificate that we show; None without TLS; raises as `tls`."""
        files = self._files()
        return tls.certificate_of(ssl.PEM_cert_to_DER_cert(_first(files.cert.read_text()))) if files else None

    def _files(self) -> Certificates | None:
        return Certificates.load(self._cert_path, self._clock.now()) if self._cert_path is not None else None


def _first(pem: str) -> str:
    """Returns the first certificate of a PEM file: our own; the rest is the chain above it."""
    start, _, rest = pem.partition("-----BEGIN CERTIFICATE-----")
    del start
    return f"-----BEGIN CERTIFICATE-----{rest.partition('-----END CERTIFICATE-----')[0]}-----END CERTIFICATE-----\n"


def _bytes(text: str | None) -> int | None:
    found = _SIZE.fullmatch(text or "")
    if found is None:
        return None
    return int(float(found[1]) * 1024 ** (_UNITS.index(found[2]) + 1 if found[2] else 0))


def _moment(text: Any) -> datetime | None:
    try:
        when = datetime.fromisoformat(str(text))
    except ValueError:
        return None
    return when if when.tzinfo else when.replace(tzinfo=UTC)
