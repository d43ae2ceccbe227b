"""The sandbox's Harbor on a loopback port before the real docker-registry: a world for the registry ports' suite."""

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import uvicorn

from imagepipe.model.result import Credential
from imagepipe.registry.connection import Connections
from imagepipe.registry.credentials import RegistryCredentials
from imagepipe.sandbox.harbor import HarborConfig, create_app
from tests.contract.registry_worlds import Server, free_port, wait_for

PROJECT = "es-sandbox"
PASSWORD = "Harbor12345"
DEVELOPER, GUEST = 2, 3


@dataclass
class RunningHarbor:
    """A Harbor with the project `es-sandbox`, private, and the users `developer` and `guest`."""

    host: str
    storage: Path

    def connections(self, username: str | None = "developer", *, password: str = PASSWORD, **more: Any) -> Connections:
        given = {self.host: Credential(username, password)} if username else {}
        credentials = RegistryCredentials(given, environ={}, home=Path("/nowhere"))
        return Connections(credentials=credentials, plain_http=[self.host], **more)

    def api(self, method: str, path: str, **more: Any) -> httpx.Response:
        url = f"http://{self.host}/api/v2.0{path}"
        response = httpx.request(method, url, auth=("admin", PASSWORD), trust_env=False, **more)
        assert response.is_success, response.text
        return response

    def set_metadata(self, **metadata: str) -> None:
        self.api("PUT", f"/projects/{PROJECT}", json={"metadata": metadata})


@contextmanager
def harbor(backend: Server, folder: Path, *, referrers: bool = True) -> Iterator[RunningHarbor]:
    """Runs a Harbor whose blobs lie in the backend."""
    port = free_port()
    config = HarborConfig(
        backend_url=f"http://{backend.host}",
        state_file=folder / "harbor.db",
        admin_password=PASSWORD,
        external_url=f"http://127.0.0.1:{port}",
        referrers=referrers,
        lock_s=0.0,
    )
    settings = uvicorn.Config(
        create_app(config),
        host="127.0.0.1",
        port=port,
        log_level="warning",
        ws="none",
        timeout_graceful_shutdown=2,
    )
    server = uvicorn.Server(settings)
    thread = threading.Thread(target=server.run, name="harbor", daemon=True)
    thread.start()
    try:
        wait_for(f"http://127.0.0.1:{port}/api/version")
        running = RunningHarbor(f"127.0.0.1:{port}", backend.storage)
        running.api("POST", "/projects", json={"project_name": PROJECT})
        for name, role in (("developer", DEVELOPER), ("guest", GUEST)):
            user = {"username": name, "email": f"{name}@example.com", "realname": name, "password": PASSWORD}
            running.api("POST", "/users", json=user)
            member = {"role_id": role, "member_user": {"username": name}}
            running.api("POST", f"/projects/{PROJECT}/members", json=member)
        yield running
    finally:
        server.should_exit = True
        thread.join(timeout=20)
