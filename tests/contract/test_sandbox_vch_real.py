"""The facade in front of a real dockerd and a real registry: docker CLI and docker-py over mutual TLS."""

import socket
import ssl
import subprocess
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import docker
import httpx
import pytest
from docker.tls import TLSConfig

from tests.contract.vch_images import OCI, Built, build, busybox_layer, file_layer, manifest_list, push
from tests.contract.vch_world import World, running_world, wait_for

pytestmark = pytest.mark.sandbox


def image(text: str = "one\n", **more: Any) -> Built:
    return build([busybox_layer(), file_layer("data/a", text)], **more)


@pytest.fixture(scope="module")
def world() -> Iterator[World]:
    with running_world() as running:
        yield running


@pytest.fixture(scope="module")
def app(world: World) -> Built:
    """`proj/app:1.0` in the registry and, pulled by tag, on the VCH."""
    built = image(Labels={"revision": "abc"})
    put(world, "proj/app", "1.0", built)
    assert world.docker("pull", f"{world.registry}/proj/app:1.0").returncode == 0
    return built


@pytest.fixture
def api(world: World, monkeypatch: pytest.MonkeyPatch) -> Iterator[docker.DockerClient]:
    for name in ("REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE"):  # requests prefers them to the CA that docker-py was given
        monkeypatch.delenv(name, raising=False)
    certs = world.client_certs
    tls = TLSConfig(
        client_cert=(str(certs / "cert.pem"), str(certs / "key.pem")), ca_cert=str(certs / "ca.pem"), verify=True
    )
    client = docker.DockerClient(base_url=f"tcp://{world.address}:2376", tls=tls, version="auto", timeout=60)
    yield client
    client.close()


@pytest.fixture
def sleeper(world: World, app: Built) -> Iterator[str]:
    """A running container, created by digest."""
    name = "sleeper"
    started = world.docker(
        *("run", "-d", "--name", name, f"{world.registry}/proj/app@{app.digest}"),
        *("sh", "-c", "echo out; echo err >&2; exec sleep 1000"),
    )
    assert started.returncode == 0, started.stderr
    yield name
    world.docker("rm", "-f", name)


def put(world: World, repository: str, tag: str, built: Built) -> None:
    with world.registry_client() as client:
        push(client, repository, tag, built)


def test_the_cli_pulls_by_tag_and_prints_the_manifests_digest(world: World) -> None:
    built = image("cli\n")
    put(world, "proj/cli", "1.0", built)

    pulled = world.docker("pull", f"{world.registry}/proj/cli:1.0")

    assert pulled.returncode == 0, pulled.stderr
    assert f"Digest: {built.digest}\n" in pulled.stdout
    assert "Status: Downloaded newer image for proj/cli:1.0\n" in pulled.stdout


def test_the_cli_is_refused_a_pull_by_digest(world: World, app: Built) -> None:
    refused = world.docker("pull", f"{world.registry}/proj/app@{app.digest}")

    assert refused.returncode == 1
    assert "Error while pulling image manifest: missing signature key" in refused.stderr


def test_the_cli_runs_by_digest_and_returns_the_exit_code(world: World, app: Built) -> None:
    name = f"{world.registry}/proj/app@{app.digest}"

    ran = world.docker("run", "--rm", name, "sh", "-c", "cat /data/a; exit 3")

    assert (ran.returncode, ran.stdout) == (3, "one\n")


def test_piped_input_ends_and_the_output_still_arrives(world: World, app: Built) -> None:
    text = "".join(f"line {i}\n" for i in range(20000))

    ran = world.docker("run", "--rm", "-i", f"{world.registry}/proj/app:1.0", "cat", text=text)

    assert (ran.returncode, ran.stdout == text) == (0, True)


def test_an_interactive_terminal_works(world: World, app: Built) -> None:
    words = ["docker", "--tlsverify", "-H", f"tcp://{world.address}:2376"]
    for flag, file in (("--tlscacert", "ca"), ("--tlscert", "cert"), ("--tlskey", "key")):
        words += [flag, str(world.client_certs / f"{file}.pem")]
    command = " ".join([*words, "run", "--rm", "-it", f"{world.registry}/proj/app:1.0", "tty"])

    ran = subprocess.run(
        ["script", "-qec", command, "/dev/null"], capture_output=True, text=True, timeout=60, check=False, input=""
    )

    assert "/dev/pts/0" in ran.stdout


