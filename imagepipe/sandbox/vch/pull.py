"""`POST /images/create` as VIC's imagec does it; dockerd below fetches the bytes, by digest.

Source: VIC v1.5.8 lib/apiservers/engine/backends/image.go:348-443, lib/imagec/{imagec,download}.go.
"""

import asyncio
import hashlib
import json
from collections.abc import AsyncIterator, Mapping
from typing import Any

from starlette.requests import Request
from starlette.responses import Response, StreamingResponse

from imagepipe.sandbox.vch.answers import RefusalError, line, not_implemented, stream_error
from imagepipe.sandbox.vch.facade import Facade
from imagepipe.sandbox.vch.references import Reference, allowed
from imagepipe.sandbox.vch.registry import (
    NO_SIGNATURE,
    Credentials,
    Manifest,
    PullError,
    Registry,
    TagNotFoundError,
    registry,
)
from imagepipe.sandbox.vch.tables import Image, Layer, image_hex

EMPTY_BLOB = "sha256:a3ed95caeb02ffe68cdd9fd84406680ae93d633cb16422d00e8a7c22955b46d4"
"""The empty layer of schema1: one per history entry that changes no file."""

MOST_LAYERS = 90
"""Source: VIC's container_limitations.md; vmware/vic#8321."""

STORE_FAILED = (
    "Failed to write to image store: [POST /storage/{store_name}][500] WriteImage default  "
    "&{Code:500 Message:Failed to add disk 'scsi0:0'.}"
)
"""Source: vmware/vic#8321, #8484."""


async def create_image(facade: Facade, request: Request) -> Response:
    """Answers `POST /images/create`: a pull; everything after its first line fails inside a 200 stream."""
    query = request.query_params
    if query.get("fromSrc"):
        raise not_implemented("ImportImage")
    reference = Reference.parse(query.get("fromImage", "").removesuffix(":"))
    if query.get("tag"):
        reference = reference.with_suffix(query["tag"])
    media_type = "application/json"
    if not whitelisted(facade, reference.host):
        return StreamingResponse(_one(stream_error(denied(reference.host))), media_type=media_type)
    credentials = Credentials.from_header(request.headers.get("x-registry-auth", ""))
    if reference.digest:
        return StreamingResponse(_by_digest(reference), media_type=media_type)
    lines = _Pull(facade, reference, credentials).lines()
    first = await anext(lines)  # fails with an HTTP status: nothing is written yet
    return StreamingResponse(_all(first, lines), media_type=media_type)


def whitelisted(facade: Facade, host: str) -> bool:
    """Returns whether this VCH may talk to a registry; insecure ones are always listed."""
    config = facade.config
    return not config.whitelist or allowed(host, (*config.whitelist, *config.insecure_registries))


def denied(host: str) -> str:
    """Returns the whitelist's refusal. Source: VIC v1.5.8 backends/image.go:409-414."""
    return f"Access denied to unauthorized registry ({host}) while VCH is in whitelist mode"


async def _one(value: object) -> AsyncIterator[bytes]:
    yield line(value)


async def _all(first: object, lines: AsyncIterator[dict[str, Any]]) -> AsyncIterator[bytes]:
    yield line(first)
    async for value in lines:
        yield line(value)


async def _by_digest(reference: Reference) -> AsyncIterator[bytes]:
    # the registry returns schema2 bytes to a digest, never the signed schema1 that VIC parses (vmware/vic#5187)
    yield line({"status": f"{reference.digest}: Pulling from {reference.image}"})
    yield line(stream_error(f"Error while pulling image manifest: {NO_SIGNATURE}"))


