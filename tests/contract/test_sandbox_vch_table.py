"""The facade's answers next to what VIC's source says: status and body, called raw."""

import asyncio
import json
from typing import Any

import httpx
import pytest

from tests.contract.vch_doubles import HOST, Small
from tests.contract.vch_images import build, file_layer

D = "sha256:" + "a" * 64
SWARM = "Docker Swarm is not yet supported"


def missing(what: str) -> str:
    return f"vSphere Integrated Containers does not yet implement {what}"


def ask(method: str, path: str, *, changes: dict[str, Any] | None = None, **more: Any) -> httpx.Response:
    return asyncio.run(Small(**(changes or {})).call(method, path, **more))


@pytest.mark.parametrize(
    ("method", "path", "status", "message"),
    [
        ("POST", "/v1.25/build", 404, "page not found"),
        ("POST", "/build/prune", 404, "page not found"),
        ("POST", "/session", 404, "page not found"),
        ("POST", "/grpc", 404, "page not found"),
        ("GET", "/distribution/alpine/json", 404, "page not found"),
        ("GET", "/v1.41/configs", 404, "page not found"),
        ("POST", "/configs/create", 404, "page not found"),
        ("PUT", "/info", 404, "page not found"),
        ("GET", "/nothing", 404, "page not found"),
        ("GET", "/images/h:1/a/b:1/get", 500, missing("ExportImage")),
        ("GET", "/images/get", 500, missing("ExportImage")),
        ("POST", "/images/create?fromSrc=-", 500, missing("ImportImage")),
        ("GET", "/images/h:1/a/b:1/history", 500, missing("ImageHistory")),
        ("GET", "/images/search?term=x", 500, missing("SearchRegistryForImages")),
        ("POST", "/images/prune", 500, missing("ImagesPrune")),
        ("POST", "/images/h:1/a/b/push", 400, "Bad parameters and missing X-Registry-Auth: EOF"),
        ("POST", "/containers/prune", 500, missing("ContainersPrune")),
        ("POST", "/volumes/prune", 500, missing("VolumesPrune")),
        ("POST", "/networks/prune", 500, missing("NetworksPrune")),
        ("POST", "/networks/bridge/disconnect", 500, missing("DisconnectContainerFromNetwork")),
        ("POST", "/containers/c/pause", 500, missing("ContainerPause")),
        ("POST", "/containers/c/unpause", 500, missing("ContainerUnpause")),
        ("GET", "/containers/c/top", 500, missing("ContainerTop")),
        ("POST", "/containers/c/update", 500, missing("ContainerUpdate")),
        ("GET", "/containers/c/export", 500, missing("ContainerExport")),
        ("POST", "/containers/c/copy", 500, missing("ContainerCopy")),
        ("GET", "/system/df", 500, missing("SystemDiskUsage")),
        ("GET", "/plugins", 500, missing("plugins")),
        ("GET", "/plugins/x/json", 404, "plugin x not found"),
        ("DELETE", "/plugins/x", 500, missing("plugins")),
        ("POST", "/plugins/x/enable", 500, missing("plugins")),
        ("GET", "/containers/c/checkpoints", 500, missing("checkpointing")),
        ("POST", "/containers/c/checkpoints", 500, missing("checkpointing")),
        ("DELETE", "/containers/c/checkpoints/one", 500, missing("checkpointing")),
        ("GET", "/swarm", 404, SWARM),
        ("POST", "/swarm/init", 404, SWARM),
        ("GET", "/v1.25/services", 404, SWARM),
        ("GET", "/nodes/n", 404, SWARM),
        ("GET", "/tasks", 404, SWARM),
        ("POST", "/secrets/create", 404, SWARM),
        ("GET", '/images/json?filters={"dangling":["true"]}', 500, "filter dangling is not currently supported by vic"),
        ("GET", "/images/nope/json", 404, "No such image: nope:latest"),
        ("GET", f"/images/{HOST}/a/b:1/json", 404, f"No such image: {HOST}/a/b:1"),
        ("DELETE", "/images/BusyBox", 500, 'Error parsing reference: "BusyBox" is not a valid repository/tag'),
        ("POST", "/images/nope/tag?repo=x", 404, "No such image: nope:latest"),
        ("POST", "/commit", 404, "No such container: "),
        ("GET", "/volumes/v", 404, "No such volume: v"),
        ("DELETE", "/volumes/v", 404, "Get v: no such volume"),
        ("GET", "/networks/n", 404, "network n not found"),
        *(
            ("GET", f'/{kind}?filters={{"nope":["x"]}}', 500, "Invalid filter 'nope'")
            for kind in ("images/json", "containers/json", "volumes")
        ),
        ("GET", "/images/json?filters={no", 500, "invalid filter: {no"),
        *(
            (
                "GET",
                f'/containers/json?filters={{"{name}":["x"]}}',
                500,
                f"filter {name} is not currently supported by vic",
            )
            for name in ("ancestor", "health", "isolation", "is-task")
        ),
    ],
)
def test_what_vic_does_not_do_is_refused_in_its_words(method: str, path: str, status: int, message: str) -> None:
    response = ask(method, path)

    assert (response.status_code, response.json()) == (status, {"message": message})


