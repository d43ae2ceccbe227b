"""The base image is the same every time, complete, and of the kind that a VCH pulls."""

import gzip
import hashlib
import io
import json
import tarfile
from pathlib import Path

import pytest

from imagepipe.errors import UnavailableError
from imagepipe.sandbox import baseimage


def program(folder: Path, content: str, *, name: str = "busybox") -> None:
    folder.mkdir(exist_ok=True)
    (folder / name).write_text(content)
    (folder / name).chmod(0o755)


@pytest.fixture
def image(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> baseimage.BaseImage:
    program(tmp_path / "bin", "#!/bin/sh\nprintf 'bin/busybox\\nbin/sh\\nusr/sbin/httpd\\nlinuxrc\\n'\n")
    monkeypatch.setenv("PATH", f"{tmp_path / 'bin'}:/bin:/usr/bin")
    return baseimage.make()


def test_every_digest_and_size_is_that_of_the_bytes(image: baseimage.BaseImage) -> None:
    manifest, config = json.loads(image.manifest), json.loads(image.config)
    for blob, descriptor in ((image.config, manifest["config"]), (image.layer, manifest["layers"][0])):
        assert descriptor["digest"] == f"sha256:{hashlib.sha256(blob).hexdigest()}"
        assert descriptor["size"] == len(blob)
    assert config["rootfs"]["diff_ids"] == [f"sha256:{hashlib.sha256(gzip.decompress(image.layer)).hexdigest()}"]


def test_it_is_docker_schema_2_with_one_history_entry_per_layer(image: baseimage.BaseImage) -> None:
    manifest, config = json.loads(image.manifest), json.loads(image.config)
    assert manifest["mediaType"] == "application/vnd.docker.distribution.manifest.v2+json"
    assert len(config["history"]) == len(manifest["layers"]) == 1


def test_applets_are_links_to_busybox_in_folders_that_come_before_them(image: baseimage.BaseImage) -> None:
    with tarfile.open(fileobj=io.BytesIO(gzip.decompress(image.layer))) as tar:
        members = {member.name: member for member in tar.getmembers()}
        order = tar.getnames()
    assert members["usr/sbin/httpd"].linkname == members["bin/sh"].linkname == "/bin/busybox"
    assert members["bin/busybox"].isreg()
    assert members["tmp"].mode == 0o1777
    assert order.index("usr") < order.index("usr/sbin") < order.index("usr/sbin/httpd")


def test_the_same_busybox_gives_the_same_digest(image: baseimage.BaseImage) -> None:
    assert baseimage.make().digest == image.digest


def test_no_busybox_is_said(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(UnavailableError, match="busybox is not installed"):
        baseimage.make()


def test_a_shared_busybox_is_refused(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    program(tmp_path / "bin", "\x7fELF  /lib64/ld-linux-x86-64.so.2\0")
    monkeypatch.setenv("PATH", str(tmp_path / "bin"))
    with pytest.raises(UnavailableError, match="not static"):
        baseimage.make()
