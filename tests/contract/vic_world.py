"""A Harbor 1.7.8 of the sandbox before the real docker-registry: with Admiral, or stand-alone."""

import json
import shutil
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import httpx
import uvicorn

from imagepipe.sandbox.harbor import HarborConfig
from imagepipe.sandbox.vic import create_app
from imagepipe.sandbox.vic.parts import Vic
from tests.contract.harbor_schema import HARBOR_1, CheckingTransport
from tests.contract.harbor_world import PASSWORD, PROJECT, Login, basic, config_for, digest_of, harbor_of_a_team
from tests.contract.registry_worlds import wait_for

DOCKER_MANIFEST = "application/vnd.docker.distribution.manifest.v2+json"
DOCKER_CONFIG = "application/vnd.docker.container.image.v1+json"
DOCKER_LAYER = "application/vnd.docker.image.rootfs.diff.tar.gzip"
OLD = {"version": "1.7.8", "lock_s": 0.0}
DEV, BOSS, GUEST, ADMIN = (("dev", PASSWORD), ("boss", PASSWORD), ("guest", PASSWORD), ("admin", PASSWORD))


class VicClient:
    """A client: Basic on the API, a token of its login's on `/v2`."""

    def __init__(self, http: httpx.Client, app: Any) -> None:
        self.http = http
        self.vic: Vic = app.state.vic
        self.state = app.state

    def send(self, method: str, path: str, login: Login | None = None, **more: Any) -> httpx.Response:
        headers = dict(more.pop("headers", {}))
        if login is not None:
            headers["Authorization"] = basic(login)
        response = self.http.request(method, path, headers=headers, **more)
        self.http.cookies.clear()
        return response

    def api(self, method: str, path: str, login: Login | None = ADMIN, **more: Any) -> httpx.Response:
        return self.send(method, f"/api{path}", login, **more)

    def by_token(self, method: str, path: str, login: Login, **more: Any) -> httpx.Response:
        """Asks the API as the holder of an Admiral token."""
        token = self.state.sessions.open(f"{login[0]}@vsphere.local")
        return self.api(method, path, None, headers={"x-xenon-auth-token": token}, **more)

    def token(self, login: Login | None, *scopes: str, service: str = "harbor-registry") -> httpx.Response:
        params = [("service", service), *(("scope", scope) for scope in scopes)]
        return self.send("GET", "/service/token", login, params=params)

    def bearer(self, login: Login | None, *scopes: str) -> dict[str, str]:
        return {"Authorization": f"Bearer {self.token(login, *scopes).json()['token']}"}

    def v2(self, method: str, path: str, login: Login | None = DEV, **more: Any) -> httpx.Response:
        """Asks the registry with a token for the path's repository."""
        repository = path.removeprefix("/v2/").split("/manifests/")[0].split("/blobs/")[0].split("/tags/")[0]
        headers = {**self.bearer(login, f"repository:{repository}:pull,push"), **more.pop("headers", {})}
        return self.send(method, path, headers=headers, **more)

    def push_blob(self, repository: str, content: bytes, login: Login = DEV) -> None:
        started = self.v2("POST", f"/v2/{repository}/blobs/uploads/", login)
        assert started.status_code == 202, started.text
        place = httpx.URL(started.headers["location"]).copy_merge_params({"digest": digest_of(content)})
        headers = self.bearer(login, f"repository:{repository}:pull,push")
        assert self.send("PUT", str(place), headers=headers, content=content).status_code == 201

    def image(self, repository: str, page: bytes = b"page", login: Login = DEV) -> dict[str, Any]:
        """Uploads the blobs of a small image and returns its manifest."""
        config = json.dumps(
            {
                "architecture": "amd64",
                "os": "linux",
                "author": "dev",
                "config": {"Labels": {"of": page.decode()}},
                "rootfs": {"type": "layers", "diff_ids": [digest_of(page)]},
                "history": [{"created": "2026-01-01T00:00:00Z", "created_by": "test"}],
            }
        ).encode()
        for blob in (config, page):
            self.push_blob(repository, blob, login)
        return {
            "schemaVersion": 2,
            "mediaType": DOCKER_MANIFEST,
            "config": {"mediaType": DOCKER_CONFIG, "digest": digest_of(config), "size": len(config)},
            "layers": [{"mediaType": DOCKER_LAYER, "digest": digest_of(page), "size": len(page)}],
        }

    def put(self, repository: str, reference: str, manifest: dict[str, Any], login: Login = DEV) -> httpx.Response:
        headers = {"Content-Type": manifest["mediaType"]}
        path = f"/v2/{repository}/manifests/{reference}"
        return self.v2("PUT", path, login, content=json.dumps(manifest), headers=headers)

    def push(self, repository: str, tag: str, page: bytes = b"page", login: Login = DEV) -> str:
        """Pushes a small image and returns its digest."""
        answer = self.put(repository, tag, self.image(repository, page, login), login)
        assert answer.status_code == 201, answer.text
        return str(answer.headers["docker-content-digest"])

    def get(self, repository: str, reference: str, accept: str = DOCKER_MANIFEST) -> httpx.Response:
        headers = {"Accept": accept} if accept else {"Accept": ""}
        return self.v2("GET", f"/v2/{repository}/manifests/{reference}", headers=headers)

    @property
    def project_id(self) -> int:
        """Harbor's id of PROJECT."""
        project = self.vic.directory.project(PROJECT)
        assert project is not None
        return project.id


def vic_config(folder: Path, backend: str, flavour: str, **changes: Any) -> HarborConfig:
    return config_for(folder, backend, **{**OLD, "flavour": flavour, **changes})


@contextmanager
def vic_of_a_team(folder: Path, backend: str, seeds: Path, flavour: str = "vic", **changes: Any) -> Iterator[VicClient]:
    """Serves PROJECT and its team, set up through the newer Harbor's API on the same database."""
    if not (seeds / "seed.db").exists():
        with harbor_of_a_team(folder, backend, seeds):
            pass
    shutil.copy(seeds / "seed.db", folder / "harbor.db")
    with served(vic_config(folder, backend, flavour, **changes)) as client:
        yield client


@contextmanager
def served(config: HarborConfig) -> Iterator[VicClient]:
    """Serves the stand-in in a thread of this process, on a plain loopback socket."""
    with socket.socket(proto=socket.IPPROTO_TCP) as held:
        held.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{held.getsockname()[1]}"
        app = create_app(replace(config, external_url=url), admiral_url="https://admiral.example:8282")
        server = uvicorn.Server(uvicorn.Config(app, ws="none", log_level="warning"))
        thread = threading.Thread(target=server.run, kwargs={"sockets": [held]})
        thread.start()
        try:
            wait_for(f"{url}/api/systeminfo")
            checked = CheckingTransport(httpx.HTTPTransport(), HARBOR_1, answers_only=True)
            with httpx.Client(base_url=url, timeout=30, trust_env=False, transport=checked) as client:
                yield VicClient(client, app)
        finally:
            server.should_exit = True
            thread.join(timeout=10)