def test_a_push_with_credentials_is_not_implemented() -> None:
    response = ask("POST", "/images/h:1/a/b/push", headers={"X-Registry-Auth": "e30="})

    assert (response.status_code, response.json()["message"]) == (500, missing("PushImage"))


def test_a_load_fails_inside_a_200() -> None:
    response = ask("POST", "/images/load", content=b"tar")

    text = missing("LoadImage")
    assert (response.status_code, response.text) == (
        200,
        json.dumps({"errorDetail": {"message": text}, "error": text}, separators=(",", ":")) + "\r\n",
    )


def test_every_routed_answer_names_the_api_version_and_no_other_header_of_dockerd() -> None:
    response = ask("GET", "/v1.41/version")

    assert response.headers["server"] == "Docker/1.25 (linux)"
    assert response.headers["api-version"] == "1.25"
    assert {"ostype", "docker-experimental", "builder-version", "swarm"}.isdisjoint(response.headers)


def test_an_unrouted_answer_has_no_api_version() -> None:
    assert "api-version" not in ask("GET", "/nothing").headers


def test_ping_answers_get_and_not_head() -> None:
    assert (ask("GET", "/_ping").text, ask("HEAD", "/_ping").status_code) == ("OK", 404)


def test_a_client_that_is_too_old_is_told_in_plain_text() -> None:
    response = ask("GET", "/v1.18/version")

    assert response.status_code == 400
    assert response.text.strip() == (
        "client version 1.18 is too old. Minimum supported API version is 1.19, "
        "please upgrade your client to a newer version"
    )
    assert response.headers["content-type"].startswith("text/plain")


@pytest.mark.parametrize(("version", "kind"), [("1.23", "text/plain"), ("1.24", "application/json")])
def test_errors_are_json_from_api_1_24_on(version: str, kind: str) -> None:
    assert ask("GET", f"/v{version}/images/nope/json").headers["content-type"].startswith(kind)


def test_version_is_vics_and_not_dockers() -> None:
    found = ask("GET", "/version").json()

    assert {**found, "GitCommit": "", "BuildTime": "", "GoVersion": found["GoVersion"][:5]} == {
        "Version": "1.5.8",
        "ApiVersion": "1.25",
        "MinAPIVersion": "1.19",
        "GitCommit": "",
        "GoVersion": "go1.8",
        "Os": "linux",
        "Arch": "amd64",
        "KernelVersion": "-",
        "Experimental": True,
        "BuildTime": "",
    }


INFO = {
    "ID": "vSphere Integrated Containers",
    "Name": "prod",
    "ServerVersion": "v1.5.8-22120-9489f63",
    "Driver": "vSphere Integrated Containers v1.5.8-22120-9489f63 Backend Engine",
    "OperatingSystem": "linux-x64",
    "OSType": "linux-x64",
    "Architecture": "x86_64",
    "NCPU": 8164,
    "MemTotal": 8 << 30,
    "Containers": 3,
    "IndexServerAddress": "registry-1.docker.io",
    "Plugins": {"Volume": ["vsphere"], "Network": ["bridge", "public"], "Authorization": None},
    **dict.fromkeys(("RegistryConfig", "Labels", "Runtimes", "SecurityOptions"), None),
    **dict.fromkeys(("KernelVersion", "DockerRootDir", "LoggingDriver", "CgroupDriver", "Isolation"), ""),
}


def test_info_is_vics_and_not_dockers() -> None:
    found = ask("GET", "/info", changes={"name": "prod"}).json()

    assert {name: found[name] for name in INFO} == INFO
    assert found["Swarm"]["LocalNodeState"] == "inactive"
    assert {"Warnings", "ContainerdCommit", "DefaultAddressPools", "CgroupVersion"}.isdisjoint(found)


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        (
            {"faults": {"portlayer_stopped": True}},
            {
                INFO["Driver"]: "STOPPED",
                " Registry Whitelist Mode": "enabled",
                " Whitelisted Registries": HOST,
            },
        ),
        (
            {"whitelist": [], "insecure_registries": ["lab:5000"]},
            {
                INFO["Driver"]: "RUNNING",
                " Registry Whitelist Mode": "disabled.  All registry access allowed.",
                " Insecure Registries": "lab:5000",
            },
        ),
        (
            {"insecure_registries": ["lab:5000"]},
            {" Registry Whitelist Mode": "enabled", " Whitelisted Registries": f"{HOST},lab:5000"},
        ),
    ],
)
def test_the_state_of_a_vch_stands_in_its_system_status(changes: dict[str, Any], expected: dict[str, str]) -> None:
    pairs = ask("GET", "/info", changes=changes).json()["SystemStatus"]

    assert expected.items() <= dict(pairs).items()
    assert pairs[0] == ["VolumeStores", "default"]
    assert (" Whitelisted Registries" in dict(pairs)) is (" Whitelisted Registries" in expected)


