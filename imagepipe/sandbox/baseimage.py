"""The base image of the sandbox: the machine's own static busybox, as a Docker schema 2 image that a VCH can pull.

The same busybox always gives the same digest: no time, owner or order of the machine enters it.
"""

import gzip
import hashlib
import io
import json
import platform
import re
import shutil
import tarfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import httpx

from imagepipe.errors import UnavailableError
from imagepipe.sandbox.processes import run

__all__ = ["BASE_REPOSITORY", "BASE_TAG", "BaseImage", "make", "push"]

BASE_REPOSITORY = "es-sandbox/base"
BASE_TAG = "1"
# Source: distribution v2.8 docs/spec/manifest-v2-2.md, "Media Types"; a VCH reads nothing newer.
_MANIFEST = "application/vnd.docker.distribution.manifest.v2+json"
_CONFIG = "application/vnd.docker.container.image.v1+json"
_LAYER = "application/vnd.docker.image.rootfs.diff.tar.gzip"
# A dynamic program names its loader near its start (Source: elf(5), PT_INTERP), and an image has none.
_INTERPRETER = re.compile(rb"/lib[0-9a-z]*/ld-[^\0]+\0")
_ELF_HEAD_BYTES = 4096
_EPOCH = "1970-01-01T00:00:00Z"
_ACCOUNTS = {
    "etc/passwd": b"root:x:0:0:root:/root:/bin/sh\nnobody:x:65534:65534:nobody:/:/bin/false\n",
    "etc/group": b"root:x:0:\nnogroup:x:65534:\n",
}


@dataclass(frozen=True, slots=True)
class BaseImage:
    """An image's manifest and blobs: `layer` gzipped, `config` and `manifest` as JSON bytes."""

    manifest: bytes
    config: bytes
    layer: bytes

    @property
    def digest(self) -> str:
        """Returns the manifest's digest."""
        return _digest(self.manifest)


def make() -> BaseImage:
    """Builds the image from the busybox that is installed.

    Raises:
        UnavailableError: There is no busybox, it is not static, or it cannot name its applets.
    """
    program = shutil.which("busybox")
    if program is None:
        raise UnavailableError("busybox is not installed", hint="install the package busybox-static")
    content = Path(program).read_bytes()
    if _INTERPRETER.search(content, 0, _ELF_HEAD_BYTES):
        raise UnavailableError(f"{program} is not static", hint="install the package busybox-static")
    applets = run([program, "--list-full"]).split()
    archive = io.BytesIO()
    with tarfile.open(fileobj=archive, mode="w", format=tarfile.USTAR_FORMAT) as tar:
        for member, data in _files(content, applets):
            tar.addfile(member, io.BytesIO(data) if data else None)
    return _image(archive.getvalue())


def _files(busybox: bytes, applets: list[str]) -> Iterator[tuple[tarfile.TarInfo, bytes]]:
    links = sorted(name for name in set(applets) if Path(name).name != "busybox")
    folders = {"bin", "dev", "etc", "proc", "root", "sys", "tmp", *(str(Path(name).parent) for name in links)}
    parents = {str(parent) for name in folders for parent in Path(name).parents if str(parent) != "."}
    for name in sorted(folders | parents):
        yield _member(name, tarfile.DIRTYPE, 0o1777 if name == "tmp" else 0o755), b""
    yield _member("bin/busybox", tarfile.REGTYPE, 0o755, size=len(busybox)), busybox
    for name, text in _ACCOUNTS.items():
        yield _member(name, tarfile.REGTYPE, 0o644, size=len(text)), text
    for name in links:
        link = _member(name, tarfile.SYMTYPE, 0o777)
        link.linkname = "/bin/busybox"
        yield link, b""


def _member(name: str, kind: bytes, mode: int, *, size: int = 0) -> tarfile.TarInfo:
    member = tarfile.TarInfo(name)
    member.type, member.mode, member.size = kind, mode, size
    return member


def _image(rootfs: bytes) -> BaseImage:
    layer = gzip.compress(rootfs, compresslevel=1, mtime=0)
    # Debian names machines amd64 and arm64, as OCI does; Python says x86_64 and aarch64.
    architecture = {"x86_64": "amd64", "aarch64": "arm64"}.get(platform.machine(), platform.machine())
    config = _json(
        {
            "architecture": architecture,
            "os": "linux",
            "created": _EPOCH,
            "config": {"Cmd": ["/bin/sh"], "Env": ["PATH=/usr/sbin:/usr/bin:/sbin:/bin"]},
            "rootfs": {"type": "layers", "diff_ids": [_digest(rootfs)]},
            "history": [{"created": _EPOCH, "created_by": "busybox-static"}],
        }
    )
    manifest = _json(
        {
            "schemaVersion": 2,
            "mediaType": _MANIFEST,
            "config": {"mediaType": _CONFIG, "size": len(config), "digest": _digest(config)},
            "layers": [{"mediaType": _LAYER, "size": len(layer), "digest": _digest(layer)}],
        }
    )
    return BaseImage(manifest, config, layer)


def push(image: BaseImage, client: httpx.Client, credentials: tuple[str, str]) -> str:
    """Pushes the image to `es-sandbox/base:1` and returns the digest that the registry reports.

    Args:
        image: What `make` returned.
        client: Speaks to the registry; its base URL is the registry's.
        credentials: User name and password.

    Raises:
        UnavailableError: The registry refused.
    """
    try:
        return _push(image, client, credentials)
    except httpx.HTTPError as error:
        raise UnavailableError(f"push {BASE_REPOSITORY}:{BASE_TAG}: {error or type(error).__name__}") from None


def _push(image: BaseImage, client: httpx.Client, credentials: tuple[str, str]) -> str:
    scope = f"repository:{BASE_REPOSITORY}:pull,push"
    answer = client.get("/service/token", params={"service": "harbor-registry", "scope": scope}, auth=credentials)
    headers = {"Authorization": f"Bearer {_checked(answer).json()['token']}"}
    for blob in (image.config, image.layer):
        started = _checked(client.post(f"/v2/{BASE_REPOSITORY}/blobs/uploads/", headers=headers))
        place = httpx.URL(started.headers["Location"]).copy_merge_params({"digest": _digest(blob)})
        _checked(client.put(place, content=blob, headers=headers))
    headers["Content-Type"] = _MANIFEST
    manifest = client.put(f"/v2/{BASE_REPOSITORY}/manifests/{BASE_TAG}", content=image.manifest, headers=headers)
    return _checked(manifest).headers["Docker-Content-Digest"]


def _checked(answer: httpx.Response) -> httpx.Response:
    if answer.is_success:
        return answer
    said = f"{answer.request.method} {answer.request.url.path}: {answer.status_code} {answer.text.strip()[:300]}"
    raise UnavailableError(f"push {BASE_REPOSITORY}:{BASE_TAG}: {said}")


def _json(document: dict[str, object]) -> bytes:
    return json.dumps(document, separators=(",", ":")).encode()


def _digest(data: bytes) -> str:
    return f"sha256:{hashlib.sha256(data).hexdigest()}"
