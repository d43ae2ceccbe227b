"""Tries a credential at a registry: a real token, a real pull, a real push, and nothing left behind.

>>> RegistryProof.__name__
'RegistryProof'
"""

from collections.abc import Callable
from collections.abc import Set as AbstractSet
from contextlib import suppress
from pathlib import Path
from typing import Final

import httpx

from imagepipe.errors import ImagepipeError
from imagepipe.events import EventSink, silent
from imagepipe.model.access import Right
from imagepipe.model.reference import Repository
from imagepipe.model.result import Credential
from imagepipe.registry.connection import Ask, Connections
from imagepipe.registry.credentials import RegistryCredentials

__all__ = ["RegistryProof"]

# Nothing is ever stored under this name.
_NAME: Final = "imagepipe-proof"
_PULL: Final = Right("repository", "pull")
_PUSH: Final = Right("repository", "push")


class RegistryProof:
    """Keeps the port `ProveCredential`.

    Args:
        registry: Where to try.
        ca_file: A PEM file with its CA; None: the system's.
        login: Returns when Harbor lets a credential in: all that can be tried of one that neither pulls nor pushes.
        sink: Hears about retries.
        transport: What sends one request once; None: the network.
    """

    def __init__(
        self,
        registry: str,
        *,
        ca_file: Path | None = None,
        login: Callable[[Credential], object] | None = None,
        sink: EventSink = silent,
        transport: httpx.BaseTransport | None = None,
    ) -> None:
        self._registry = registry
        self._ca_files = {registry: ca_file} if ca_file else {}
        self._login = login
        self._sink = sink
        self._transport = transport

    def prove(self, credential: Credential, project: str, rights: AbstractSet[Right]) -> None:
        """Returns when the credential may do in the project what `rights` say, as far as a registry can tell."""
        if self._login is not None and not (project and {_PULL, _PUSH} & rights):
            self._login(credential)
            return
        repository = Repository(self._registry, f"{project}/{_NAME}")
        connections = self._connect(credential)
        try:
            if _PULL in rights:
                what = f"pull from {project} as {credential.username}"
                # Whoever may not pull is told so before anybody looks whether there is something.
                connections.ask(Ask("GET", repository, "tags/list", accept=(200, 404)), what)
            if _PUSH in rights:
                _push(repository, connections, f"push to {project} as {credential.username}")
        finally:
            connections.close()

    def _connect(self, credential: Credential) -> Connections:
        transport = self._transport
        return Connections(
            credentials=RegistryCredentials({self._registry: credential}, environ={}),
            ca_files=self._ca_files,
            sink=self._sink,
            transport_for=(lambda _: transport) if transport else None,
        )


def _push(repository: Repository, connections: Connections, what: str) -> None:
    """Starts an upload and takes it back; a registry that does not let us clears it away by itself in time.

    Source: OCI distribution-spec v1.1 "POST then PUT"; distribution v2.8.2 registry/storage/purgeuploads.go
    """
    started = connections.ask(Ask("POST", repository, "blobs/uploads/", accept=(202,)), what)
    with suppress(ImagepipeError, httpx.InvalidURL):
        url = started.request.url.join(started.headers.get("location", ""))
        if url.netloc == started.request.url.netloc:
            connections.ask(Ask("DELETE", repository, str(url), accept=(202, 204, 404)), what)
