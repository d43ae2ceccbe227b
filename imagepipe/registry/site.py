"""Looks at a registry's site as a stranger would: handshake, clock, and how it wants to be spoken to.

>>> HttpSite.__name__
'HttpSite'
"""

from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from pathlib import Path
from typing import Final

import httpx

from imagepipe.http import tls
from imagepipe.http.client import open_client, trust
from imagepipe.http.failure import asking
from imagepipe.model.certificate import SiteLook, TlsLook
from imagepipe.ports import Clock

__all__ = ["HttpSite"]

_HTTPS_PORT: Final = 443
_CA_HINT: Final = "set harbor.ca_file to the certificate of the authority that signed it"


class HttpSite:
    """Looks at one site; keeps the port `Site`.

    Args:
        url: Its address, without a path.
        ca_file: A PEM file with its CA; None: Docker's folder for it and the system's.
        clock: The time that certificates are held against.
    """

    def __init__(self, url: str, *, ca_file: Path | None, clock: Clock) -> None:
        self._url = url
        self._ca_file = ca_file
        self._clock = clock

    def look(self) -> SiteLook:
        """Returns what it shows to nobody in particular.

        Raises:
            SettingsError: The CA file is not usable.
            UnavailableError: Nobody answers.
        """
        seen = self._handshake(httpx.URL(self._url))
        if seen is not None and seen.fault is not None:
            return SiteLook(seen)
        what = f"look at {self._url}"
        with open_client(self._url, ca_file=self._ca_file) as client, asking(what):
            answer = client.get("/v2/")
        return SiteLook(
            seen,
            _moment(answer.headers.get("date")),
            answer.headers.get("docker-distribution-api-version", ""),
            answer.headers.get("www-authenticate", ""),
        )

    def _handshake(self, url: httpx.URL) -> TlsLook | None:
        if url.scheme != "https":
            return None
        place = (url.host, url.port or _HTTPS_PORT)
        return tls.look(place, trust(url, self._ca_file), self._clock.now(), ca_hint=_CA_HINT)


def _moment(text: str | None) -> datetime | None:
    try:
        return parsedate_to_datetime(text or "").astimezone(UTC)
    except (ValueError, OverflowError):
        return None
