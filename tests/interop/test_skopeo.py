"""skopeo reads and copies what we push, and every digest stays what it was."""

from pathlib import Path

import pytest

from imagepipe.model.digest import Digest
from tests.interop.conftest import TAG
from tests.interop.world import Box

pytestmark = [pytest.mark.sandbox, pytest.mark.interop]


def test_skopeo_names_the_digest_that_run_printed(box: Box, hello: str) -> None:
    answer = box.harbor.skopeo("inspect", *_login(box, ""), f"docker://{hello}")
    assert answer.code == 0, answer.text
    repository, _, digest = hello.partition("@")
    inspected = answer.json()
    assert (inspected["Name"], inspected["Digest"]) == (repository, digest)
    assert TAG in inspected["RepoTags"]
    assert (inspected["Os"], inspected["Architecture"]) == ("linux", "amd64")


def test_the_digest_that_run_printed_is_that_of_the_bytes_behind_the_tag(box: Box, hello: str) -> None:
    assert hello.endswith(str(box.harbor.digest(f"{box.repository('hello')}:{TAG}")))


def test_skopeo_and_imagepipe_agree_on_the_image_id(box: Box, hello: str) -> None:
    answer = box.harbor.skopeo("inspect", "--raw", *_login(box, ""), f"docker://{hello}")
    (platform,) = box.imagepipe("digest", hello, "--json").json()["platforms"]
    assert answer.json()["config"]["digest"] == platform["image_id"]


def test_skopeo_copies_the_image_to_a_folder_unchanged(box: Box, hello: str, tmp_path: Path) -> None:
    answer = box.harbor.skopeo("copy", *_login(box, "src-"), f"docker://{hello}", f"dir:{tmp_path}")
    assert answer.code == 0, answer.text
    assert hello.endswith(str(Digest.of((tmp_path / "manifest.json").read_bytes())))


def test_skopeo_copies_the_image_to_another_repository_unchanged(box: Box, hello: str) -> None:
    copy = f"{box.repository('hello-copy')}:1"
    login = (*_login(box, "src-"), *_login(box, "dest-"))
    answer = box.harbor.skopeo("copy", *login, f"docker://{hello}", f"docker://{copy}")
    assert answer.code == 0, answer.text
    assert hello.endswith(str(box.harbor.digest(copy)))


def _login(box: Box, side: str) -> tuple[str, ...]:
    authfile = f"--{side}authfile" if side else "--authfile"
    return authfile, str(box.harbor.docker_config / "config.json"), f"--{side}cert-dir", str(box.harbor.cert_dir)
