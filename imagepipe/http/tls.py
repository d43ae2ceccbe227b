"""Looks at what a server shows in a TLS handshake, and says in words what is wrong with it.

>>> look.__name__
'look'
"""

import socket
import ssl
from datetime import datetime
from pathlib import Path
from typing import Final

from cryptography import x509
from cryptography.x509.oid import NameOID

from imagepipe.errors import UnavailableError
from imagepipe.model.certificate import Certificate, TlsLook, fingerprint

__all__ = ["certificate_of", "look"]

_TIMEOUT_S: Final = 10.0
# Source: OpenSSL 3 include/openssl/x509_vfy.h (X509_V_ERR_…)
_NOT_YET, _EXPIRED, _WRONG_NAMES = 9, 10, (62, 64)
_UNKNOWN_ISSUER: Final = (18, 19, 20, 21)


def look(
    address: tuple[str, int],
    trusted: ssl.SSLContext,
    now: datetime,
    *,
    ca_hint: str,
    client: tuple[Path, Path] | None = None,
) -> TlsLook:
    """Returns what the server at an address shows, and whether `trusted` takes it for the host of that name.

    Nothing is sent after the handshake.

    Args:
        address: Host and port.
        trusted: What is trusted, with our own certificate where one is wanted.
        now: The time.
        ca_hint: The way out where its authority is not known.
        client: Our certificate and key, for a second look that trusts anything and only reads.

    Raises:
        UnavailableError: Nobody answers there.
    """
    try:
        der, protocol = _shake_hands(address, trusted)
    except ssl.SSLCertVerificationError as error:
        shown = _shown(address, client)
        fault, hint = _judged(error, shown, address[0], now, ca_hint)
        return TlsLook(shown, fault=fault, hint=hint, distrusted=True)
    except ssl.SSLError as error:
        return TlsLook(None, fault=_words(error), hint="check the port, and that it speaks TLS")
    return TlsLook(certificate_of(der), protocol)


def certificate_of(der: bytes) -> Certificate:
    """Returns what a certificate in DER says."""
    read = x509.load_der_x509_certificate(der)
    try:
        alternatives = read.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
        names = [str(one) for kind in (x509.DNSName, x509.IPAddress) for one in alternatives.get_values_for_type(kind)]
    except x509.ExtensionNotFound:
        names = []
    return Certificate(
        _name(read.subject),
        _name(read.issuer),
        tuple(names),
        read.not_valid_before_utc,
        read.not_valid_after_utc,
        fingerprint(der),
    )


def _shake_hands(address: tuple[str, int], context: ssl.SSLContext) -> tuple[bytes, str]:
    try:
        with (
            socket.create_connection(address, _TIMEOUT_S) as plain,
            context.wrap_socket(plain, server_hostname=address[0]) as secured,
        ):
            return secured.getpeercert(binary_form=True) or b"", secured.version() or ""
    except ssl.SSLError:
        raise
    except OSError as error:
        raise UnavailableError(
            f"{address[0]}:{address[1]}: {error.strerror or error}", hint="check the address and that it is up"
        ) from error


def _shown(address: tuple[str, int], client: tuple[Path, Path] | None) -> Certificate | None:
    """Returns the certificate that was not accepted, or None where it cannot be had a second time."""
    reading = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    reading.check_hostname, reading.verify_mode = False, ssl.CERT_NONE
    if client is not None:
        reading.load_cert_chain(*client)
    try:
        return certificate_of(_shake_hands(address, reading)[0])
    except (ssl.SSLError, UnavailableError, ValueError):
        return None


def _judged(
    error: ssl.SSLCertVerificationError, shown: Certificate | None, host: str, now: datetime, ca_hint: str
) -> tuple[str, str]:
    code = error.verify_code
    if code in _WRONG_NAMES and shown is not None:
        names = ", ".join(shown.names) or f"nobody by a subject alternative name (subject {shown.subject})"
        return f"its certificate is for {names}, and not for {host}", "use one of these names as its address"
    if code == _EXPIRED and shown is not None:
        if shown.not_after < now:
            return f"its certificate expired on {shown.not_after:%Y-%m-%d}", "have it renewed"
        return f"the certificate of {shown.issuer}, which signed its own, expired", "have the authority's renewed"
    if code == _NOT_YET and shown is not None:
        since = max(shown.not_before, now)
        return f"its certificate is not valid before {since:%Y-%m-%d %H:%M} UTC", "check the clocks, here and there"
    if code in _UNKNOWN_ISSUER:
        # A server that wants another client certificate shows its own once only, to the look that did not accept it.
        signer = shown.issuer if shown is not None else "an authority"
        own = "by itself" if shown is not None and shown.issuer == shown.subject else f"by {signer}"
        return f"its certificate is signed {own}, which is not trusted here", ca_hint
    return f"its certificate is not accepted: {error.verify_message}", ca_hint


def _words(error: ssl.SSLError) -> str:
    return f"TLS failed: {(error.reason or str(error)).lower().replace('_', ' ')}"


def _name(name: x509.Name) -> str:
    common = name.get_attributes_for_oid(NameOID.COMMON_NAME)
    return str(common[0].value) if common else name.rfc4514_string()
