"""Harbor's API 2.0, as Harbor 2.0 … 2.15 speak it."""

from imagepipe.harbor.connection import Connection
from imagepipe.harbor.detect import Detected
from imagepipe.harbor.features import FIRST
from imagepipe.harbor.v2.audit import AuditLog2
from imagepipe.harbor.v2.callers import Callers2
from imagepipe.harbor.v2.members import Membership2
from imagepipe.harbor.v2.obstacles import Obstacles2
from imagepipe.harbor.v2.projects import Projects2
from imagepipe.harbor.v2.robots import Robots2
from imagepipe.harbor.v2.session import Session
from imagepipe.harbor.v2.settings import known_settings
from imagepipe.model.access import Role
from imagepipe.ports.administration import Administration

__all__ = ["administration"]


def administration(connection: Connection, found: Detected) -> Administration:
    """Returns the administration of a Harbor 2.x that knows us.

    Raises:
        CredentialsError: It does not.
    """
    assert connection.credential is not None
    session = Session.open(connection.client("/api/v2.0"), found.auth_mode, connection.credential.username)
    gate = session.gate
    return Administration(
        dialect=found.dialect,
        since=FIRST,
        version=gate.version,
        roles=tuple(Role),
        settings=known_settings(gate),
        callers=Callers2(session),
        projects=Projects2(session),
        membership=Membership2(session),
        robots=Robots2(session) if gate.has("robots") else None,
        audit=AuditLog2(session),
        obstacles=Obstacles2(session),
        folds=session.auth_mode == "ldap_auth",
    )