class _Pull:
    """One pull by tag, from the registry's ping to the Status line."""

    def __init__(self, facade: Facade, reference: Reference, credentials: Credentials) -> None:
        self._facade = facade
        self._reference = reference
        self._credentials = credentials
        self._new: list[Layer] = []

    async def lines(self) -> AsyncIterator[dict[str, Any]]:
        """Yields the stream's objects; a RefusalError before the first is an HTTP status."""
        name, tag = self._reference.image, self._reference.tag_or_digest
        async with registry(
            self._facade.config, self._reference, self._credentials, self._facade.registry_transport
        ) as remote:
            await remote.authorize()
            yield {"status": f"{tag}: Pulling from {name}"}
            try:
                manifest, digest, layers = await self._read_twice(remote, tag)
                async for value in self._download(manifest, layers):
                    yield value
                await self._record(manifest, digest, layers)
            except TagNotFoundError:
                yield stream_error(f"Tag {tag} not found in repository {name}")
                return
            except (PullError, RefusalError) as exc:
                yield stream_error(str(exc))
                return
        yield {"status": f"Digest: {digest}"}
        verdict = "Downloaded newer image for" if self._new else "Image is up to date for"
        yield {"status": f"Status: {verdict} {name}:{tag}"}

    async def _read_twice(self, remote: Registry, tag: str) -> tuple[Manifest, str, list[Layer]]:
        # the first read decides what is downloaded, the second only which digest is reported; nothing compares them
        manifest = await remote.manifest(tag)
        layers = layers_of(manifest, await remote.config(manifest), remote.url(f"manifests/{tag}"))
        await asyncio.sleep(self._facade.faults.seconds("pause_between_reads_s"))
        try:
            digest = (await remote.manifest(self._facade.faults.text("second_read") or tag)).digest
        except (PullError, TagNotFoundError):
            digest = schema1_digest(manifest)
        return manifest, digest, layers

    async def _download(self, manifest: Manifest, layers: list[Layer]) -> AsyncIterator[dict[str, Any]]:
        known = self._facade.tables.known_layers()
        self._new = [layer for layer in layers if layer.id not in known]
        for layer in layers:
            yield _progress(layer, "Already exists" if layer.id in known else "Pulling fs layer")
        if len(layers) > MOST_LAYERS:
            raise PullError(STORE_FAILED)
        if not self._new:
            return
        if self._facade.faults.take("no_space_left"):
            yield _progress(self._new[0], "Downloading")
            raise PullError(self._no_space())
        done: set[str] = set()
        async for value in self._engine_lines(manifest, {_short(layer.blob) for layer in self._new}):
            if value["status"] == "Pull complete":
                done.add(value["id"])
            yield value
        if not await self._facade.write_out():
            raise PullError(STORE_FAILED)
        for layer in self._new:
            if _short(layer.blob) not in done:
                yield _progress(layer, "Download complete")
                yield _progress(layer, "Pull complete")

    async def _engine_lines(self, manifest: Manifest, shown: set[str]) -> AsyncIterator[dict[str, Any]]:
        query = {"fromImage": self._reference.name, "tag": manifest.digest}
        headers = {"x-registry-auth": self._credentials.header(self._reference.host)}
        async with self._facade.engine.stream(
            "POST", "/images/create", query=query, headers=headers, endless=True
        ) as response:
            if response.status_code != 200:
                await response.aread()
                raise self._engine_failure(_message(response.content))
            async for text in response.aiter_lines():
                value = json.loads(text) if text.strip() else {}
                if "error" in value:
                    raise self._engine_failure(str(value["error"]))
                if value.get("id") in shown and value["status"] not in {"Pulling fs layer", "Already exists"}:
                    yield value

    def _engine_failure(self, message: str) -> PullError:
        if "no space left on device" in message:
            return PullError(self._no_space())
        return PullError(f"{self._reference.image}/{self._new[-1].id} returned {message}")

    def _no_space(self) -> str:
        # Source: VIC v1.5.8 lib/imagec/download.go:268; vmware/vic#2595
        layer = self._new[0].id
        return f"{self._reference.image}/{layer} returned write /tmp/{layer[:12]}: no space left on device"

    async def _record(self, manifest: Manifest, digest: str, layers: list[Layer]) -> None:
        # the references come before the leaf is written: a failed write leaves an image that is listed but unusable
        tables = self._facade.tables
        image = await self._new_image(manifest, layers) if self._new else self._image_with_leaf(layers[-1])
        try:
            tables.refer(self._reference, image)
            pinned = self._reference.with_suffix(digest)
            tables.refer(pinned, image)
        except RefusalError as exc:
            raise PullError(f"Unable to Add Image Digest({pinned}): {exc.message}") from exc
        finally:
            tables.save()
        if not tables.images[image].usable:
            raise PullError(STORE_FAILED)

    async def _new_image(self, manifest: Manifest, layers: list[Layer]) -> str:
        found = await self._facade.engine.get(f"/images/{self._reference.name}@{manifest.digest}/json")
        image = image_hex(found["Id"])
        usable = not self._facade.faults.take("leaf_write_fails")
        self._facade.tables.images[image] = Image(found["Id"], layers, str(self._reference), usable=usable)
        self._facade.tables.by_name[str(self._reference)] = image
        return image

    def _image_with_leaf(self, leaf: Layer) -> str:
        for image, entry in self._facade.tables.images.items():
            if entry.layers[-1].id == leaf.id:
                return image
        raise PullError(f"ImageID not found by LayerID({leaf.id}) in RepositoryCache")


def schema1_digest(manifest: Manifest) -> str:
    """Returns what a VCH reports where only its first read succeeds: the digest of the registry's schema1 rewrite.

    No digest of schema2 equals it, so nobody finds the image by the digest that the registry names.
    Source: VIC v1.5.8 lib/imagec/imagec.go:649-664, where a failure of the second read is ignored.
    """
    return "sha256:" + hashlib.sha256(b"schema1\n" + manifest.raw).hexdigest()


def layers_of(manifest: Manifest, config: Mapping[str, Any], url: str) -> list[Layer]:
    """Returns one layer per history entry, base first, as the registry's schema1 rewrite makes them.

    Source: distribution v2.6.2 manifest/schema1/config_builder.go:92-133.

    Raises:
        PullError: if the history is absent or does not fit the layers.
    """
    history = config.get("history") or []
    blobs = list(manifest.blobs)
    filled = [entry for entry in history if not entry.get("empty_layer")]
    if not history or len(filled) != len(blobs):
        raise PullError(
            "Error while pulling image manifest: Unexpected http code: 400 (Bad Request), "
            f"URL: {url}Message: manifest invalid"
        )
    found: list[Layer] = []
    parent = ""
    for entry in history:
        blob = EMPTY_BLOB if entry.get("empty_layer") else blobs.pop(0)
        # the leaf's v1 id covers the whole config, so that two images never share their leaf
        leaf = manifest.config_digest if len(found) == len(history) - 1 else ""
        text = "\n".join((parent, blob, json.dumps(entry, sort_keys=True), leaf))
        parent = hashlib.sha256(text.encode()).hexdigest()
        found.append(Layer(parent, blob))
    return found


def _short(blob: str) -> str:
    return blob.removeprefix("sha256:")[:12]


def _progress(layer: Layer, status: str) -> dict[str, Any]:
    return {"status": status, "progressDetail": {}, "id": _short(layer.blob)}


def _message(body: bytes) -> str:
    try:
        return str(json.loads(body)["message"])
    except (ValueError, KeyError, TypeError):
        return body.decode(errors="replace").strip()
