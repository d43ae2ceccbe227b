"""Docker's own clients pull what we push, from a VCH as from an engine."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import docker
import pytest
from docker.tls import TLSConfig

from tests.interop.conftest import TAG
from tests.interop.world import Answer, Box, peer, run

pytestmark = [pytest.mark.sandbox, pytest.mark.interop]


@pytest.fixture(autouse=True)
def only_the_given_ca(monkeypatch: pytest.MonkeyPatch) -> None:
    """Keeps docker-py from trusting the machine's CA bundle in place of the target's own CA."""
    for name in ("REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE"):
        monkeypatch.delenv(name, raising=False)


def docker_cli(box: Box, target: str, *words: str, cert_path: Path | None = None) -> Answer:
    row = box.document["targets"][target]
    env = box.harbor.environment | {
        "DOCKER_HOST": row["host"],
        "DOCKER_TLS_VERIFY": "1",
        "DOCKER_CERT_PATH": str(cert_path or row["cert_path"]),
    }
    return run([peer("docker"), *words], env)


@contextmanager
def docker_py(box: Box, target: str) -> Iterator[docker.DockerClient]:
    row = box.document["targets"][target]
    folder = row["cert_path"]
    tls = TLSConfig(client_cert=(f"{folder}/cert.pem", f"{folder}/key.pem"), ca_cert=f"{folder}/ca.pem", verify=True)
    client = docker.DockerClient(base_url=row["host"], tls=tls, version="auto", timeout=60)
    try:
        yield client
    finally:
        client.close()


def test_the_docker_command_pulls_from_a_vch_by_tag(box: Box, hello: str) -> None:
    repository, _, digest = hello.partition("@")
    answer = docker_cli(box, "vch-a", "pull", f"{repository}:{TAG}")
    assert answer.code == 0, answer.text
    assert f"Digest: {digest}" in answer.out
    inspected = docker_cli(box, "vch-a", "image", "inspect", hello)
    assert inspected.code == 0, inspected.text
    assert hello in inspected.json()[0]["RepoDigests"]


def test_the_docker_command_pulls_from_an_engine_by_digest(box: Box, hello: str) -> None:
    answer = docker_cli(box, "engine-a", "pull", hello)
    assert answer.code == 0, answer.text
    assert f"Digest: {hello.partition('@')[2]}" in answer.out


def test_docker_py_pulls_from_a_vch_by_tag(box: Box, hello: str) -> None:
    assert box.harbor.login is not None
    username, password = box.harbor.login
    with docker_py(box, "vch-b") as client:
        client.images.pull(hello.partition("@")[0], tag=TAG, auth_config={"username": username, "password": password})
        assert hello in client.images.get(hello).attrs["RepoDigests"]


def test_a_vch_pull_without_login_is_refused_in_words_that_the_docker_command_shows(box: Box, hello: str) -> None:
    empty = box.folder / "nobody"
    empty.mkdir()
    answer = docker_cli(box, "vch-b", "--config", str(empty), "pull", box.repository("base:1"))
    assert answer.code != 0
    assert "Unexpected http code: 401" in answer.err, answer.text


def test_a_vch_turns_the_docker_command_away_without_its_own_certificate(box: Box) -> None:
    answer = docker_cli(box, "vch-a", "info", cert_path=box.foreign_client("vch-a"))
    assert answer.code != 0
    assert "tls" in answer.text.lower(), answer.text
