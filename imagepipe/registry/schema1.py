"""Asks a registry as a client from before schema 2 does, which a VCH is.

>>> Schema1Probe.__name__
'Schema1Probe'
"""

from typing import Final

from imagepipe.model import media
from imagepipe.model.reference import Reference
from imagepipe.registry.connection import Ask, Connections

__all__ = ["Schema1Probe"]

_TYPE: Final = "content-type"


class Schema1Probe:
    """Keeps the port `OldClients`.

    Args:
        connections: How the registries are reached.
    """

    def __init__(self, connections: Connections) -> None:
        self._connections = connections

    def served(self, reference: Reference) -> str:
        """Returns the media type of what is served to somebody who knows schema 1 only; "" for nothing.

        A VCH sends no Accept at all, which a registry takes for this one.
        Source: VIC v1.5.8 lib/imagec/docker.go:384-414; distribution v2.8.1 registry/handlers/manifests.go:181-191
        """
        ask = Ask(
            "GET",
            reference.repository,
            f"manifests/{reference.tag or reference.digest}",
            accept=(200, 404, 406),
            headers={"Accept": media.DOCKER_SCHEMA_1},
        )
        answer = self._connections.ask(ask, f"ask for {reference} as a VCH does")
        return answer.headers.get(_TYPE, "").partition(";")[0].strip() if answer.status_code == 200 else ""