def test_logs_come_on_stdout_whatever_stream_they_were_written_to(world: World, sleeper: str) -> None:
    wait_for(lambda: "err" in world.docker("logs", sleeper).stdout)

    logs = world.docker("logs", sleeper)

    assert (sorted(logs.stdout.split()), logs.stderr) == (["err", "out"], "")


@pytest.mark.parametrize("stream", ["stdout", "stderr"])
def test_there_is_one_log_whichever_stream_is_asked_for(
    world: World, api: docker.DockerClient, sleeper: str, stream: str
) -> None:
    wait_for(lambda: b"err" in api.api.logs(sleeper))

    logs = api.api.logs(sleeper, stdout=stream == "stdout", stderr=stream == "stderr")

    assert sorted(logs.split()) == [b"err", b"out"]
    with world.client() as client:
        assert client.get(f"/containers/{sleeper}/logs").status_code == 400


def test_what_dockerd_does_as_a_vch_does_passes_through(world: World, api: docker.DockerClient, app: Built) -> None:
    name, began = f"{world.registry}/proj/app:1.0", time.time()
    created = api.api.create_container(name, ["sleep", "1000"], name="plain")["Id"]
    with world.client() as client:

        def statuses(*calls: str) -> list[int]:
            return [client.request(*call.split(" ")).status_code for call in calls]

        path = f"/v1.25/containers/{created}"
        assert statuses(f"POST {path}/start", f"POST {path}/rename?name=other") == [204, 204]
        assert statuses(f"POST {path}/resize?h=10&w=10", f"GET {path}/stats?stream=0") == [200, 200]
        assert client.get(f"{path}/changes").status_code == 200
        assert statuses(f"POST {path}/restart?t=0", f"POST {path}/kill") == [204, 204]
        assert client.post(f"{path}/wait").json()["StatusCode"] == 137
        assert client.post("/networks/create", json={"Name": "extra"}).status_code == 201
        assert client.post("/networks/extra/connect", json={"Container": "other"}).status_code == 200
        assert set(api.api.inspect_container("other")["NetworkSettings"]["Networks"]) == {"bridge", "extra"}
        seen = list(api.api.events(since=int(began) - 1, until=int(time.time()) + 1, decode=True))
        api.api.remove_container("other")
        assert statuses("DELETE /networks/extra", "GET /networks/extra") == [204, 404]
    mine = [event for event in seen if event["Actor"]["ID"] == created]
    named = ("create", "start", "Rename", "restart", "die")
    assert [event["Action"] for event in mine if event["Action"] in {"create", "Rename", "restart"}] == [
        *("create", "Rename", "restart")
    ]
    assert {event["from"] for event in mine if event["Action"] in named} == {name}
    assert {event["Type"] for event in seen} <= {"container", "image"}


def test_exec_pipes_both_ways(world: World, sleeper: str) -> None:
    ran = world.docker("exec", "-i", sleeper, "sh", "-c", "cat; echo done; exit 4", text="in\n")

    assert (ran.returncode, ran.stdout) == (4, "in\ndone\n")


def test_a_running_container_is_not_removed_without_force(world: World, sleeper: str) -> None:
    refused = world.docker("rm", sleeper)

    text = "You cannot remove a running container. Stop the container before attempting removal or use -f"
    assert text in refused.stderr


def test_an_image_in_use_is_not_removed(world: World, sleeper: str) -> None:
    assert " in use by " in world.docker("rmi", f"{world.registry}/proj/app:1.0").stderr


def test_docker_py_pulls_inspects_and_runs_by_digest(world: World, api: docker.DockerClient) -> None:
    built, repository = image("py\n", Labels={"revision": "def"}), f"{world.registry}/proj/py"
    put(world, "proj/py", "2.0", built)

    lines = list(api.api.pull(repository, tag="2.0", stream=True, decode=True))
    found = api.images.get(f"{repository}@{built.digest}").attrs

    assert {"status": f"Digest: {built.digest}"} in lines
    assert not [line for line in lines if "error" in line]
    ids = {line["id"] for line in lines if "id" in line}
    assert ids - {"a3ed95caeb02"} == set(built.layer_ids)
    assert f"{repository}@{built.digest}" in found["RepoDigests"]
    assert found["Config"]["Labels"] == {"revision": "def"}
    assert found["RootFS"] == {"Type": "layers"}


