"""A Harbor of the sandbox before the real docker-registry, and the clients' side of it."""

import base64
import hashlib
import json
import shutil
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import httpx
import uvicorn

from imagepipe.sandbox.harbor import HarborConfig, create_app
from imagepipe.sandbox.harbor.call import Harbor
from tests.contract.harbor_schema import CheckingTransport
from tests.contract.registry_worlds import wait_for

PASSWORD = "Harbor12345"
ADMIN = ("admin", PASSWORD)
PROJECT = "es-sandbox"
OCI_MANIFEST = "application/vnd.oci.image.manifest.v1+json"
OCI_INDEX = "application/vnd.oci.image.index.v1+json"
OCI_CONFIG = "application/vnd.oci.image.config.v1+json"
OCI_LAYER = "application/vnd.oci.image.layer.v1.tar+gzip"
EMPTY = "application/vnd.oci.empty.v1+json"
BUNDLE = "application/vnd.dev.sigstore.bundle.v0.3+json"
SIMPLE_SIGNING = "application/vnd.dev.cosign.simplesigning.v1+json"
ACCEPT = ", ".join(
    (
        OCI_MANIFEST,
        OCI_INDEX,
        "application/vnd.docker.distribution.manifest.v2+json",
        "application/vnd.docker.distribution.manifest.list.v2+json",
    )
)
Login = tuple[str, str]


def digest_of(content: bytes) -> str:
    return f"sha256:{hashlib.sha256(content).hexdigest()}"


def basic(login: Login) -> str:
    return "Basic " + base64.b64encode(":".join(login).encode()).decode()


def error_body(code: str, message: str) -> str:
    """Returns what Harbor's error looks like on the wire, newline included."""
    return json.dumps({"errors": [{"code": code, "message": message}]}, separators=(",", ":")) + "\n"


@dataclass(frozen=True)
class Pushed:
    """A manifest as it went over the wire."""

    raw: bytes
    media_type: str
    response: httpx.Response

    @property
    def digest(self) -> str:
        return digest_of(self.raw)

    def descriptor(self, **more: Any) -> dict[str, Any]:
        return {"mediaType": self.media_type, "digest": self.digest, "size": len(self.raw), **more}


