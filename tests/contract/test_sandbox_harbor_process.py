"""The stand-in as a process behind TLS, with real clients, restarts and large blobs; and mounted in-process."""

import asyncio
import json
import os
import signal
import ssl
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx
import pytest

from imagepipe.sandbox.harbor import HarborConfig, create_app
from tests.contract.harbor_world import ADMIN, PASSWORD, PROJECT, HarborClient, basic, config_for, digest_of
from tests.contract.registry_worlds import Server, docker_registry, free_port
from tests.contract.vch_world import Authority

R = f"{PROJECT}/hello"
READY_S = 15.0
MIB = 1024 * 1024


@pytest.fixture(scope="module")
def backend(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    with docker_registry(tmp_path_factory.mktemp("registry")) as server:
        yield server


@pytest.fixture
def config_file(backend: Server, tmp_path: Path) -> Path:
    certs = tmp_path / "certs"
    certs.mkdir()
    names = tmp_path / "server.pem", tmp_path / "server.key", certs / "ca.crt"
    Authority("harbor test CA").issue("harbor", "127.0.0.1", *names)
    (tmp_path / "password").write_text(f"{PASSWORD}\n")
    port = free_port()
    config = {
        "listen": {"host": "127.0.0.1", "port": port},
        "tls": {"cert_file": str(names[0]), "key_file": str(names[1])},
        "external_url": f"https://127.0.0.1:{port}",
        "flavour": "harbor",
        "version": "2.15.2",
        "backend_url": f"http://{backend.host}",
        "state_file": str(tmp_path / "harbor.db"),
        "admin_password_file": str(tmp_path / "password"),
        "now_offset_s": 0,
        "faults": {},
        "faults_file": None,
    }
    file = tmp_path / "harbor.json"
    file.write_text(json.dumps(config))
    return file


@contextmanager
def running(config_file: Path) -> Iterator[tuple[subprocess.Popen[bytes], HarborClient]]:
    """Runs the stand-in as the sandbox does and yields it with a client that trusts its CA."""
    command = [sys.executable, "-m", "imagepipe.sandbox.harbor", "--config", str(config_file)]
    url = json.loads(config_file.read_text())["external_url"]
    trust = ssl.create_default_context(cafile=config_file.parent / "certs/ca.crt")
    with (
        subprocess.Popen(command) as process,
        httpx.Client(base_url=url, verify=trust, timeout=60, trust_env=False) as client,
    ):
        try:
            harbor = HarborClient(client)
            wait_until_ready(harbor)
            yield process, harbor
        finally:
            process.send_signal(signal.SIGTERM)
            process.wait(timeout=10)


def wait_until_ready(harbor: HarborClient) -> None:
    deadline = time.monotonic() + READY_S
    while True:
        try:
            harbor.ok("GET", "/ping", None)
        except httpx.TransportError:
            assert time.monotonic() < deadline, "the stand-in did not get ready"
            time.sleep(0.05)
        else:
            return


def test_a_restart_loses_nothing(config_file: Path) -> None:
    with running(config_file) as (_, harbor):
        harbor.add_project()
        robot = harbor.add_robot("ci", "repository:push")
        token = harbor.bearer(robot, f"repository:{R}:pull")
        image = harbor.push(R, "v1", login=robot)
        harbor.sign(R, image)
    with running(config_file) as (_, harbor):
        assert harbor.send("HEAD", f"/v2/{R}/blobs/{digest_of(b'layer')}", headers=token).status_code == 200
        assert harbor.get_manifest(R, "v1", robot).headers["docker-content-digest"] == image.digest
        artifact = harbor.ok("GET", f"/projects/{PROJECT}/repositories/hello/artifacts/v1").json()
        assert [each["type"] for each in artifact["accessories"]] == ["signature.cosign"]


def test_a_killed_process_has_lost_nothing_either(config_file: Path) -> None:
    with running(config_file) as (process, harbor):
        harbor.add_project()
        process.kill()
        process.wait(timeout=10)
    with running(config_file) as (_, harbor):
        assert harbor.ok("GET", f"/projects/{PROJECT}").json()["name"] == PROJECT


def test_it_stops_at_a_sigterm_even_with_a_connection_open(config_file: Path) -> None:
    with running(config_file) as (process, harbor):
        harbor.add_project()
        with harbor.http.stream("GET", "/api/v2.0/ping"):
            started = time.monotonic()
            process.send_signal(signal.SIGTERM)
            assert process.wait(timeout=10) in {0, -signal.SIGTERM}
            # A third of a second when nothing else runs; one that waits for its clients would never end.
            assert time.monotonic() - started < 5


def test_its_state_is_readable_by_its_owner_only_and_holds_no_password(config_file: Path) -> None:
    with running(config_file) as (_, harbor):
        _, secret = _robot_of(harbor)
    state = config_file.parent / "harbor.db"
    assert state.stat().st_mode & 0o777 == 0o600
    content = state.read_bytes()
    assert PASSWORD.encode() not in content
    assert secret.encode() not in content


def _robot_of(harbor: HarborClient) -> tuple[str, str]:
    harbor.add_project()
    return harbor.add_robot("ci", "repository:push")


def test_a_large_blob_streams_through_with_little_memory(config_file: Path) -> None:
    content = os.urandom(MIB)
    with running(config_file) as (process, harbor):
        harbor.add_project()
        started = harbor.send("POST", f"/v2/{R}/blobs/uploads/", ADMIN)
        patched = harbor.send("PATCH", started.headers["location"], ADMIN, content=(content for _ in range(192)))
        digest = digest_of(content * 192)
        done = harbor.send("PUT", f"{patched.headers['location']}&digest={digest}", ADMIN)
        assert done.status_code == 201
        read = harbor.send("GET", f"/v2/{R}/blobs/{digest}", ADMIN)
        assert digest_of(read.content) == digest
        peak = next(line for line in Path(f"/proc/{process.pid}/status").read_text().splitlines() if "VmHWM" in line)
    assert int(peak.split()[1]) < 120 * 1024


@pytest.mark.interop
def test_skopeo_pushes_and_pulls_through_it(config_file: Path, tmp_path: Path) -> None:
    source = _layout(tmp_path / "source")
    certs = str(tmp_path / "certs")
    with running(config_file) as (_, harbor):
        harbor.add_project()
        login = harbor.add_robot("ci", "repository:push")
        reference = f"docker://{harbor.http.base_url.host}:{harbor.http.base_url.port}/{R}:v1"
        credentials = ["--authfile", str(_authfile(tmp_path, harbor, login))]
        _skopeo("copy", *credentials, "--dest-cert-dir", certs, f"oci:{source}:v1", reference)
        digest = harbor.get_manifest(R, "v1").headers["docker-content-digest"]
        inspected = json.loads(_skopeo("inspect", *credentials, "--cert-dir", certs, reference))
        assert inspected["Digest"] == digest
        assert inspected["RepoTags"] == ["v1"]
        target = f"oci:{tmp_path / 'target'}:v1"
        _skopeo("copy", *credentials, "--src-cert-dir", certs, reference, target)
        pulled = json.loads((tmp_path / "target/index.json").read_text())
        assert pulled["manifests"][0]["digest"] == digest
        # From another repository the layer is mounted, not sent again.
        other = reference.replace("/hello:", "/other:")
        both = ["--src-cert-dir", certs, "--dest-cert-dir", certs]
        _skopeo("copy", *credentials, *both, reference, other)
        denied = _skopeo("copy", *credentials, *both, reference, other.replace(PROJECT, "library"), fails=True)
        assert "unauthorized to access repository: library/other, action: push" in denied


def _skopeo(command: str, *arguments: str, fails: bool = False) -> str:
    done = subprocess.run(
        ["skopeo", command, *arguments], capture_output=True, text=True, timeout=60, check=False, env=os.environ
    )
    assert (done.returncode != 0) is fails, done.stderr
    return done.stderr if fails else done.stdout


def _authfile(folder: Path, harbor: HarborClient, login: tuple[str, str]) -> Path:
    host = f"{harbor.http.base_url.host}:{harbor.http.base_url.port}"
    file = folder / "auth.json"
    file.write_text(json.dumps({"auths": {host: {"auth": basic(login).removeprefix("Basic ")}}}))
    return file


def _layout(folder: Path) -> Path:
    """Writes an OCI layout with one small image."""
    blobs = folder / "blobs/sha256"
    blobs.mkdir(parents=True)

    def add(content: bytes, media_type: str) -> dict[str, object]:
        digest = digest_of(content)
        (blobs / digest.removeprefix("sha256:")).write_bytes(content)
        return {"mediaType": media_type, "digest": digest, "size": len(content)}

    layer = add(b"\0" * 1024, "application/vnd.oci.image.layer.v1.tar")
    image = {
        "architecture": "amd64",
        "os": "linux",
        "config": {},
        "rootfs": {"type": "layers", "diff_ids": [layer["digest"]]},
    }
    config = add(json.dumps(image).encode(), "application/vnd.oci.image.config.v1+json")
    manifest_type = "application/vnd.oci.image.manifest.v1+json"
    document = {"schemaVersion": 2, "mediaType": manifest_type, "config": config, "layers": [layer]}
    entry = add(json.dumps(document).encode(), manifest_type)
    entry["annotations"] = {"org.opencontainers.image.ref.name": "v1"}
    (folder / "index.json").write_text(json.dumps({"schemaVersion": 2, "manifests": [entry]}))
    (folder / "oci-layout").write_text('{"imageLayoutVersion": "1.0.0"}')
    return folder


def test_the_app_is_used_in_process_without_a_socket(backend: Server, tmp_path: Path) -> None:
    async def push() -> list[int]:
        app = create_app(config_for(tmp_path, f"http://{backend.host}", external_url="https://harbor.test"))
        transport = httpx.ASGITransport(app)
        headers = {"Authorization": basic(ADMIN)}

        async def parts() -> AsyncIterator[bytes]:
            yield b"in "
            yield b"process"

        async with (
            app.router.lifespan_context(app),
            httpx.AsyncClient(transport=transport, base_url="https://harbor.test", headers=headers) as client,
        ):
            started = await client.post("/v2/library/a/blobs/uploads/")
            location = started.headers["location"]
            assert location.startswith("https://harbor.test/v2/library/a/blobs/uploads/")
            patched = await client.patch(location, content=parts())
            done = await client.put(f"{patched.headers['location']}&digest={digest_of(b'in process')}")
            return [started.status_code, patched.status_code, done.status_code]

    assert asyncio.run(push()) == [202, 202, 201]


def test_a_setting_that_nobody_knows_is_refused(tmp_path: Path) -> None:
    (tmp_path / "password").write_text(PASSWORD)
    data = {"backend_url": "http://x", "state_file": "s", "admin_password_file": str(tmp_path / "password")}
    assert HarborConfig.parse(data).version == "2.15.2"
    with pytest.raises(ValueError, match="unknown keys: verison"):
        HarborConfig.parse(data | {"verison": "2.14"})
    with pytest.raises(ValueError, match="flavour is 'quay'"):
        HarborConfig.parse(data | {"flavour": "quay"})


def test_the_flavour_of_vic_is_not_served_by_this_app(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="flavour 'vic' is not served"):
        create_app(config_for(tmp_path, "http://x", flavour="vic"))
