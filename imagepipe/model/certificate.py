"""What a server shows of itself in a TLS handshake, as values.

>>> fingerprint(b"")[:14]
'sha256:e3b0c44'
"""

import hashlib
from dataclasses import dataclass
from datetime import datetime

__all__ = ["Certificate", "SiteLook", "TlsLook", "fingerprint"]


def fingerprint(der: bytes) -> str:
    """Returns the SHA-256 of a certificate in DER, as `openssl x509 -fingerprint -sha256` reckons it."""
    return f"sha256:{hashlib.sha256(der).hexdigest()}"


@dataclass(frozen=True, slots=True)
class Certificate:
    """One certificate.

    Attributes:
        subject: Its common name, or all of its name.
        issuer: The same of who signed it.
        names: The DNS names and addresses that it is for.
        not_before: Its first moment, aware.
        not_after: Its last moment, aware.
        fingerprint: Its SHA-256, `sha256:…`.
    """

    subject: str
    issuer: str
    names: tuple[str, ...]
    not_before: datetime
    not_after: datetime
    fingerprint: str


@dataclass(frozen=True, slots=True)
class SiteLook:
    """What a registry's site shows to nobody in particular.

    Attributes:
        tls: Its handshake; None without TLS.
        date: Its clock; None where it does not tell.
        versions: What it says of the registry API (`registry/2.0`), or "".
        challenge: How it wants to be logged in to, or "".
    """

    tls: "TlsLook | None"
    date: datetime | None = None
    versions: str = ""
    challenge: str = ""


@dataclass(frozen=True, slots=True)
class TlsLook:
    """What a handshake showed.

    Attributes:
        certificate: The server's, or None where it broke off before it showed one.
        protocol: `TLSv1.2`, or "" where none was agreed on.
        fault: What is wrong, or None.
        hint: The way out of that.
        distrusted: Whether that is the server's certificate, which we do not accept.
    """

    certificate: Certificate | None
    protocol: str = ""
    fault: str | None = None
    hint: str | None = None
    distrusted: bool = False
