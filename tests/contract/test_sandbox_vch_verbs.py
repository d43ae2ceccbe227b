"""What is done to containers of a VCH, called raw in front of a real dockerd: refusals, execs, files and events."""

import json
import socket
import time
from collections.abc import Iterator
from typing import Any

import httpx
import pytest

from imagepipe.sandbox.probing import trusting
from tests.contract.vch_images import build, busybox_layer, push
from tests.contract.vch_world import World, running_world

pytestmark = pytest.mark.sandbox

TAKEN = (
    'conflict. The name "idle" is already in use by container {idle}. '
    "You have to remove (or rename) that container to be able to re use that name."
)


@pytest.fixture(scope="module")
def world() -> Iterator[World]:
    with running_world() as running:
        with running.registry_client() as client:
            push(client, "proj/app", "1", build([busybox_layer()]))
        assert running.docker("pull", f"{running.registry}/proj/app:1").returncode == 0
        yield running


@pytest.fixture
def vch(world: World) -> Iterator[httpx.Client]:
    with world.client() as client:
        client.base_url = client.base_url.copy_with(path="/v1.25/")
        yield client


def create(world: World, vch: httpx.Client, name: str, **more: Any) -> str:
    body = {"Image": f"{world.registry}/proj/app:1", "Cmd": ["sleep", "1000"], **more}
    made = vch.post("/containers/create", params={"name": name}, json=body)
    assert made.status_code == 201, made.text
    return str(made.json()["Id"])


@pytest.fixture(scope="module")
def pair(world: World) -> tuple[str, str]:
    """The ids of a container `one` that runs and of a container `idle` that never ran; no test changes them."""
    with world.client() as client:
        one, idle = create(world, client, "one"), create(world, client, "idle")
        assert client.post("/containers/one/start").status_code == 204
    return one, idle


@pytest.fixture
def solo(world: World, vch: httpx.Client) -> Iterator[str]:
    """The id of a container that runs."""
    created = create(world, vch, "solo")
    assert vch.post("/containers/solo/start").status_code == 204
    yield created
    vch.delete(f"/containers/{created}?force=1")


def said(answer: httpx.Response) -> tuple[int, str]:
    return answer.status_code, answer.json()["message"]


@pytest.mark.parametrize(
    ("call", "status", "message"),
    [
        ("POST /containers/idle/kill", 500, "Cannot kill container idle: {idle} is not running"),
        ("POST /containers/nope/kill", 404, "Cannot kill container nope: No such container: nope"),
        ("POST /containers/one/kill?signal=SIGNOPE", 500, "Invalid signal: SIGNOPE"),
        ("POST /containers/one/rename?name=", 500, "neither old nor new names may be empty"),
        (
            "POST /containers/one/rename?name=a%20b",
            500,
            "invalid container name (a b), only [a-zA-Z0-9][a-zA-Z0-9_.-] are allowed",
        ),
        ("POST /containers/nope/rename?name=xy", 404, "No such container: nope"),
        ("POST /containers/one/rename?name=one", 500, "renaming a container with the same name as its current name"),
        (
            "POST /containers/one/rename?name=idle",
            409,
            TAKEN,
        ),
        ("GET /containers/one/archive", 400, "bad parameter: 'path' cannot be empty"),
        ("GET /containers/nope/archive?path=/x", 404, "No such container: nope"),
        ("GET /containers/{one}/archive?path=/nope", 404, "No such file or directory for container: one"),
        ("PUT /containers/one/archive?path=/nope", 404, "No such file or directory"),
        ("GET /exec/nope/json", 404, "no container was found with exec id: nope"),
        ("POST /exec/nope/resize?h=1&w=1", 404, "No such container: nope"),
        *((f"POST /containers/nope/{verb}", 404, "No such container: nope") for verb in ("start", "stop", "wait")),
        ("DELETE /networks/bridge", 500, "cannot remove builtin scope"),
        ("DELETE /networks/public", 500, "cannot remove builtin scope"),
        ("GET /containers/one/logs", 400, "Bad parameters: you must choose at least one stream"),
        ("GET /containers/nope/logs?stdout=1", 404, "No such container: nope"),
    ],
)
def test_what_cannot_be_done_to_a_container_is_refused_in_vics_words(
    vch: httpx.Client, pair: tuple[str, str], call: str, status: int, message: str
) -> None:
    one, idle = pair
    method, path = call.format(one=one, idle=idle).split(" ")

    assert said(vch.request(method, path)) == (status, message.format(one=one, idle=idle))


def test_a_name_that_is_taken_is_a_conflict_in_vics_words(
    world: World, vch: httpx.Client, pair: tuple[str, str]
) -> None:
    body = {"Image": f"{world.registry}/proj/app:1", "Cmd": ["true"]}

    assert said(vch.post("/containers/create?name=idle", json=body)) == (
        409,
        TAKEN.format(idle=pair[1]),
    )


