"""A Harbor full of projects behind a slow network, which counts requests and changes its list while it is read.

python -m tests.bench.access_server FOLDER PROJECTS MEMBERS LATENCY_MS

It writes its URL to stdout. Below `/bench`: `requests` tells and forgets how many there were, `change` lets projects
come and go with the next readings, `stable` tells which were there all the while.
"""

import asyncio
import json
import socket
import sys
from pathlib import Path
from typing import Any, Final

import uvicorn
from starlette.responses import JSONResponse
from starlette.types import ASGIApp, Receive, Scope, Send

from imagepipe.sandbox.harbor import HarborConfig, create_app
from imagepipe.sandbox.harbor.call import Harbor
from tests.bench.access_plan import CHANGES, PASSWORD

LEAVING: Final = 2 * CHANGES
USERS: Final = 2000
_ROBOT_ACCESS: Final = ("repository", "pull"), ("repository", "push"), ("artifact", "list")


def fill(harbor: Harbor, projects: int, members: int) -> None:
    """Writes projects, members and robots straight into the store."""
    store, now = harbor.store, harbor.stamp()
    times = {"creation_time": now, "update_time": now}
    with store.transaction():
        users = [
            store.insert("users", username=f"user-{n:04}@example.com", secret="", salt="", **times)
            for n in range(USERS)
        ]
        for number in range(projects):
            project_id = add_project(harbor, f"team-{number:04}")
            for place in range(members - 1):
                user = users[(number * 7 + place) % USERS]
                store.insert("members", project_id=project_id, entity_type="u", entity_id=user, role=2 + place % 4)
            access = [{"resource": resource, "action": action} for resource, action in _ROBOT_ACCESS]
            name = f"team-{number:04}"
            grant = {"kind": "project", "namespace": name, "scope": f"/project/{project_id}", "access": access}
            store.insert(
                "robots",
                project_id=project_id,
                name=f"{name}+ci",
                secret="",
                salt="",
                duration=90,
                expires_at=int(harbor.now()) + 90 * 86400,
                creator_type="local",
                creator_ref=1,
                permissions=json.dumps([grant]),
                **times,
            )


def add_project(harbor: Harbor, name: str) -> int:
    """Makes a project whose admin is admin, and returns its id."""
    store, now = harbor.store, harbor.stamp()
    times = {"creation_time": now, "update_time": now}
    project_id = store.insert("projects", name=name, owner_id=1, **times)
    store.insert("members", project_id=project_id, entity_type="u", entity_id=1, role=1)
    store.insert("metadata", project_id=project_id, key="public", value="false")
    store.insert("quotas", project_id=project_id, hard=-1, **times)
    return project_id


class Slow:
    """Counts requests, delays them, and changes the list of projects between its pages."""

    def __init__(self, app: ASGIApp, harbor: Harbor, latency_s: float) -> None:
        self._app = app
        self._harbor = harbor
        self._latency_s = latency_s
        self._requests = 0
        self._pages = 0
        self._changes = CHANGES
        self._stable: list[str] = []

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serves one request."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
        elif scope["path"].startswith("/bench/"):
            await JSONResponse(self._told(scope["path"]))(scope, receive, send)
        else:
            self._requests += 1
            if scope["path"] == "/api/v2.0/projects" and scope["method"] == "GET":
                self._between_pages()
            await asyncio.sleep(self._latency_s)
            await self._app(scope, receive, send)

    def _told(self, path: str) -> dict[str, Any]:
        if path == "/bench/change":
            # They come last by id and first by name: in either order their going moves all that follows.
            self._harbor.store.run("DELETE FROM projects WHERE name LIKE 'a-leaving-%' OR name LIKE 'z-coming-%'")
            self._stable = self._names()
            for number in range(LEAVING):
                add_project(self._harbor, f"a-leaving-{number:02}")
            self._changes = self._pages = self._requests = 0
        if path == "/bench/stable":
            return {"stable": self._stable, "changes": self._changes}
        count, self._requests = self._requests, 0
        return {"requests": count}

    def _names(self) -> list[str]:
        rows = self._harbor.store.all("SELECT name FROM projects WHERE deleted = 0")
        return [row["name"] for row in rows]

    def _between_pages(self) -> None:
        """Deletes one project and makes another before every page but the first, until it has been enough."""
        self._pages += 1
        if self._changes == CHANGES or self._pages == 1:
            return
        number, self._changes = self._changes, self._changes + 1
        store = self._harbor.store
        gone = f"a-leaving-{number:02}"
        store.run("UPDATE projects SET deleted = 1, name = name || '#' || id WHERE name = ?", gone)
        # Named last, so that nothing but the deletion moves pages in the order of names.
        add_project(self._harbor, f"z-coming-{self._harbor.now():.6f}".replace(".", "-"))


def main(folder: Path, projects: int, members: int, latency_ms: float) -> None:
    """Serves until it is ended."""
    config = HarborConfig("http://127.0.0.1:1", folder / "harbor.db", PASSWORD)
    # Named as TCP, so that asyncio turns off the delay of small packets: 40 ms for every answer.
    with socket.socket(proto=socket.IPPROTO_TCP) as held:
        held.bind(("127.0.0.1", 0))
        app = create_app(config)
        fill(app.state.harbor, projects, members)
        slow = Slow(app, app.state.harbor, latency_ms / 1000)
        server = uvicorn.Server(uvicorn.Config(slow, ws="none", log_level="warning", timeout_graceful_shutdown=1))
        held.listen()
        sys.stdout.write(f"http://127.0.0.1:{held.getsockname()[1]}\n")
        sys.stdout.flush()
        server.run(sockets=[held])


if __name__ == "__main__":
    main(Path(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3]), float(sys.argv[4]))
