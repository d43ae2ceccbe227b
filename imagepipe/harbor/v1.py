"""The API of Harbor 1.x, stand-alone: 1.7 as VIC bundles it, up to 1.10."""

from typing import Final, NoReturn

from imagepipe.errors import UnsupportedError
from imagepipe.harbor.connection import Connection
from imagepipe.harbor.detect import Detected
from imagepipe.harbor.features import release
from imagepipe.harbor.v1_callers import Callers1
from imagepipe.harbor.v1_logs import AuditLog1
from imagepipe.harbor.v1_members import Membership1
from imagepipe.harbor.v1_projects import Projects1
from imagepipe.harbor.v1_session import Session1
from imagepipe.harbor.v1_settings import KNOWN
from imagepipe.model.access import Project, Robot, RobotRequest
from imagepipe.ports.administration import Administration

__all__ = ["administration"]

_ROBOTS_SINCE: Final = (1, 8)


def administration(connection: Connection, found: Detected) -> Administration:
    """Returns the administration of a Harbor 1.x that knows us.

    Raises:
        CredentialsError: It does not.
    """
    session = Session1.open(connection.client("/api"), found.version, found.auth_mode)
    own = release(session.version)
    return Administration(
        dialect=found.dialect,
        version=session.version,
        roles=session.roles,
        settings=KNOWN,
        callers=Callers1(session),
        projects=Projects1(session),
        membership=Membership1(session),
        robots=EarlyRobots(session.version) if own is not None and own >= _ROBOTS_SINCE else None,
        audit=AuditLog1(session),
    )


class EarlyRobots:
    """The robots of Harbor 1.8 to 1.10, which are tokens below their project: not spoken here, and said so."""

    def __init__(self, version: str) -> None:
        self._version = version

    def list(self, project: Project | None) -> tuple[Robot, ...]:
        """Raises UnsupportedError."""
        self._refuse(f"list the robots of {project.name if project else 'Harbor'}")

    def create(self, request: RobotRequest, project: Project | None) -> NoReturn:  # noqa: ARG002 - the port's
        """Raises UnsupportedError."""
        self._refuse(f"create robot {request.name}")

    def disable(self, robot: Robot) -> None:
        """Raises UnsupportedError."""
        self._refuse(f"disable robot {robot.login}")

    def delete(self, robot: Robot) -> None:
        """Raises UnsupportedError."""
        self._refuse(f"delete robot {robot.login}")

    def _refuse(self, what: str) -> NoReturn:
        raise UnsupportedError(
            f"{what}: needs Harbor ≥ 2.2, this is {self._version}",
            hint="use a user with the developer role instead, or Harbor's web interface",
        )
