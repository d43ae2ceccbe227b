"""A scripted registry: what it answers is written down, what it was asked is remembered."""

import httpx

from imagepipe.model import media
from imagepipe.model.digest import Digest
from imagepipe.model.evidence import Artifact
from imagepipe.model.manifest import Manifest
from imagepipe.model.reference import Repository
from imagepipe.registry.client import RegistryClient
from imagepipe.registry.connection import Connections
from tests.contract.registry_memory import MemoryRegistry

REPOSITORY = Repository("vic.example", "p/r")
ARTIFACT = Artifact(media.SIGSTORE_BUNDLE, media.SIGSTORE_BUNDLE, b"a bundle")
Key = tuple[str, str]


class Script:
    """Answers by method and the path after `/v2/p/r/`; a list of answers is given one by one, the last for ever."""

    def __init__(self, answers: dict[Key, httpx.Response | list[httpx.Response]]) -> None:
        self.answers = answers
        self.asked: list[httpx.Request] = []
        self.registries: list[str] = []

    def __call__(self, request: httpx.Request) -> httpx.Response:
        self.asked.append(request)
        answer = self.answers.get((request.method, request.url.path.partition("/v2/p/r/")[2]), httpx.Response(404))
        if isinstance(answer, list):
            return answer.pop(0) if len(answer) > 1 else answer[0]
        return answer

    def transport_for(self, registry: str) -> httpx.BaseTransport:
        self.registries.append(registry)
        return httpx.MockTransport(self)

    @property
    def client(self) -> RegistryClient:
        return RegistryClient(Connections(transport_for=self.transport_for))

    @property
    def methods(self) -> list[str]:
        return [request.method for request in self.asked]


def image() -> Manifest:
    return MemoryRegistry().add_image(REPOSITORY, media_type=media.OCI_MANIFEST)


def body(made: Manifest, **headers: str) -> httpx.Response:
    kept = {"Content-Type": made.media_type, "Docker-Content-Digest": str(made.digest), **headers}
    return httpx.Response(200, content=made.raw, headers={name: text for name, text in kept.items() if text})


def head(digest: Digest) -> httpx.Response:
    headers = {"Content-Type": media.OCI_MANIFEST, "Docker-Content-Digest": str(digest), "Content-Length": "7"}
    return httpx.Response(200, headers=headers)


def harbor(status: int, code: str, message: str) -> httpx.Response:
    return httpx.Response(status, json={"errors": [{"code": code, "message": message}]})
