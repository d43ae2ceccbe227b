"""Opens the administration of a Harbor in the dialect that it speaks.

>>> sorted(DIALECTS)
['admiral', 'harbor-1', 'harbor-2']
"""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Final

import httpx

from imagepipe.errors import CredentialsError, InputError, NotFoundError, UnsupportedError
from imagepipe.events import EventSink, silent
from imagepipe.harbor import admiral, v1, v2
from imagepipe.harbor.connection import Connection
from imagepipe.harbor.detect import ADMIRAL, HARBOR_1, HARBOR_2, Detected, detect
from imagepipe.model.result import Credential
from imagepipe.ports.administration import Administration

__all__ = ["DIALECTS", "Dialect", "open_administration"]

Dialect = Callable[[Connection, Detected], Administration]
# Every dialect proves the credentials before it returns.
DIALECTS: Final[Mapping[str, Dialect]] = {
    HARBOR_2: v2.administration,
    HARBOR_1: v1.administration,
    ADMIRAL: admiral.administration,
}


def open_administration(
    *,
    url: str,
    credential: Credential | None,
    ca_file: Path | None = None,
    dialect: str | None = None,
    sink: EventSink = silent,
    transport: httpx.BaseTransport | None = None,
) -> Administration:
    """Returns a Harbor's administration; that it knows us is proven.

    Args:
        url: Its base URL.
        credential: Who we are.
        ca_file: A PEM file with its CA; None: the system's.
        dialect: `harbor-2`, `harbor-1` or `admiral`; None: find out.
        sink: Hears about retries.
        transport: What sends one request once; None: the network.

    Raises:
        CredentialsError: There are none, or Harbor does not know us.
        InputError: It does not speak the dialect that was given.
        UnsupportedError: Nobody here speaks its dialect.
        UnavailableError: It is no Harbor, or away.
    """
    if credential is None:
        raise CredentialsError(
            f"administer {url}: no user name and password", hint="set harbor.username and harbor.password_file"
        )
    connection = Connection(url=url, credential=credential, ca_file=ca_file, sink=sink, transport=transport)
    found = detect(connection, dialect=dialect)
    speak = DIALECTS.get(found.dialect)
    if speak is None:
        raise UnsupportedError(
            f"administer {url}: this is {found.dialect} {found.version}".rstrip() + ", which is not spoken here",
            hint="use its web interface, or a Harbor 2.x",
        )
    try:
        return speak(connection, found)
    except NotFoundError as error:
        if not found.forced:
            raise
        raise InputError(
            f"administer {url} as {found.dialect}: {error.message}",
            hint="leave harbor.dialect out, and the dialect is found by asking",
        ) from error
