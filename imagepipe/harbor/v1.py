"""The API of Harbor 1.x, stand-alone: 1.7 as VIC bundles it, up to 1.10."""

from imagepipe.harbor.connection import Connection
from imagepipe.harbor.detect import Detected
from imagepipe.harbor.features import FIRST
from imagepipe.harbor.v1_callers import Callers1
from imagepipe.harbor.v1_logs import AuditLog1
from imagepipe.harbor.v1_members import Membership1
from imagepipe.harbor.v1_projects import Projects1
from imagepipe.harbor.v1_session import Session1
from imagepipe.harbor.v1_settings import KNOWN
from imagepipe.ports.administration import Administration

__all__ = ["administration"]


def administration(connection: Connection, found: Detected) -> Administration:
    """Returns the administration of a Harbor 1.x that knows us.

    Raises:
        CredentialsError: It does not.
    """
    assert connection.credential is not None
    session = Session1.open(connection.client("/api"), found.version, found.auth_mode, connection.credential.username)
    return Administration(
        dialect=found.dialect,
        since=FIRST,
        version=session.version,
        roles=session.roles,
        settings=KNOWN,
        callers=Callers1(session),
        projects=Projects1(session),
        membership=Membership1(session),
        robots=None,  # those of 1.8 to 1.10 are tokens below their project, and not spoken here
        audit=AuditLog1(session),
        folds=session.auth_mode == "ldap_auth",
    )
