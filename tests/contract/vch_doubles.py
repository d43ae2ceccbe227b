"""In-process doubles around the facade: a registry with tokens and policies, and an engine that only keeps books."""

import base64
import json
from typing import Any
from urllib.parse import unquote

import httpx

from imagepipe.sandbox.vch.app import create_app
from imagepipe.sandbox.vch.config import Config
from imagepipe.sandbox.vch.engine import Engine
from imagepipe.sandbox.vch.faults import Faults
from tests.contract.vch_images import Built

HOST = "registry.example:8443"


DOCKERD_INFO = {
    "ID": "ABCD:1",
    "Name": "host",
    "Driver": "overlay2",
    "OSType": "linux",
    "KernelVersion": "6.1",
    "NCPU": 2,
    "Containers": 3,
    "MemTotal": 8 << 30,
    "DockerRootDir": "/var/lib/docker",
    "LoggingDriver": "json-file",
    "CgroupDriver": "systemd",
    "RegistryConfig": {"Mirrors": []},
    "Labels": ["a=b"],
    "Warnings": ["no swap"],
    "Runtimes": {"runc": {}},
    "SecurityOptions": ["name=seccomp"],
    "InitBinary": "docker-init",
    "ContainerdCommit": {"ID": "1"},
    "DefaultAddressPools": [],
    "CgroupVersion": "2",
    "Isolation": "x",
}
"""What dockerd says of itself, none of which a VCH repeats but the number of containers and the memory."""

DOCKERD_CONTAINER: dict[str, Any] = {
    "Image": "sha256:" + "c" * 64,
    "Driver": "overlay2",
    "Platform": "linux",
    "GraphDriver": {"Name": "overlay2", "Data": {"UpperDir": "/x"}},
    "State": {"Running": False},
    "Config": {"Image": "sha256:" + "c" * 64, "Tty": False},
    "HostConfig": {"Memory": 0, "CpusetCpus": "", "VolumeDriver": "", "LogConfig": {"Type": "local", "Config": {}}},
    "NetworkSettings": {
        "IPAddress": "172.17.0.2",
        "Networks": {"bridge": {"NetworkID": "b" * 64, "IPAddress": "172.17.0.2", "Gateway": "172.17.0.1"}},
    },
}


class RegistryDouble(httpx.AsyncBaseTransport):
    """A registry with one user, a token service, and projects whose policy refuses manifests."""

    def __init__(self) -> None:
        self.manifests: dict[tuple[str, str], Built] = {}
        self.blobs: dict[str, bytes] = {}
        self.user = ("ci", "secret")
        self.private: set[str] = set()
        self.refused: dict[str, str] = {}
        self.challenge_gap = ""
        self.api = "registry/2.0"
        self.seen: list[tuple[str, str, str]] = []

    def add(self, repository: str, tag: str, built: Built) -> None:
        self.manifests[repository, tag] = self.manifests[repository, built.digest] = built
        self.blobs.update(built.blobs)

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:  # noqa: PLR0911 - one per answer
        self.seen.append((request.method, request.url.path, request.headers.get("accept", "")))
        path = request.url.path
        if path == "/service/token":
            return self._token(request)
        if path == "/v2/":
            return self._unauthorized("")
        repository, kind, reference = path.removeprefix("/v2/").rsplit("/", 2)
        if kind == "manifests" and repository in self.refused:
            error = {"code": "PROJECT_POLICY_VIOLATION", "message": self.refused[repository]}
            return httpx.Response(412, json={"errors": [error]})
        bearer = request.headers.get("authorization", "")
        if not bearer.startswith("Bearer "):
            return self._unauthorized(f'{self.challenge_gap}scope="repository:{repository}:pull"')
        if repository in self.private and bearer != "Bearer good":
            return self._unauthorized(f'scope="repository:{repository}:pull",error="insufficient_scope"')
        if kind == "blobs":
            return httpx.Response(200, content=self.blobs[reference])
        found = self.manifests.get((repository, reference))
        if found is None:
            return httpx.Response(404, json={"errors": [{"code": "MANIFEST_UNKNOWN", "message": "manifest unknown"}]})
        return httpx.Response(200, content=found.raw, headers={"content-type": found.media_type})

    def _token(self, request: httpx.Request) -> httpx.Response:
        _, _, pair = request.headers.get("authorization", "").partition(" ")
        good = base64.b64decode(pair).decode() == ":".join(self.user)
        if not good and "scope" not in request.url.params:
            return httpx.Response(401, json={"errors": [{"code": "UNAUTHORIZED", "message": "no"}]})
        return httpx.Response(200, json={"token": "good" if good else "poor"})

    def _unauthorized(self, more: str) -> httpx.Response:
        challenge = f'Bearer realm="https://{HOST}/service/token",service="harbor-registry"' + (more and f",{more}")
        headers = {"www-authenticate": challenge, "docker-distribution-api-version": self.api}
        return httpx.Response(401, headers=headers, json={"errors": [{"code": "UNAUTHORIZED", "message": "no"}]})


