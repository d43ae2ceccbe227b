"""Makes a VCH or an engine fetch an image, and reads what it says to the end: HTTP 200 alone proves nothing.

>>> EnginePuller.__name__
'EnginePuller'
"""

import re
from collections.abc import Iterable, Mapping
from contextlib import suppress
from typing import Any, Final

from imagepipe.engine.auth import auth_header
from imagepipe.engine.client import Call, Endpoint
from imagepipe.engine.stream import Relay, messages
from imagepipe.errors import ImagepipeError, InputError
from imagepipe.events import EventSink
from imagepipe.model.digest import Digest
from imagepipe.model.host import PullReport
from imagepipe.model.reference import Reference
from imagepipe.ports import CredentialSource

__all__ = ["EnginePuller", "read_pull"]

# A VCH says nothing while it tries a blob five times with waits of 5 to 20 s, or writes a large disk.
# Source: VIC v1.5.8 lib/imagec/fetcher.go, download.go.
PULL_SILENCE_S: Final = 900.0
# A VCH gives up after 3600 s itself. Source: VIC v1.5.8 lib/imagec/imagec.go.
PULL_TOTAL_S: Final = 3900.0
_LAYER_ID = re.compile(r"[0-9a-f]{12}")


class EnginePuller:
    """Pulls through one endpoint, in the name of our own registry credentials.

    Args:
        endpoint: The VCH or engine.
        credentials: Who we are at the registry; the host keeps no login of ours.
        silence_s: Longest time without a word from the host, in seconds.
        total_s: Longest time for one pull, in seconds.
    """

    def __init__(
        self,
        endpoint: Endpoint,
        credentials: CredentialSource,
        *,
        silence_s: float = PULL_SILENCE_S,
        total_s: float = PULL_TOTAL_S,
    ) -> None:
        self._endpoint = endpoint
        self._credentials = credentials
        self._silence_s = silence_s
        self._total_s = total_s

    def pull(self, image: Reference, sink: EventSink) -> PullReport:
        """Pulls by digest if the reference has one, else by tag, and reads the whole stream; tries once.

        Raises:
            NotFoundError, AccessError, RefusedError, UnavailableError: What the host or the registry said.
        """
        repository = image.repository
        version = str(image.digest) if image.digest else image.tag or "latest"
        try:
            call = Call(
                path="/images/create",
                params={"fromImage": str(repository), "tag": version},
                headers=auth_header(self._credentials.for_registry(repository.registry), repository.registry),
                silence_s=self._silence_s,
                total_s=self._total_s,
            )
            with self._endpoint.stream(call) as chunks:
                return read_pull(messages(chunks, anonymous=call.anonymous), Relay(sink, "pull", str(image)))
        except ImagepipeError as error:
            raise error.doing(f"pull {image} on {self._endpoint.host}") from error


def read_pull(stream: Iterable[Mapping[str, Any]], relay: Relay) -> PullReport:
    """Returns what a pull's stream reported once it has ended.

    Source: moby v20.10.24 distribution/pull_v2.go; VIC v1.5.8 lib/imagec (the tag stands inside the first status).
    """
    digest: Digest | None = None
    status = ""
    layers: dict[str, None] = {}
    for message in stream:
        relay.progress(message)
        said, item = str(message.get("status") or ""), message.get("id")
        if said.startswith("Digest: "):
            with suppress(InputError):
                digest = Digest.parse(said.removeprefix("Digest: ").strip())
        elif said.startswith("Status: "):
            status = said.removeprefix("Status: ").strip()
        elif isinstance(item, str) and _LAYER_ID.fullmatch(item) and not said.startswith("Pulling from"):
            layers[item] = None
    return PullReport(digest, status, tuple(layers))