def test_docker_py_is_refused_a_pull_by_digest_inside_the_stream(
    world: World, api: docker.DockerClient, app: Built
) -> None:
    lines = list(api.api.pull(f"{world.registry}/proj/app", tag=app.digest, stream=True, decode=True))

    assert lines[-1]["error"] == "Error while pulling image manifest: missing signature key"


def test_docker_py_creates_starts_waits_and_reads_logs(world: World, api: docker.DockerClient, app: Built) -> None:
    name = f"{world.registry}/proj/app@{app.digest}"
    created = api.api.create_container(name, ["sh", "-c", "cat /data/a; exit 5"])["Id"]
    api.api.start(created)

    assert api.api.wait(created)["StatusCode"] == 5
    assert api.api.logs(created) == b"one\n"
    found = api.api.inspect_container(created)
    assert (found["Config"]["Image"], found["HostConfig"]["Memory"]) == (name, 2048)
    assert ":" not in found["Image"]
    assert f"sha256:{found['Image']}" == api.images.get(name).id
    [listed] = [c for c in api.api.containers(all=True) if c["Id"] == created]
    assert listed["Image"] == name
    assert {"ImageID", "Mounts", "NetworkSettings", "HostConfig"}.isdisjoint(listed)
    api.api.remove_container(created)


def test_docker_py_execs_and_attaches(world: World, api: docker.DockerClient, sleeper: str) -> None:
    started = api.api.exec_create(sleeper, ["echo", "hello"])["Id"]
    assert api.api.exec_start(started) == b"hello\n"
    assert api.api.exec_inspect(started)["ExitCode"] == 0

    name = f"{world.registry}/proj/app:1.0"
    created = api.api.create_container(name, ["cat"], stdin_open=True)["Id"]
    wire = api.api.attach_socket(created, params={"stdin": 1, "stdout": 1, "stream": 1})
    wire.settimeout(20)
    api.api.start(created)
    wire.sendall(b"typed\n")
    # read here: docker-py polls the socket although TLS may already hold the rest of a frame
    received = b""
    while not received.endswith(b"typed\n"):
        received += wire.recv(4096)
    wire._response.close()
    wire.close()
    api.api.remove_container(created, force=True)


def test_an_exec_in_a_stopped_container_is_500(world: World, api: docker.DockerClient, app: Built) -> None:
    created = api.api.create_container(f"{world.registry}/proj/app:1.0", ["true"], name="idle")["Id"]

    with pytest.raises(docker.errors.APIError) as refused:
        api.api.exec_create(created, ["true"])

    assert (refused.value.status_code, refused.value.explanation) == (
        500,
        "Server error from portlayer: container (idle) is not running",
    )
    api.api.remove_container(created)


def test_stopping_a_stopped_container_is_204(world: World, api: docker.DockerClient, app: Built) -> None:
    created = api.api.create_container(f"{world.registry}/proj/app:1.0", ["true"])["Id"]

    with world.client() as client:
        assert client.post(f"/containers/{created}/stop").status_code == 204
    api.api.remove_container(created)


def test_a_container_network_gives_a_container_its_own_address(
    world: World, api: docker.DockerClient, app: Built
) -> None:
    networks = {network["Name"]: network for network in api.api.networks()}
    assert {name: network["Driver"] for name, network in networks.items()} == {"bridge": "bridge", "public": "external"}
    assert networks["public"]["Scope"] == ""

    config = api.api.create_host_config(network_mode="public", port_bindings={8080: 8083})
    created = api.api.create_container(
        f"{world.registry}/proj/app:1.0", ["sleep", "1000"], ports=[8080], host_config=config
    )["Id"]
    api.api.start(created)
    settings = api.api.inspect_container(created)["NetworkSettings"]
    address = settings["Networks"]["public"]["IPAddress"]

    assert address.startswith("10.213.7.")
    assert (settings["IPAddress"], settings["Networks"]["public"]["NetworkID"]) == ("", "")
    assert settings["Ports"] == {"8080/tcp": [{"HostIp": address, "HostPort": "8083"}]}
    api.api.remove_container(created, force=True)


