"""How a project is made at a Harbor of its own, old or new, whatever becomes of the answer.

>>> different(Project("es", {"public": True}), {"public": True, "auto_scan": False})
{'auto_scan': False}
"""

from collections.abc import Callable, Mapping

from imagepipe.errors import RefusedError
from imagepipe.harbor.change import Change
from imagepipe.harbor.client import Call, HarborClient
from imagepipe.http.failure import words
from imagepipe.model.access import Project

__all__ = ["different", "made"]


def made(
    client: HarborClient,
    name: str,
    body: Mapping[str, object],
    *,
    exists: Callable[[str], bool],
    read: Callable[[str, str], Project],
) -> Project:
    """Makes a project and returns it as read back.

    Args:
        client: The Harbor.
        name: Of the project.
        body: What goes along, besides its name.
        exists: Tells whether a project of a name is there, hidden or not.
        read: Reads a project by its name; what for is told along.

    Raises:
        RefusedError: There is one of that name.
    """
    what = f"create project {name[:80]}"
    if exists(name):
        raise RefusedError(f"{what}: it exists", hint="choose another name, or change its settings")
    change = Change(client, what)
    call = Call("POST", "/projects", what, body={"project_name": name, **body}, accept=(409,))

    def attempt() -> Project | None:
        if change.in_doubt and exists(name):
            return read(name, what)
        response = change.write(call)
        if response is not None and response.status_code == 409 and not change.in_doubt:
            raise RefusedError(f"{what}: {words(response)}", hint="somebody else has just made it: look at it")
        return read(name, what) if response is not None else None

    return change.until(attempt)


def different(project: Project, settings: Mapping[str, bool | str | int]) -> dict[str, bool | str | int]:
    """Returns the settings that a project does not have yet; one that does not show counts as different."""
    return {name: value for name, value in settings.items() if project.settings.get(name) != value}