def test_a_network_with_containers_is_not_removed(world: World, vch: httpx.Client, pair: tuple[str, str]) -> None:
    vch.post("/networks/create", json={"Name": "extra"})
    created = create(world, vch, "there", HostConfig={"NetworkMode": "extra"})
    vch.post(f"/containers/{created}/start")
    refused = vch.delete("/networks/extra")
    vch.delete(f"/containers/{created}?force=1")
    assert said(refused) == (500, "extra has active endpoints")
    assert vch.delete("/networks/extra").status_code == 204


def test_a_start_with_settings_in_its_body_is_refused(vch: httpx.Client, pair: tuple[str, str]) -> None:
    text = "starting container with non-empty request body was deprecated since v1.10 and removed in v1.12"
    assert said(vch.post("/containers/one/start", json={"Binds": []})) == (400, text)


def test_waiting_tells_the_exit_code_alone(world: World, vch: httpx.Client) -> None:
    created = create(world, vch, "brief", Cmd=["sh", "-c", "exit 3"])
    vch.post(f"/containers/{created}/start")
    assert vch.post(f"/containers/{created}/wait").json() == {"StatusCode": 3}
    vch.delete(f"/containers/{created}")


def test_images_are_found_by_the_old_filter_too(world: World, vch: httpx.Client) -> None:
    name = f"{world.registry}/proj/app"
    assert [one["RepoTags"] for one in vch.get("/images/json", params={"filter": name}).json()] == [[f"{name}:1"]]
    assert vch.get("/images/json", params={"filter": "nope"}).json() == []


def test_starting_what_runs_is_204(vch: httpx.Client, pair: tuple[str, str]) -> None:
    assert vch.post("/containers/one/start").status_code == 204


def test_the_head_of_a_file_that_is_missing_is_404(vch: httpx.Client, pair: tuple[str, str]) -> None:
    assert vch.head("/containers/one/archive?path=/nope").status_code == 404
    assert vch.head("/containers/one/archive?path=/bin").headers["x-docker-container-path-stat"]


@pytest.mark.parametrize("body", [b"no tar" * 200, b"\x1f\x8b\x08 but no gzip"])
def test_a_body_that_is_no_tar_is_409(vch: httpx.Client, pair: tuple[str, str], body: bytes) -> None:
    answer = vch.put("/containers/one/archive?path=/tmp", content=body)

    assert said(answer) == (409, "Stream format not recognized")


def make_exec(vch: httpx.Client, container: str, *command: str, **more: Any) -> str:
    body = {"Cmd": command, "AttachStdout": True, "AttachStderr": True, **more}
    return str(vch.post(f"/containers/{container}/exec", json=body).json()["Id"])


def test_an_exec_without_a_command_is_500(vch: httpx.Client, pair: tuple[str, str]) -> None:
    assert said(vch.post("/containers/one/exec", json={})) == (500, "No exec command specified")


def raw_start(world: World, exec_id: str, *, upgrade: bool, **body: bool) -> tuple[bytes, bytes]:
    """Returns head and stream of an exec's start, as they go over the wire."""
    address = world.address
    text = json.dumps(body)
    asked = [
        f"POST /v1.25/exec/{exec_id}/start HTTP/1.1",
        "Host: vch",
        "Content-Type: application/json",
        f"Content-Length: {len(text)}",
        *(("Connection: Upgrade", "Upgrade: tcp") if upgrade else ()),
    ]
    context = trusting(world.client_certs / "ca.pem", world.client_certs)
    with (
        socket.create_connection((address, 2376), 20) as plain,
        context.wrap_socket(plain, server_hostname=address) as wire,
    ):
        wire.sendall(("\r\n".join(asked) + "\r\n\r\n" + text).encode())
        answer = b""
        while chunk := wire.recv(4096):
            answer += chunk
    head, _, stream = answer.partition(b"\r\n\r\n")
    return head, stream


@pytest.mark.parametrize(("upgrade", "first"), [(True, b"HTTP/1.1 101 UPGRADED"), (False, b"HTTP/1.1 200 OK")])
def test_a_stream_that_takes_the_connection_over_has_a_vchs_headers(
    world: World, vch: httpx.Client, solo: str, upgrade: bool, first: bytes
) -> None:
    head, stream = raw_start(world, make_exec(vch, solo, "echo", "hi"), upgrade=upgrade, Detach=False)

    assert head.split(b"\r\n")[0] == first
    assert b"Server: Docker/1.25 (linux)" in head.split(b"\r\n")
    assert b"Api-Version: 1.25" in head.split(b"\r\n")
    assert b"Ostype" not in head
    assert b"Docker-Experimental" not in head
    assert stream == b"\x01\0\0\0\0\0\0\x03hi\n"


