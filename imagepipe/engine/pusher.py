"""Sends an image from the build host to the registry, and tells what digest the engine says it has there.

>>> EnginePusher.__name__
'EnginePusher'
"""

import re
from collections.abc import Iterable, Mapping
from typing import Any, Final

from imagepipe.engine.auth import auth_header
from imagepipe.engine.client import Call, Endpoint, quoted
from imagepipe.engine.stream import Relay, messages
from imagepipe.errors import ImagepipeError, UnavailableError
from imagepipe.events import EventSink
from imagepipe.model.digest import Digest
from imagepipe.model.reference import Reference
from imagepipe.ports import CredentialSource

__all__ = ["EnginePusher", "read_push"]

# The engine retries a layer five times with growing waits. Source: moby v20.10.24 distribution/xfer/upload.go.
PUSH_SILENCE_S: Final = 600.0
_DIGEST = re.compile(r"digest: (sha256:[0-9a-f]{64}) size: ")


class EnginePusher:
    """Pushes from the build host.

    Args:
        endpoint: The build host.
        credentials: Who we are at the registry.
        silence_s: Longest time without a word from the host, in seconds.
    """

    def __init__(self, endpoint: Endpoint, credentials: CredentialSource, *, silence_s: float = PUSH_SILENCE_S) -> None:
        self._endpoint = endpoint
        self._credentials = credentials
        self._silence_s = silence_s

    def push(self, image_id: Digest, name: Reference, sink: EventSink) -> Digest:
        """Names the image so, pushes it and returns the manifest digest that the engine reports.

        Raises:
            AccessError: Wrong credentials, or no right to push.
            RefusedError: The registry says no (immutability, quota).
            UnavailableError: The registry or the host is away, after retries by the engine.
        """
        repository, tag = name.repository, name.tag or "latest"
        try:
            self._endpoint.post(f"/images/{image_id}/tag", params={"repo": str(repository), "tag": tag})
            call = Call(
                path=f"/images/{quoted(str(repository))}/push",
                params={"tag": tag},
                headers=auth_header(self._credentials.for_registry(repository.registry), repository.registry),
                silence_s=self._silence_s,
            )
            with self._endpoint.stream(call) as chunks:
                return read_push(messages(chunks, anonymous=call.anonymous), Relay(sink, "push", str(name)))
        except ImagepipeError as error:
            raise error.doing(f"push {name} from {self._endpoint.host}") from error


def read_push(stream: Iterable[Mapping[str, Any]], relay: Relay) -> Digest:
    """Returns the digest that a push's stream reported, once it has ended.

    Source: moby v20.10.24 distribution/push_v2.go: an `aux` line, and a status for people.

    Raises:
        UnavailableError: The stream ended without a digest.
    """
    digest = None
    for message in stream:
        relay.progress(message)
        aux, said = message.get("aux"), _DIGEST.search(str(message.get("status") or ""))
        if isinstance(aux, Mapping) and isinstance(aux.get("Digest"), str):
            digest = str(aux["Digest"])
        elif said:
            digest = said.group(1)
    if digest is None:
        raise UnavailableError(
            "the engine stopped without saying what it pushed", hint="look at the engine's log, then push again"
        )
    return Digest.parse(digest)