class EngineDouble(httpx.AsyncBaseTransport):
    """A dockerd that keeps books of images, containers and volumes."""

    def __init__(self, registry: RegistryDouble) -> None:
        self._registry = registry
        self.minimum = "1.12"
        self.images: dict[str, Built] = {}
        self.created: list[dict[str, Any]] = []
        self.pulls: list[tuple[str, str]] = []
        self.pull_error = ""
        self.versions: set[str] = set()

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        if request.url.path == "/version":
            return httpx.Response(200, json={"MinAPIVersion": self.minimum})
        _, version, path = unquote(request.url.path).split("/", 2)
        self.versions.add(version)
        body = json.loads(await request.aread() or b"{}")
        return self._answer(request.method, path, dict(request.url.params), body)

    def _answer(  # noqa: PLR0911 - one per endpoint
        self, method: str, path: str, query: dict[str, str], body: Any
    ) -> httpx.Response:
        match (method, path.split("/")):
            case ("POST", ["images", "create"]):
                return self._pull(query["fromImage"], query["tag"])
            case ("GET", ["images", "json"]):
                return httpx.Response(200, json=[{"Id": i, "Created": 1, "Size": 7} for i in set(self._ids())])
            case ("GET", ["images", *_, "json"]):
                return self._image(path.removeprefix("images/").removesuffix("/json"))
            case ("GET", ["containers", "json"]):
                listed = [{"Id": c["Id"], "ImageID": c["Image"], "Mounts": []} for c in self.created]
                return httpx.Response(200, json=listed)
            case ("GET", ["info"]):
                return httpx.Response(200, json=DOCKERD_INFO)
            case ("GET", ["containers", name, "json"]) if name in [c["Id"] for c in self.created]:
                return httpx.Response(200, json={"Id": name, **DOCKERD_CONTAINER})
            case ("POST", ["containers", "create"]):
                self.created.append({**body, "Id": f"{len(self.created):064x}"})
                return httpx.Response(201, json={"Id": self.created[-1]["Id"], "Warnings": []})
            case ("GET", ["volumes", "taken"]) | ("POST", ["volumes", "create"]):
                return httpx.Response(200, json={"Name": body.get("Name", "taken"), "Driver": "local"})
            case ("GET", ["networks"]):
                return httpx.Response(200, json=[{"Name": name, "Driver": "bridge"} for name in ("bridge", "public")])
            case _:
                return httpx.Response(404, json={"message": f"No such thing: {path}"})

    def _ids(self) -> list[str]:
        return [built.config_digest for built in self.images.values()]

    def _pull(self, name: str, digest: str) -> httpx.Response:
        self.pulls.append((name, digest))
        lines: list[dict[str, str]] = [{"status": "Pulling from x", "id": digest}]
        if self.pull_error:
            lines.append({"error": self.pull_error})
        else:
            self.images[f"{name}@{digest}"] = self._registry.manifests[name.partition("/")[2], digest]
        return httpx.Response(200, content="".join(json.dumps(value) + "\r\n" for value in lines))

    def _image(self, name: str) -> httpx.Response:
        by_id = {built.config_digest: built for built in self.images.values()}
        built = self.images.get(name) or by_id.get(name)
        if built is None:
            return httpx.Response(404, json={"message": f"No such image: {name}"})
        config = json.loads(built.blobs[built.config_digest])["config"]
        found = {"Id": built.config_digest, "Config": config, "Created": "x", "Size": 7, "Metadata": {}}
        return httpx.Response(200, json={**found, "RootFS": {"Type": "layers", "Layers": ["sha256:1"]}})


class Small:
    """A facade between the doubles, called in-process."""

    def __init__(self, **changes: Any) -> None:
        self.registry = RegistryDouble()
        self.engine = EngineDouble(self.registry)
        data = {
            "listen": {"host": "198.18.0.11", "port": 2376},
            "engine_socket": "/nonexistent.sock",
            "whitelist": [HOST],
            "networks": {"bridge": "bridge", "public": "external"},
            **changes,
        }
        config = Config.parse(data)
        self.faults = Faults(config.faults, config.faults_file)
        app = create_app(
            config,
            faults=self.faults,
            engine=Engine("/nonexistent.sock", self.engine),
            registry_transport=self.registry,
        )
        self.http = httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://vch")

    async def call(self, method: str, path: str, **more: Any) -> httpx.Response:
        return await self.http.request(method, path, **more)

    async def pull(self, name: str, tag: str = "", **credentials: str) -> list[dict[str, Any]]:
        """Returns the objects of a pull's 200 stream."""
        headers = {}
        if credentials:
            headers["x-registry-auth"] = base64.urlsafe_b64encode(json.dumps(credentials).encode()).decode()
        query = {"fromImage": name, **({"tag": tag} if tag else {})}
        response = await self.call("POST", "/v1.25/images/create", params=query, headers=headers)
        assert response.status_code == 200, response.text
        return [json.loads(text) for text in response.text.split("\r\n") if text]