@pytest.mark.parametrize("detached", [True, False])
def test_starting_an_exec_that_nobody_knows_is_404(world: World, detached: bool) -> None:
    head, body = raw_start(world, "nope", upgrade=not detached, Detach=detached)

    assert head.split(b"\r\n")[0] == b"HTTP/1.1 404 Not Found"
    assert json.loads(body) == {"message": "No such container: nope"}


@pytest.mark.parametrize(("upgrade", "terminal"), [(True, False), (True, True), (False, False)])
def test_an_exec_of_a_container_that_stopped_is_told_so_in_its_stream(
    world: World, vch: httpx.Client, solo: str, upgrade: bool, terminal: bool
) -> None:
    made = make_exec(vch, solo, "true", Tty=terminal)
    vch.post(f"/containers/{solo}/stop?t=0")

    head, stream = raw_start(world, made, upgrade=upgrade, Detach=False, Tty=terminal)

    text = f"container ({solo}) has been stopped\r\n".encode()
    assert head.split(b"\r\n")[0] == (b"HTTP/1.1 101 UPGRADED" if upgrade else b"HTTP/1.1 200 OK")
    assert stream == (text if terminal else b"\x01\0\0\0\0\0\0" + bytes([len(text)]) + text)


def test_a_detached_exec_of_a_container_that_stopped_is_404(world: World, vch: httpx.Client, solo: str) -> None:
    made = make_exec(vch, solo, "true")
    vch.post(f"/containers/{solo}/stop?t=0")

    head, body = raw_start(world, made, upgrade=False, Detach=True)

    message = f"container ({solo}) has been stopped"
    assert (head.split(b"\r\n")[0], json.loads(body)) == (b"HTTP/1.1 404 Not Found", {"message": message})
    assert said(vch.get(f"/exec/{made}/json")) == (404, message)


def test_an_exec_that_cannot_be_launched_ends_with_126(world: World, vch: httpx.Client, solo: str) -> None:
    made = make_exec(vch, solo, "no-such-program")

    raw_start(world, made, upgrade=True, Detach=False)

    assert vch.get(f"/exec/{made}/json").json()["ExitCode"] == 126


def told(vch: httpx.Client, since: float, container: str) -> list[dict[str, Any]]:
    query = {"since": str(int(since)), "until": str(int(time.time()) + 1)}
    lines = vch.get("/events", params=query).text.splitlines()
    return [event for event in map(json.loads, lines) if event["Actor"]["ID"] == container]


def test_events_name_the_image_as_it_was_asked_for_also_after_the_container_is_gone(
    world: World, vch: httpx.Client
) -> None:
    began = time.time()
    created = create(world, vch, "gone")
    vch.post(f"/containers/{created}/start")
    vch.post(f"/containers/{created}/rename?name=other")
    raw_start(world, make_exec(vch, created, "true"), upgrade=True, Detach=False)
    vch.head(f"/containers/{created}/archive?path=/bin")
    vch.delete(f"/containers/{created}?force=1")
    create(world, vch, "next")
    vch.delete("/containers/next")

    seen = told(vch, began, created)

    assert {event["from"] for event in seen} == {f"{world.registry}/proj/app:1"}
    assert {event["Actor"]["Attributes"]["image"] for event in seen} == {f"{world.registry}/proj/app:1"}
    actions = [event["Action"] for event in seen]
    assert [action for action in actions if action not in {"attach", "kill", "stop"}] == [
        *("create", "start", "Rename", "exec_create: true ", "exec_start: true ", "die", "destroy")
    ]
    [renamed] = [event for event in seen if event["Action"] == "Rename"]
    assert renamed["Actor"]["Attributes"]["newName"] == "other"


def test_a_container_that_removed_itself_keeps_its_name_in_events(world: World, vch: httpx.Client) -> None:
    began = time.time()
    created = create(world, vch, "brief", Cmd=["true"], HostConfig={"AutoRemove": True})
    vch.post(f"/containers/{created}/start")
    deadline = time.monotonic() + 20
    while vch.get(f"/containers/{created}/json").status_code == 200 and time.monotonic() < deadline:
        time.sleep(0.05)
    create(world, vch, "after")
    vch.delete("/containers/after")

    assert {event["from"] for event in told(vch, began, created)} == {f"{world.registry}/proj/app:1"}


def test_a_pull_is_told_under_the_name_that_was_asked_for(world: World, vch: httpx.Client) -> None:
    began, name = time.time(), f"{world.registry}/proj/again"
    with world.registry_client() as client:
        push(client, "proj/again", "1", build([busybox_layer()], Labels={"again": "1"}))

    assert world.docker("pull", f"{name}:1").returncode == 0

    assert [event["Action"] for event in told(vch, began, name)] == ["pull"]
