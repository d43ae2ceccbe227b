"""One HTTP client per registry, made when first needed, and one way to ask it something.

>>> Connections(transport_for=lambda registry: httpx.MockTransport(lambda request: httpx.Response(200))).ask(
...     Ask("GET", Repository("vic.example", "p/r"), "tags/list"), "list the tags of vic.example/p/r"
... ).status_code
200
"""

from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from threading import Lock
from typing import Final

import httpx

from imagepipe.events import EventSink, silent
from imagepipe.http.client import open_client
from imagepipe.http.failure import asking, refusal
from imagepipe.model.reference import Repository
from imagepipe.ports import CredentialSource
from imagepipe.registry.auth import RegistryAuth

__all__ = ["Ask", "Connections"]

# Docker Hub answers under another name than the one people write. Source: distribution reference/normalize.go
_HUB_NAMES: Final = ("docker.io", "index.docker.io")
_HUB_HOST: Final = "registry-1.docker.io"
_HUB_LIBRARY: Final = "library/"


@dataclass(frozen=True, slots=True)
class Ask:
    """A request about a repository.

    Attributes:
        method: The HTTP method.
        repository: The repository.
        path: What follows `/v2/<name>/`, or a whole URL of the same registry.
        accept: Statuses that are answers; every other one becomes an error.
        headers: Headers besides the usual ones.
        content: The body.
    """

    method: str
    repository: Repository
    path: str
    accept: tuple[int, ...] = (200,)
    headers: Mapping[str, str] = field(default_factory=dict)
    content: bytes = field(default=b"", repr=False)


class Connections:
    """HTTP clients by registry; may be shared by threads.

    Args:
        credentials: Who we are at each registry; None: anonymous everywhere.
        ca_files: A CA file by registry.
        plain_http: Registries that are spoken to without TLS.
        signing: Whether images are being signed: Harbor's content trust lets those who may push read unsigned images
            if their `User-Agent` names cosign. Source: Harbor v2.15.2 src/server/middleware/util/util.go
        sink: Hears about retries.
        transport_for: What sends one request once, by registry; None: the network.
    """

    def __init__(
        self,
        *,
        credentials: CredentialSource | None = None,
        ca_files: Mapping[str, Path] | None = None,
        plain_http: Collection[str] = (),
        signing: bool = False,
        sink: EventSink = silent,
        transport_for: Callable[[str], httpx.BaseTransport] | None = None,
    ) -> None:
        self._credentials = credentials
        self._ca_files = dict(ca_files or {})
        self._plain_http = frozenset(plain_http)
        self._product = "cosign" if signing else ""
        self._sink = sink
        self._transport_for = transport_for
        self._clients: dict[str, httpx.Client] = {}
        self._lock = Lock()

    def ask(self, ask: Ask, what: str) -> httpx.Response:
        """Returns the answer, its body read.

        Args:
            ask: What to send.
            what: What we are doing, to what, for messages.

        Raises:
            ImagepipeError: The answer's status is not among the accepted ones, or there was none.
        """
        client = self._client(ask.repository.registry)
        with asking(what):
            response = client.request(
                ask.method,
                self._url(ask),
                headers=dict(ask.headers),
                content=ask.content,
                # Blobs may lie elsewhere; writes never do.
                follow_redirects=ask.method in ("GET", "HEAD"),
            )
        if response.status_code not in ask.accept:
            raise refusal(response, what)
        return response

    def close(self) -> None:
        """Closes every client."""
        with self._lock:
            clients, self._clients = self._clients, {}
        for client in clients.values():
            client.close()

    def _client(self, registry: str) -> httpx.Client:
        with self._lock:
            if registry not in self._clients:
                self._clients[registry] = self._open(registry)
            return self._clients[registry]

    def _open(self, registry: str) -> httpx.Client:
        host = _HUB_HOST if registry in _HUB_NAMES else registry
        base_url = f"{'http' if registry in self._plain_http else 'https'}://{host}"
        credential = self._credentials.for_registry(registry) if self._credentials else None
        return open_client(
            base_url,
            ca_file=self._ca_files.get(registry),
            auth=RegistryAuth(registry, base_url, credential),
            sink=self._sink,
            transport=self._transport_for(registry) if self._transport_for else None,
            product=self._product,
        )

    def _url(self, ask: Ask) -> str:
        if "://" in ask.path:
            return ask.path
        name = ask.repository.path
        if ask.repository.registry in _HUB_NAMES and "/" not in name:
            name = f"{_HUB_LIBRARY}{name}"
        return f"/v2/{name}/{ask.path}"
