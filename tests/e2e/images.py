"""Small images made by hand: also such as no builder of ours would make."""

import gzip
import hashlib
import io
import json
import tarfile
from dataclasses import dataclass

DOCKER_MANIFEST = "application/vnd.docker.distribution.manifest.v2+json"
OCI_MANIFEST = "application/vnd.oci.image.manifest.v1+json"
# Manifest, config and layer; a VCH reads Docker's only.
_DOCKER = (
    DOCKER_MANIFEST,
    "application/vnd.docker.container.image.v1+json",
    "application/vnd.docker.image.rootfs.diff.tar.gzip",
)
_OCI = (
    OCI_MANIFEST,
    "application/vnd.oci.image.config.v1+json",
    "application/vnd.oci.image.layer.v1.tar+gzip",
)


@dataclass(frozen=True, slots=True)
class HandMade:
    """An image's manifest, its media type, and the blobs it names."""

    manifest: bytes
    media_type: str
    blobs: tuple[bytes, ...]

    @property
    def digest(self) -> str:
        """The manifest's digest."""
        return digest_of(self.manifest)

    @property
    def size_bytes(self) -> int:
        """The manifest's size."""
        return len(self.manifest)


def digest_of(content: bytes) -> str:
    """Returns `sha256:…` of the bytes."""
    return f"sha256:{hashlib.sha256(content).hexdigest()}"


def hand_made(text: str, *, history: int = 1, oci: bool = False) -> HandMade:
    """Returns an image whose only file holds the text.

    Args:
        text: Makes the image unlike any other.
        history: How many history entries the config has; all but the first belong to no layer.
        oci: OCI media types in place of Docker's.
    """
    manifest_type, config_type, layer_type = _OCI if oci else _DOCKER
    files = _archive(text)
    layer = gzip.compress(files, mtime=0)
    entries = [{"created_by": "hand"}, *({"created_by": f"ENV N={n}", "empty_layer": True} for n in range(1, history))]
    config = _json(
        {
            "architecture": "amd64",
            "os": "linux",
            "config": {"Cmd": ["/true"], "Labels": {"text": text}},
            "rootfs": {"type": "layers", "diff_ids": [digest_of(files)]},
            "history": entries,
        }
    )
    manifest = {
        "schemaVersion": 2,
        "mediaType": manifest_type,
        "config": _descriptor(config_type, config),
        "layers": [_descriptor(layer_type, layer)],
    }
    return HandMade(_json(manifest), manifest_type, (config, layer))


def _archive(text: str) -> bytes:
    archive = io.BytesIO()
    with tarfile.open(fileobj=archive, mode="w") as tar:
        member = tarfile.TarInfo("text")
        member.size = len(text.encode())
        tar.addfile(member, io.BytesIO(text.encode()))
    return archive.getvalue()


def _descriptor(media_type: str, content: bytes) -> dict[str, object]:
    return {"mediaType": media_type, "size": len(content), "digest": digest_of(content)}


def _json(document: object) -> bytes:
    return json.dumps(document, separators=(",", ":")).encode()