class HarborClient:
    """A client that keeps no cookies, as every client of Harbor must."""

    def __init__(self, client: httpx.Client, harbor: Harbor | None = None) -> None:
        self.http = client
        self._harbor = harbor

    @property
    def harbor(self) -> Harbor:
        """The parts of an in-process stand-in."""
        assert self._harbor is not None
        return self._harbor

    def send(self, method: str, path: str, login: Login | None = None, **more: Any) -> httpx.Response:
        headers = dict(more.pop("headers", {}))
        if login is not None:
            headers["Authorization"] = basic(login)
        response = self.http.request(method, path, headers=headers, **more)
        self.http.cookies.clear()
        return response

    def api(self, method: str, path: str, login: Login | None = ADMIN, **more: Any) -> httpx.Response:
        return self.send(method, f"/api/v2.0{path}", login, **more)

    def ok(self, method: str, path: str, login: Login | None = ADMIN, **more: Any) -> httpx.Response:
        response = self.api(method, path, login, **more)
        assert response.is_success, response.text
        return response

    def token(self, login: Login | None, *scopes: str) -> httpx.Response:
        params = [("service", "harbor-registry"), *(("scope", scope) for scope in scopes)]
        return self.send("GET", "/service/token", login, params=params)

    def bearer(self, login: Login | None, *scopes: str) -> dict[str, str]:
        return {"Authorization": f"Bearer {self.token(login, *scopes).json()['token']}"}

    def add_user(self, name: str, role: int = 0, project: str = PROJECT) -> Login:
        user = {"username": name, "email": f"{name}@example.com", "realname": name, "password": PASSWORD}
        self.ok("POST", "/users", json=user)
        if role:
            member = {"role_id": role, "member_user": {"username": name}}
            self.ok("POST", f"/projects/{project}/members", json=member)
        return name, PASSWORD

    def add_project(self, name: str = PROJECT, **more: Any) -> int:
        location = self.ok("POST", "/projects", json={"project_name": name, **more}).headers["location"]
        return int(location.rpartition("/")[2])

    def add_robot(self, name: str, *access: str, level: str = "project", namespace: str = PROJECT) -> Login:
        accesses = [dict(zip(("resource", "action"), each.split(":"), strict=True)) for each in access]
        permission = {"kind": "project", "namespace": namespace, "access": accesses}
        robot = {"name": name, "level": level, "duration": 30, "permissions": [permission]}
        created = self.ok("POST", "/robots", json=robot).json()
        return created["name"], created["secret"]

    def push_blob(self, repository: str, content: bytes, login: Login = ADMIN) -> httpx.Response:
        started = self.send("POST", f"/v2/{repository}/blobs/uploads/", login)
        if started.status_code != 202:
            return started
        url = httpx.URL(started.headers["location"]).copy_merge_params({"digest": digest_of(content)})
        return self.send("PUT", str(url), login, content=content, headers={"Content-Type": "application/octet-stream"})

    def put_manifest(
        self, repository: str, document: dict[str, Any], tag: str = "", login: Login = ADMIN, **headers: str
    ) -> Pushed:
        raw, media_type = json.dumps(document).encode(), document["mediaType"]
        path = f"/v2/{repository}/manifests/{tag or digest_of(raw)}"
        headers = {"Content-Type": media_type, **headers}
        return Pushed(raw, media_type, self.send("PUT", path, login, content=raw, headers=headers))

    def push(
        self, repository: str, tag: str = "", layer: bytes = b"layer", login: Login = ADMIN, **more: Any
    ) -> Pushed:
        """Pushes a small image; `more` becomes part of its manifest."""
        config = json.dumps({"architecture": "amd64", "os": "linux", "config": {"Env": ["A=1"]}}).encode()
        for blob in (config, layer):
            assert self.push_blob(repository, blob, login).status_code == 201
        document = {
            "schemaVersion": 2,
            "mediaType": OCI_MANIFEST,
            "config": {"mediaType": OCI_CONFIG, "digest": digest_of(config), "size": len(config)},
            "layers": [{"mediaType": OCI_LAYER, "digest": digest_of(layer), "size": len(layer)}],
        }
        return self.put_manifest(repository, document | more, tag, login)

    def sign(self, repository: str, subject: Pushed, artifact_type: str = BUNDLE) -> Pushed:
        """Pushes a referrer of `subject` by digest, as a signer does."""
        assert self.push_blob(repository, b"{}").status_code == 201
        empty = {"mediaType": EMPTY, "digest": digest_of(b"{}"), "size": 2}
        document = {
            "schemaVersion": 2,
            "mediaType": OCI_MANIFEST,
            "artifactType": artifact_type,
            "config": empty,
            "layers": [empty],
            "subject": subject.descriptor(),
            "annotations": {"dev.sigstore.bundle.content": "dsse-envelope"},
        }
        return self.put_manifest(repository, document)

    def sign_legacy(self, repository: str, subject: str) -> Pushed:
        """Pushes a cosign signature in the tag scheme."""
        return self.push(
            repository,
            subject.replace(":", "-") + ".sig",
            layers=[{"mediaType": SIMPLE_SIGNING, "digest": digest_of(b"layer"), "size": 5}],
        )

    def get_manifest(self, repository: str, reference: str, login: Login | None = ADMIN) -> httpx.Response:
        return self.send("GET", f"/v2/{repository}/manifests/{reference}", login, headers={"Accept": ACCEPT})


def config_for(folder: Path, backend_url: str, **changes: Any) -> HarborConfig:
    config = HarborConfig(
        backend_url=backend_url,
        state_file=folder / "harbor.db",
        admin_password=PASSWORD,
        lock_s=0.5,
    )
    return replace(config, **changes)


TEAM = {"boss": 1, "dev": 2, "guest": 3, "mate": 4, "limited": 5, "stranger": 0}
"""The users of a seeded Harbor and their role ids in PROJECT; 0 is none. All have PASSWORD."""
TEAM_LOGINS = {name: (name, PASSWORD) for name in TEAM}


@contextmanager
def harbor_of_a_team(folder: Path, backend: str, seeds: Path, **changes: Any) -> Iterator[HarborClient]:
    """Serves a Harbor with PROJECT (private) and TEAM in it, copied from a state file that is made once."""
    seed = seeds / "seed.db"
    if not seed.exists():
        with served(config_for(seeds, backend)) as first:
            first.add_project()
            for name, role in TEAM.items():
                first.add_user(name, role)
        (seeds / "harbor.db").rename(seed)
    shutil.copy(seed, folder / "harbor.db")
    with served(config_for(folder, backend, **changes)) as client:
        yield client


@contextmanager
def served(config: HarborConfig) -> Iterator[HarborClient]:
    """Serves the stand-in in a thread of this process, on a plain loopback socket."""
    # Named as TCP, so that asyncio turns off the delay of small packets: 40 ms for every answer.
    with socket.socket(proto=socket.IPPROTO_TCP) as held:
        held.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{held.getsockname()[1]}"
        app = create_app(replace(config, external_url=url))
        server = uvicorn.Server(uvicorn.Config(app, ws="none", log_level="warning"))
        thread = threading.Thread(target=server.run, kwargs={"sockets": [held]})
        thread.start()
        try:
            wait_for(f"{url}/api/version")
            checked = CheckingTransport(httpx.HTTPTransport(), answers_only=True)
            with httpx.Client(base_url=url, timeout=30, trust_env=False, transport=checked) as client:
                yield HarborClient(client, app.state.harbor)
        finally:
            server.should_exit = True
            thread.join(timeout=10)
