"""Images written straight into a registry, so that a test decides every byte of them."""

import gzip
import hashlib
import io
import json
import tarfile
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx

SCHEMA2 = "application/vnd.docker.distribution.manifest.v2+json"
MANIFEST_LIST = "application/vnd.docker.distribution.manifest.list.v2+json"
OCI = "application/vnd.oci.image.manifest.v1+json"
_SCHEMA2_PARTS = ("application/vnd.docker.container.image.v1+json", "application/vnd.docker.image.rootfs.diff.tar.gzip")
_OCI_PARTS = ("application/vnd.oci.image.config.v1+json", "application/vnd.oci.image.layer.v1.tar+gzip")


def digest(data: bytes) -> str:
    return "sha256:" + hashlib.sha256(data).hexdigest()


@dataclass(frozen=True, slots=True)
class Built:
    """A manifest, ready to be put, and its blobs by digest."""

    raw: bytes
    media_type: str
    blobs: dict[str, bytes] = field(default_factory=dict)

    @property
    def digest(self) -> str:
        return digest(self.raw)

    @property
    def config_digest(self) -> str:
        return str(json.loads(self.raw)["config"]["digest"])

    @property
    def layer_ids(self) -> list[str]:
        return [layer["digest"].removeprefix("sha256:")[:12] for layer in json.loads(self.raw)["layers"]]


def busybox_layer() -> bytes:
    """A root file system of one static busybox."""
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w") as tar:
        for name in ("bin", "tmp", "data"):
            entry = tarfile.TarInfo(name)
            entry.type, entry.mode = tarfile.DIRTYPE, 0o755
            tar.addfile(entry)
        binary = Path("/usr/bin/busybox").read_bytes()
        entry = tarfile.TarInfo("bin/busybox")
        entry.mode, entry.size = 0o755, len(binary)
        tar.addfile(entry, io.BytesIO(binary))
        for applet in ("sh", "cat", "echo", "sleep", "ls", "tty", "httpd", "wget", "ip"):
            link = tarfile.TarInfo(f"bin/{applet}")
            link.type, link.linkname = tarfile.SYMTYPE, "busybox"
            tar.addfile(link)
    return out.getvalue()


def file_layer(name: str, text: str) -> bytes:
    """A layer that adds one file."""
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w") as tar:
        entry = tarfile.TarInfo(name)
        entry.mode, entry.size = 0o644, len(text)
        tar.addfile(entry, io.BytesIO(text.encode()))
    return out.getvalue()


def build(
    layers: list[bytes],
    *,
    empty_entries: int = 2,
    history: list[dict[str, Any]] | None = None,
    media_type: str = SCHEMA2,
    **config: Any,
) -> Built:
    """An image for linux/amd64 with one history entry per layer and some that change no file."""
    zipped = [gzip.compress(layer, compresslevel=1, mtime=0) for layer in layers]
    default: list[dict[str, Any]] = [
        {"created": "2026-01-01T00:00:00Z", "created_by": f"ADD {i}"} for i in range(len(layers))
    ]
    default += [{"created_by": f"ENV E{i}=1", "empty_layer": True} for i in range(empty_entries)]
    document = {
        "architecture": "amd64",
        "os": "linux",
        "created": "2026-01-01T00:00:00Z",
        "config": {"Cmd": ["sh"], "Env": ["PATH=/bin"], **config},
        "rootfs": {"type": "layers", "diff_ids": [digest(layer) for layer in layers]},
        "history": default if history is None else history,
    }
    raw_config = json.dumps(document).encode()
    config_type, layer_type = _SCHEMA2_PARTS if media_type == SCHEMA2 else _OCI_PARTS
    manifest = {
        "schemaVersion": 2,
        "mediaType": media_type,
        "config": {"mediaType": config_type, "size": len(raw_config), "digest": digest(raw_config)},
        "layers": [{"mediaType": layer_type, "size": len(blob), "digest": digest(blob)} for blob in zipped],
    }
    return Built(json.dumps(manifest).encode(), media_type, {digest(blob): blob for blob in [raw_config, *zipped]})


def manifest_list(built: Built, *, architecture: str = "amd64") -> Built:
    """A list with the image for one platform."""
    platform = {"os": "linux", "architecture": architecture}
    entry = {"mediaType": built.media_type, "size": len(built.raw), "digest": built.digest, "platform": platform}
    raw = json.dumps({"schemaVersion": 2, "mediaType": MANIFEST_LIST, "manifests": [entry]}).encode()
    return Built(raw, MANIFEST_LIST)


def push(client: httpx.Client, repository: str, reference: str, built: Built) -> None:
    """Uploads blobs and manifest to a real registry."""
    for name, blob in built.blobs.items():
        if client.head(f"/v2/{repository}/blobs/{name}").status_code != 200:
            location = client.post(f"/v2/{repository}/blobs/uploads/").headers["location"]
            client.put(httpx.URL(location).copy_add_param("digest", name), content=blob).raise_for_status()
    headers = {"content-type": built.media_type}
    client.put(f"/v2/{repository}/manifests/{reference}", content=built.raw, headers=headers).raise_for_status()