def test_a_port_on_the_bridge_answers_on_the_vchs_address(world: World, app: Built) -> None:
    name = f"{world.registry}/proj/app:1.0"
    started = world.docker(*("run", "-d", "--name", "web", "-p", "8082:80", name, "httpd", "-f", "-h", "/data"))
    assert started.returncode == 0, started.stderr

    wait_for(lambda: httpx.get(f"http://{world.address}:8082/a", timeout=5).text == "one\n", 10)
    world.docker("rm", "-f", "web")


def test_files_are_copied_in_and_out(world: World, sleeper: str) -> None:
    source, target = world.directory / "in.txt", world.directory / "out.txt"
    source.write_text("x" * 1_000_000)

    assert world.docker("cp", str(source), f"{sleeper}:/tmp/in.txt").returncode == 0
    assert world.docker("cp", f"{sleeper}:/tmp/in.txt", str(target)).returncode == 0

    assert target.read_text() == source.read_text()


def test_volumes_hold_files_and_host_paths_are_refused(world: World, app: Built) -> None:
    name = f"{world.registry}/proj/app:1.0"
    assert world.docker("volume", "create", "vol").returncode == 0

    again = world.docker("volume", "create", "vol")
    wrote = world.docker("run", "--rm", "-v", "vol:/v", name, "sh", "-c", "echo kept > /v/f")
    read = world.docker("run", "--rm", "-v", "vol:/v", name, "cat", "/v/f")
    host = world.docker("run", "--rm", "-v", "/etc:/x", name, "true")

    assert "A volume named vol already exists. Choose a different volume name." in again.stderr
    assert (wrote.returncode, read.stdout) == (0, "kept\n")
    assert "mounting directories as a data volume is not supported." in host.stderr
    assert world.docker("volume", "rm", "vol").returncode == 0


def test_of_many_who_make_a_volume_at_once_one_does(api: docker.DockerClient) -> None:
    def create(_number: int) -> str:
        try:
            return str(api.volumes.create("one", driver="local").name)
        except docker.errors.APIError as error:
            return str(error.explanation)

    with ThreadPoolExecutor(8) as pool:
        said = sorted(pool.map(create, range(8)))
    api.volumes.get("one").remove()
    assert said == ["A volume named one already exists. Choose a different volume name."] * 7 + ["one"]


def test_docker_pys_default_volume_driver_is_refused(api: docker.DockerClient) -> None:
    with pytest.raises(docker.errors.APIError) as refused:
        api.volumes.create("v")

    assert refused.value.explanation == "error looking up volume plugin : plugin not found"


def test_a_stopped_container_is_committed_and_a_running_one_is_not(world: World, sleeper: str) -> None:
    refused = world.docker("commit", "--pause=false", sleeper, "mine:1")
    world.docker("stop", "-t", "0", sleeper)
    committed = world.docker("commit", "--pause=false", sleeper, "mine:1")

    assert "does not yet support commit of a running container" in refused.stderr
    assert committed.returncode == 0, committed.stderr
    assert "mine:1" in world.docker("image", "inspect", "-f", "{{.RepoTags}}", "mine:1").stdout
    assert world.docker("rmi", "mine:1").returncode == 0


@pytest.mark.parametrize(
    ("tag", "error"),
    [
        ("oci", "Error while pulling image manifest: missing signature key"),
        ("absent", "Tag absent not found in repository proj/odd"),
        ("deep", "Failed to write to image store: "),
    ],
)
def test_what_a_real_registry_offers_and_a_vch_cannot_pull(
    world: World, api: docker.DockerClient, tag: str, error: str
) -> None:
    if tag != "absent":
        put(world, "proj/odd", tag, image(media_type=OCI) if tag == "oci" else image(empty_entries=89))

    lines = list(api.api.pull(f"{world.registry}/proj/odd", tag=tag, stream=True, decode=True))

    assert lines[-1]["error"].startswith(error)


def test_a_manifest_list_is_pulled_as_its_platform(world: World, api: docker.DockerClient) -> None:
    built = image("list\n")
    put(world, "proj/list", built.digest, built)
    put(world, "proj/list", "1.0", manifest_list(built))

    lines = list(api.api.pull(f"{world.registry}/proj/list", tag="1.0", stream=True, decode=True))

    assert {"status": f"Digest: {built.digest}"} in lines


