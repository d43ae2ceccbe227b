"""Who we are at a Harbor 2.x, and what we may."""

from imagepipe.harbor.client import Call
from imagepipe.harbor.v2.session import Session, whoami
from imagepipe.harbor.wire import WireAccess, parse
from imagepipe.model.access import Caller, Project, Right

__all__ = ["Callers2"]


class Callers2:
    """Keeps `ports.administration.Callers`."""

    def __init__(self, session: Session) -> None:
        self._session = session

    def caller(self) -> Caller:
        """Returns whom Harbor takes us for, asked anew."""
        return whoami(self._session.client, self._session.caller.name)

    def rights(self, project: Project) -> frozenset[Right]:
        """Returns what we may do in a project, by Harbor's own reckoning; the project itself is `project`."""
        what = f"ask what {self._session.caller.name} may do in project {project.name}"
        params: dict[str, str | int | bool] = {
            "scope": f"/project/{self._session.project_id(project)}",
            "relative": True,
        }
        found = self._session.client.json(Call("GET", "/users/current/permissions", what, params))
        held = (parse(WireAccess, entry, what) for entry in found or ())
        # "." is the scope itself. Source: Harbor v2.15.2 src/pkg/permission/types/namespace.go (RelativeTo)
        return frozenset(
            Right("project" if each.resource in (".", "") else each.resource, each.action) for each in held
        )
