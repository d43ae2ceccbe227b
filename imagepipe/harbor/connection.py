"""How one Harbor is reached, and as whom; every dialect opens its clients here."""

import weakref
from dataclasses import dataclass, field
from pathlib import Path

import httpx

from imagepipe.events import EventSink, silent
from imagepipe.harbor.client import HarborClient
from imagepipe.http.client import open_client
from imagepipe.model.result import Credential

__all__ = ["Connection"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Connection:
    """One Harbor's address and our credentials.

    Attributes:
        url: Its base URL, without the API's path.
        credential: Who we are; None: nobody.
        ca_file: A PEM file with its CA, or None for the system's.
        sink: Hears about retries.
        transport: What sends one request once; None: the network.
    """

    url: str
    credential: Credential | None = None
    ca_file: Path | None = None
    sink: EventSink = field(default=silent, repr=False)
    transport: httpx.BaseTransport | None = field(default=None, repr=False)

    def client(self, base: str, *, anonymous: bool = False) -> HarborClient:
        """Returns a client for the API below `base`; its connections close when it is no longer held."""
        auth = None
        if self.credential is not None and not anonymous:
            auth = httpx.BasicAuth(self.credential.username, self.credential.password)
        http = open_client(
            self.url, ca_file=self.ca_file, auth=auth, sink=self.sink, transport=self.transport, product="harbor"
        )
        client = HarborClient(http, base=base)
        weakref.finalize(client, http.close)
        return client