PORTLAYER = "Server error from portlayer: "
CREATES: list[tuple[dict[str, Any], int, str]] = [
    (
        {"HostConfig": {"Binds": ["/etc:/x"]}},
        400,
        "Bad request error from portlayer: mounting directories as a data volume is not supported.",
    ),
    (
        {"NetworkingConfig": {"EndpointsConfig": {"bridge": {}, "public": {}}}},
        500,
        "NetworkMode error: Container can be connected to one vicnetwork endpoint only",
    ),
    (
        {"HostConfig": {"PortBindings": {"80/tcp": [{"HostIp": "10.0.0.9", "HostPort": "80"}]}}},
        500,
        PORTLAYER + "host IP for port bindings is only supported for 0.0.0.0 and the public interface IP address",
    ),
    (
        {"HostConfig": {"PortBindings": {"80/tcp": [{"HostPort": "80-90"}]}}},
        500,
        PORTLAYER + "host port ranges are not supported for port bindings",
    ),
    (
        {"HostConfig": {"CpusetCpus": "0-3"}},
        500,
        'Error parsing CPU count: strconv.ParseInt: parsing "0-3": invalid syntax',
    ),
]


async def with_image(**changes: Any) -> tuple[Small, str]:
    small = Small(**changes)
    small.registry.add("proj/app", "1", build([file_layer("a", "1")]))
    await small.pull(f"{HOST}/proj/app", "1")
    return small, f"{HOST}/proj/app:1"


@pytest.mark.parametrize(("body", "status", "message"), CREATES)
def test_create_is_checked_as_vic_checks_it(body: dict[str, Any], status: int, message: str) -> None:
    async def scene() -> httpx.Response:
        small, name = await with_image()
        return await small.call("POST", "/v1.25/containers/create", json={"Image": name, **body})

    response = asyncio.run(scene())
    assert (response.status_code, response.json()["message"]) == (status, message)


def test_create_without_any_command_is_404() -> None:
    async def scene() -> httpx.Response:
        small = Small()
        small.registry.add("proj/app", "1", build([file_layer("a", "1")], Cmd=None))
        await small.pull(f"{HOST}/proj/app", "1")
        return await small.call("POST", "/v1.25/containers/create", json={"Image": f"{HOST}/proj/app:1"})

    response = asyncio.run(scene())
    assert (response.status_code, response.json()["message"]) == (404, "No command specified")


@pytest.mark.parametrize(
    ("asked", "memory_mb", "cpus"),
    [
        ({}, 2048, "2"),
        ({"Memory": 100 << 20}, 512, "2"),
        ({"Memory": 513 << 20, "CpusetCpus": "4,6"}, 640, "4"),
        ({"Memory": 1 << 30, "CpusetCpus": "1"}, 1024, "1"),
    ],
)
def test_a_container_is_shown_as_vic_shows_it(asked: dict[str, Any], memory_mb: int, cpus: str) -> None:
    async def scene() -> tuple[dict[str, Any], str]:
        small, name = await with_image()
        made = await small.call("POST", "/v1.25/containers/create", json={"Image": name, "HostConfig": asked})
        return (await small.call("GET", f"/v1.25/containers/{made.json()['Id']}/json")).json(), name

    found, name = asyncio.run(scene())
    host, settings = found["HostConfig"], found["NetworkSettings"]
    assert (host["Memory"], host["CpusetCpus"]) == (memory_mb, cpus)
    assert (found["Driver"], found["GraphDriver"]["Name"], host["VolumeDriver"]) == (INFO["Driver"],) * 3
    assert host["LogConfig"]["Type"] == "json-file"
    assert (settings["IPAddress"], settings["Networks"]["bridge"]["NetworkID"]) == ("", "")
    assert settings["Networks"]["bridge"]["IPAddress"] == "172.17.0.2"
    assert (found["Config"]["Image"], len(found["Image"]), ":" in found["Image"]) == (name, 64, False)
    assert "Platform" not in found


def test_create_silently_drops_what_vic_ignores() -> None:
    async def scene() -> dict[str, Any]:
        small, name = await with_image()
        host = {
            "Mounts": [{"Type": "volume"}],
            "RestartPolicy": {"Name": "always"},
            "Privileged": True,
            "Binds": ["v:/x"],
        }
        answer = await small.call("POST", "/containers/create", json={"Image": name, "HostConfig": host})
        assert answer.status_code == 201
        return small.engine.created[0]

    created = asyncio.run(scene())
    assert created["HostConfig"] == {"Binds": ["v:/x"], "NetworkMode": "bridge"}
    assert created["Image"].startswith("sha256:")


