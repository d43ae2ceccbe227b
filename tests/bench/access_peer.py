"""The reads of `access plan` as harborapi's documentation shows them; needs `pip install harborapi`.

python -m tests.bench.access_peer one-by-one|at-once|list URL
"""

import asyncio
import json
import sys
from typing import Any

from harborapi import HarborAsyncClient  # type: ignore[import-not-found,unused-ignore] # installed for measuring only

from tests.bench.access_plan import AT_ONCE, PASSWORD


async def read(url: str, at_once: int) -> None:
    """Reads what a plan needs: projects, their quotas, members and robots."""
    client = HarborAsyncClient(url=f"{url}/api/v2.0", username="admin", secret=PASSWORD)
    projects = await client.get_projects()
    await client.get_quotas(reference="project")
    turn = asyncio.Semaphore(at_once)

    async def read_one(project: Any) -> bool:
        async with turn:
            members = await client.get_project_members(project.name)
            robots = await client.get_robots(query=f"Level=project,ProjectID={project.project_id}")
            return bool(members) and robots is not None

    if at_once == 1:
        read_all = [await read_one(project) for project in projects]
    else:
        read_all = await asyncio.gather(*map(read_one, projects))
    if not all(read_all):
        raise RuntimeError("a project without members")


async def names(url: str) -> list[str]:
    """Returns the projects' names, as they come."""
    client = HarborAsyncClient(url=f"{url}/api/v2.0", username="admin", secret=PASSWORD)
    return [str(project.name) for project in await client.get_projects()]


def main(way: str, url: str) -> None:
    """Does one reading."""
    if way == "list":
        sys.stdout.write(json.dumps(asyncio.run(names(url))))
    else:
        asyncio.run(read(url, 1 if way == "one-by-one" else AT_ONCE))


if __name__ == "__main__":
    main(*sys.argv[1:])