def test_a_registry_outside_the_whitelist_is_denied(api: docker.DockerClient) -> None:
    lines = list(api.api.pull("198.51.100.7:5000/a/b", tag="1", stream=True, decode=True))

    assert lines[-1]["error"] == (
        "Access denied to unauthorized registry (198.51.100.7:5000) while VCH is in whitelist mode"
    )


def test_a_leaf_that_cannot_be_written_is_listed_and_cannot_run(world: World, api: docker.DockerClient) -> None:
    repository = f"{world.registry}/proj/leaf"
    put(world, "proj/leaf", "1", image("leaf\n"))
    world.fault(leaf_write_fails=1)

    failed = list(api.api.pull(repository, tag="1", stream=True, decode=True))[-1]
    with pytest.raises(docker.errors.ImageNotFound, match="No such container: No such image: "):
        api.api.create_container(f"{repository}:1")
    repaired = list(api.api.pull(repository, tag="1", stream=True, decode=True))[-1]
    world.fault()

    assert failed["error"].startswith("Failed to write to image store")
    assert repaired == {"status": "Status: Downloaded newer image for proj/leaf:1"}
    assert world.docker("run", "--rm", f"{repository}:1", "cat", "/data/a").stdout == "leaf\n"


def test_wrong_hands_get_a_tls_alert_and_no_http(world: World) -> None:
    with world.client(world.stranger_certs) as client, pytest.raises(httpx.TransportError, match=r"(?i)alert"):
        client.get("/_ping")


def test_no_client_certificate_gets_a_tls_alert(world: World) -> None:
    context = ssl.create_default_context(cafile=str(world.client_certs / "ca.pem"))
    with (
        httpx.Client(base_url=f"https://{world.address}:2376", verify=context) as client,
        pytest.raises(httpx.TransportError, match=r"(?i)alert"),
    ):
        client.get("/_ping")


@pytest.mark.parametrize(("version", "spoken"), [("TLSv1_2", "TLSv1.2"), ("TLSv1_3", None)])
def test_tls_is_1_2_exactly(world: World, version: str, spoken: str | None) -> None:
    context = ssl.create_default_context(cafile=str(world.client_certs / "ca.pem"))
    context.load_cert_chain(world.client_certs / "cert.pem", world.client_certs / "key.pem")
    context.minimum_version = context.maximum_version = ssl.TLSVersion[version]

    with socket.create_connection((world.address, 2376), 10) as plain:
        try:
            with context.wrap_socket(plain, server_hostname=world.address) as wrapped:
                found = wrapped.version()
        except ssl.SSLError:
            found = None

    assert found == spoken


def test_an_unknown_authority_is_x509_in_a_500(world: World) -> None:
    world.stop("facade")
    world.start_facade(registry_ca_files={world.registry: str(world.stranger_certs / "ca.pem")})
    with world.client() as client:
        query = {"fromImage": f"{world.registry}/proj/app", "tag": "1.0"}
        response = client.post("/v1.25/images/create", params=query)
    world.stop("facade")
    world.start_facade()

    text = f"Head https://{world.registry}/v2/: x509: certificate signed by unknown authority"
    assert (response.status_code, response.json()["message"]) == (500, text)


def test_a_restart_is_quick_and_forgets_nothing(world: World, app: Built, sleeper: str) -> None:
    with world.client() as client, client.stream("GET", f"/containers/{sleeper}/logs?follow=1&stdout=1") as logs:
        assert logs.status_code == 200
        process = world.processes["facade"]
        took = world.stop("facade")
    # A third of a second when nothing else runs; one that waits for the reader of the log would never end.
    assert (process.returncode, took < 5) == (0, True)

    world.start_facade(faults={"slow_start_s": 1.0})
    ran = world.docker("run", "--rm", f"{world.registry}/proj/app@{app.digest}", "cat", "/data/a")
    assert ran.stdout == "one\n"


def test_a_slow_start_refuses_connections_first(world: World) -> None:
    world.stop("facade")
    began = time.monotonic()

    world.start_facade(faults={"slow_start_s": 2.0})

    assert time.monotonic() - began >= 2