def test_create_without_the_default_store_refuses_volumes() -> None:
    async def scene() -> httpx.Response:
        small, name = await with_image(volume_stores=["nfs"])
        return await small.call("POST", "/containers/create", json={"Image": name, "Volumes": {"/x": {}}})

    response = asyncio.run(scene())
    assert (response.status_code, response.json()["message"]) == (500, "No volume store named (default) exists")


@pytest.mark.parametrize(
    ("body", "message"),
    [
        ({"Name": "v"}, "error looking up volume plugin : plugin not found"),
        ({"Name": "v", "Driver": None}, "error looking up volume plugin : plugin not found"),
        ({"Name": "v", "Driver": "nfs"}, "error looking up volume plugin nfs: plugin not found"),
        (
            {"Name": "v", "Driver": "local", "DriverOpts": {"size": "1"}},
            "bad driver value - size is not a supported option",
        ),
        (
            {"Name": "v", "Driver": "vsphere", "DriverOpts": {"volumestore": "fast"}},
            "No volume store named (fast) exists",
        ),
        (
            {"Name": "taken", "Driver": "vsphere"},
            "A volume named taken already exists. Choose a different volume name.",
        ),
    ],
)
def test_volume_creation_is_refused_in_vics_words(body: dict[str, Any], message: str) -> None:
    response = ask("POST", "/volumes/create", json=body)

    assert (response.status_code, response.json()["message"]) == (500, message)


def test_a_volume_is_shown_with_vics_driver() -> None:
    found = ask("POST", "/volumes/create", json={"Name": "v", "Driver": "local"}).json()

    assert (found["Driver"], found["Options"]) == ("vsphere", {"VolumeStore": "default", "Capacity": "1024"})


@pytest.mark.parametrize(
    ("body", "status", "message"),
    [
        ({"Name": "n", "IPAM": {"Config": [{}, {}]}}, 500, "at most one ipam config supported"),
        ({"Name": "public"}, 409, "vicnetwork public already exists"),
        ({"Name": ""}, 500, "scope name must not be empty"),
        ({"Name": "n", "Driver": "overlay"}, 500, "scope type not supported"),
    ],
)
def test_network_creation_is_refused_in_vics_words(body: dict[str, Any], status: int, message: str) -> None:
    response = ask("POST", "/networks/create", json=body)

    assert (response.status_code, response.json()["message"]) == (status, message)


def test_a_login_outside_the_whitelist_is_401() -> None:
    response = ask("POST", "/auth", json={"serveraddress": "other.example", "username": "u", "password": "p"})

    assert (response.status_code, response.json()["message"]) == (
        401,
        "Access denied to unauthorized registry (other.example) while VCH is in whitelist mode",
    )


@pytest.mark.parametrize(("password", "status"), [("secret", 200), ("wrong", 401)])
def test_a_login_asks_the_token_service(password: str, status: int) -> None:
    response = ask("POST", "/auth", json={"serveraddress": HOST, "username": "ci", "password": password})

    expected = (
        {"Status": "Login Succeeded", "IdentityToken": ""}
        if status == 200
        else {"message": f"Get https://{HOST}/v2/: unauthorized: incorrect username or password"}
    )
    assert (response.status_code, response.json()) == (status, expected)


@pytest.mark.parametrize(("minimum", "spoken"), [("1.12", "v1.25"), ("1.44", "v1.44")])
def test_the_engine_is_spoken_to_at_a_version_it_supports(minimum: str, spoken: str) -> None:
    async def scene() -> set[str]:
        small = Small()
        small.engine.minimum = minimum
        await small.call("GET", "/v1.25/networks")
        return small.engine.versions

    assert asyncio.run(scene()) == {spoken}


@pytest.mark.parametrize(
    ("entry", "host", "passes"),
    [
        ("foo.local", "foo.local:123", True),
        ("foo.local:123", "foo.local", False),
        ("foo.local:123", "foo.local:123", True),
        ("*.example", "vic.example:443", True),
        ("10.0.0.0/8", "10.1.2.3:5000", True),
        ("10.0.0.0/8", "11.1.2.3:5000", False),
        ("vic.example", "10.1.2.3", False),
    ],
)
def test_the_whitelist_matches_as_vics_does(entry: str, host: str, passes: bool) -> None:
    response = ask("POST", f"/images/create?fromImage={host}/a/b&tag={D}", changes={"whitelist": [entry]})

    denied = f"Access denied to unauthorized registry ({host}) while VCH is in whitelist mode"
    assert (denied in response.text) is not passes
