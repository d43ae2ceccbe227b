"""A registry in memory that has no referrers API, and believes whoever writes a tag last."""

import json
from collections.abc import Callable

import httpx

from imagepipe.model import media
from imagepipe.model.digest import Digest
from imagepipe.model.evidence import Artifact
from imagepipe.model.manifest import Manifest, parse_manifest
from imagepipe.model.reference import Pinned, Repository
from imagepipe.registry.client import RegistryClient
from imagepipe.registry.connection import Connections
from imagepipe.registry.referrers import RegistryReferrers
from imagepipe.registry.tagschema import fallback_tag
from tests.contract.registry_memory import MemoryRegistry
from tests.unit.registry.script import harbor

PLACE = Repository("vic.example", "p/r")


class TagsOnly(httpx.BaseTransport):
    """One repository; a test may look at everything and change it, as somebody else would.

    Attributes:
        manifests: Bytes and media type by digest.
        tags: Digest by tag.
        blobs: Bytes by digest.
        asked: Method and place of each request, in order.
        refused: Answers in place of the true ones, by method and the start of a place; those of a list once each.
        before: Is called before a list is written, once: a rival.
        takes_lists: Whether it takes lists at all.
        takes_oci: Whether it takes more than Docker's manifests.
    """

    def __init__(self) -> None:
        self.manifests: dict[str, tuple[bytes, str]] = {}
        self.tags: dict[str, str] = {}
        self.blobs: dict[str, bytes] = {}
        self.asked: list[tuple[str, str]] = []
        self.refused: dict[tuple[str, str], httpx.Response | list[httpx.Response]] = {}
        self.before: Callable[[], object] = lambda: None
        self.takes_lists = True
        self.takes_oci = True

    def handle_request(self, request: httpx.Request) -> httpx.Response:
        method, place = request.method, request.url.path.partition("/v2/p/r/")[2]
        self.asked.append((method, place))
        refused = self._refusal(method, place)
        if refused is not None:
            return refused
        kind, _, name = place.partition("/")
        if kind == "manifests":
            return self._put(name, request) if method == "PUT" else self._manifest(name)
        if kind == "blobs":
            return self._blob(method, name, request)
        return httpx.Response(200, json={"tags": sorted(self.tags)}) if kind == "tags" else httpx.Response(404)

    def _refusal(self, method: str, place: str) -> httpx.Response | None:
        for (how, start), answer in self.refused.items():
            if how == method and place.startswith(start):
                return answer if isinstance(answer, httpx.Response) else answer.pop(0) if answer else None
        return None

    def _manifest(self, name: str) -> httpx.Response:
        digest = self.tags.get(name, name)
        if digest not in self.manifests:
            return httpx.Response(404)
        raw, media_type = self.manifests[digest]
        return httpx.Response(200, content=raw, headers={"Content-Type": media_type, "Docker-Content-Digest": digest})

    def _put(self, name: str, request: httpx.Request) -> httpx.Response:
        kind = request.headers["Content-Type"]
        is_list = kind in media.INDEX_TYPES
        if (is_list and not self.takes_lists) or ("oci" in kind and not self.takes_oci):
            return httpx.Response(415)
        if is_list and any(one["digest"] not in self.manifests for one in json.loads(request.content)["manifests"]):
            return harbor(400, "MANIFEST_BLOB_UNKNOWN", "blob unknown to registry")
        if is_list and ":" not in name:
            rival, self.before = self.before, lambda: None
            rival()
        digest = str(Digest.of(request.content))
        self.manifests[digest] = (request.content, kind)
        if ":" not in name:
            self.tags[name] = digest
        return httpx.Response(201)

    def _blob(self, method: str, name: str, request: httpx.Request) -> httpx.Response:
        if method == "POST":
            return httpx.Response(202, headers={"Location": "/v2/p/r/blobs/uploads/1"})
        if method == "PUT":
            self.blobs[request.url.params["digest"]] = request.content
            return httpx.Response(201)
        return httpx.Response(200, content=self.blobs[name]) if name in self.blobs else httpx.Response(404)

    @property
    def client(self) -> RegistryClient:
        """Another one who speaks to it."""
        return RegistryClient(Connections(transport_for=lambda _: self))

    @property
    def referrers(self) -> RegistryReferrers:
        """Another one who attaches, and looks at what is attached."""
        return RegistryReferrers(self.client, sleep=lambda _: None)

    def image(self) -> Manifest:
        """Pushes an image that no other one is like."""
        made = MemoryRegistry().add_image(PLACE, labels={"number": str(len(self.manifests))})
        self.manifests[str(made.digest)] = (made.raw, made.media_type)
        return made

    def attach(self, image: Manifest, text: str) -> Digest:
        """Attaches something, as another one."""
        artifact = Artifact(media.SIGSTORE_BUNDLE, media.SIGSTORE_BUNDLE, text.encode(), {"called": text})
        return self.referrers.attach(pin(image), image.descriptor, artifact).digest

    def seen(self, image: Manifest) -> set[str]:
        """Returns the contents of all that another one finds attached to the image, each proven."""
        referrers = self.referrers
        return {referrers.fetch(pin(image), one).content.decode() for one in referrers.list(pin(image))}

    def listed(self, image: Manifest) -> set[Digest]:
        """Returns what the list alone holds: all that any other tool sees."""
        entries = json.loads(self.manifests[self.tags[fallback_tag(image.digest)]][0])["manifests"]
        return {Digest.parse(one["digest"]) for one in entries}

    def kind_of_list(self, image: Manifest) -> str:
        """Returns the list's media type."""
        return self.manifests[self.tags[fallback_tag(image.digest)]][1]

    def overwrite(self, image: Manifest, *left: Digest) -> None:
        """Writes the list as one does who read it before others wrote it."""
        entries = [parse_manifest(*self.manifests[str(one)]).descriptor.to_json() for one in left]
        raw = json.dumps({"schemaVersion": 2, "mediaType": media.OCI_INDEX, "manifests": entries}).encode()
        self.manifests[str(Digest.of(raw))] = (raw, media.OCI_INDEX)
        self.tags[fallback_tag(image.digest)] = str(Digest.of(raw))


def pin(image: Manifest) -> Pinned:
    """Returns the image where it is."""
    return PLACE.pin(image.digest)
