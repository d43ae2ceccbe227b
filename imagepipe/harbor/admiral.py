"""The administration of VIC: projects and members live in Admiral beside its Harbor, users in vCenter's sign-on."""

import weakref
from typing import Final

import httpx

from imagepipe.errors import UnsupportedError
from imagepipe.harbor.admiral_client import AdmiralClient, SignOn, TokenTransport
from imagepipe.harbor.admiral_members import Membership
from imagepipe.harbor.admiral_projects import KNOWN, Projects
from imagepipe.harbor.admiral_session import LISTS, ROLE_WORDS, Session, session_of, whoami
from imagepipe.harbor.connection import Connection
from imagepipe.harbor.detect import Detected
from imagepipe.harbor.features import FIRST
from imagepipe.harbor.v1_callers import rights_of
from imagepipe.http.client import open_client, trust
from imagepipe.model.access import Caller, Project, Right
from imagepipe.ports.administration import Administration

__all__ = ["administration"]

_NOWHERE: Final = ("", "NA")


def administration(connection: Connection, found: Detected) -> Administration:
    """Returns the administration of an Admiral that knows us.

    Raises:
        CredentialsError: It does not.
        UnsupportedError: It is on another host than Harbor.
    """
    assert connection.credential is not None
    url = _url(connection, found)
    transport = TokenTransport(connection.transport, trust(httpx.URL(url), connection.ca_file))
    http = open_client(url, sink=connection.sink, transport=transport, product="harbor")
    client = AdmiralClient(http, SignOn(http, connection.credential))
    weakref.finalize(client, http.close)
    session = Session.open(client, found.version or "unknown")
    return Administration(
        dialect=found.dialect,
        since=FIRST,
        version=session.version,
        roles=tuple(LISTS),
        settings=KNOWN,
        callers=Callers(session),
        projects=Projects(session),
        membership=Membership(session),
        robots=None,
        audit=None,
        folds=True,
    )


class Callers:
    """Keeps `ports.administration.Callers`."""

    def __init__(self, session: Session) -> None:
        self._session = session

    def caller(self) -> Caller:
        """Returns whom Admiral takes us for, asked anew."""
        return whoami(session_of(self._session.client))

    def rights(self, project: Project) -> frozenset[Right]:
        """Returns what our roles in the project let us do, those of our groups included."""
        wire = session_of(self._session.client)
        words = next((each.roles for each in wire.projects if each.name == project.name), ())
        held = {ROLE_WORDS[word] for word in words if word in ROLE_WORDS}
        role = next((role for role in LISTS if role in held), None)
        public = project.settings.get("public") is True
        return rights_of(role, system_admin=whoami(wire).system_admin, public=public)


def _url(connection: Connection, found: Detected) -> str:
    """Returns Admiral's address: what Harbor says it is, if that is Harbor's own host; the password goes there."""
    if found.admiral_url in _NOWHERE:
        return connection.url
    own, theirs = httpx.URL(connection.url), httpx.URL(found.admiral_url)
    if (own.scheme, own.host) != (theirs.scheme, theirs.host):
        raise UnsupportedError(
            f"administer {connection.url}: its Admiral is said to be {theirs.scheme}://{theirs.host}, another host",
            hint="address Harbor by the host name that Admiral has",
        )
    return str(theirs)
