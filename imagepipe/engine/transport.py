"""What goes wrong on the way to a host, as one of our errors: requests wraps the reason in three layers of its own.

>>> type(explain(ConnectionRefusedError(111, "Connection refused"), "tcp://vch:2376")).__name__
'UnavailableError'
"""

import errno
import ssl
from collections.abc import Iterator
from typing import Final

import requests
import urllib3

from imagepipe.engine.failure import redact
from imagepipe.engine.whole import TOO_LONG
from imagepipe.errors import (
    CredentialsError,
    DeadlineError,
    ImagepipeError,
    PermissionRefusedError,
    SettingsError,
    UnavailableError,
)

__all__ = ["FOREIGN", "broke_off", "explain"]

# Everything that a request can raise: requests' tree is made of OSErrors, urllib3's and http.client's are not.
FOREIGN: Final = (OSError, urllib3.exceptions.HTTPError)

# How an answer that ends too early is told, over a ValueError that tells nobody anything.
# Source: urllib3 2.x response.py _update_chunk_length, _error_catcher.
_CUT_SHORT: Final = ("Response ended prematurely", "InvalidChunkLength", "IncompleteRead")

# Source: RFC 8446 section 6.2 alerts, as OpenSSL 3 names them; Go's crypto/tls sends bad_certificate for most.
_REFUSALS: Final = ("ALERT", "CERTIFICATE_REQUIRED")


def explain(error: BaseException, host: str) -> ImagepipeError:
    """Returns the error that this failure of a connection to `host` means."""
    chain = tuple(_reasons(error))
    for reason in chain:
        if isinstance(reason, ssl.SSLError) and not isinstance(reason, ssl.SSLEOFError | ssl.SSLZeroReturnError):
            return _explain_tls(reason, host)
    if any(isinstance(reason, PermissionError) for reason in chain):
        return PermissionRefusedError(
            f"{host}: permission denied", hint="run as a user who may use this socket (group docker)"
        )
    if any(isinstance(reason, requests.ConnectTimeout) for reason in chain):
        return UnavailableError(f"{host}: no connection in time", hint="check the address, and that nothing blocks it")
    # The kernel's own word, see `keepalive`; a read that merely took too long is a TimeoutError without a number.
    if any(isinstance(reason, OSError) and reason.errno == errno.ETIMEDOUT for reason in chain):
        return UnavailableError(
            f"{host}: the connection died: nothing there answers any more",
            hint="check the network between this machine and the host, and that the host is up",
        )
    if any(
        isinstance(reason, requests.ReadTimeout | urllib3.exceptions.ReadTimeoutError | TimeoutError)
        for reason in chain
    ):
        late = TOO_LONG if any(str(reason) == TOO_LONG for reason in chain) else "no answer in time"
        return DeadlineError(f"{host}: {late}", hint="check that the host is well; it accepted a connection")
    return UnavailableError(
        f"{host}: {_words(chain)}",
        hint="check the address and that the host is up; a VCH needs some minutes after a restart",
    )


def broke_off(error: BaseException) -> bool:
    """Tells whether the host hung up while we were sending, which over TLS may hide why."""
    abrupt = (ssl.SSLEOFError, ssl.SSLZeroReturnError, ConnectionResetError, BrokenPipeError)
    return any(isinstance(reason, abrupt) for reason in _reasons(error))


def _explain_tls(error: ssl.SSLError, host: str) -> ImagepipeError:
    if isinstance(error, ssl.SSLCertVerificationError):
        return CredentialsError(
            f"{host}: its certificate is not accepted: {error.verify_message or error.reason}",
            hint="use the ca.pem of this host, and a name or address that its certificate carries",
        )
    reason = error.reason or str(error)
    if any(word in reason for word in _REFUSALS):
        return CredentialsError(
            f"{host}: refuses our client certificate: {reason.lower().replace('_', ' ')}",
            hint="use the cert.pem and key.pem that belong to this host, and check this machine's clock",
        )
    if "WRONG_VERSION_NUMBER" in reason or "HTTP_REQUEST" in reason:
        return SettingsError(f"{host}: does not speak TLS", hint="correct the port, or remove cert_path")
    return CredentialsError(
        f"{host}: TLS failed: {reason.lower().replace('_', ' ')}", hint="check cert_path and that the host speaks TLS"
    )


def _reasons(error: BaseException) -> Iterator[BaseException]:
    """Yields the error and all that it wraps, outermost first: causes, contexts, arguments and urllib3's `reason`."""
    pending: list[BaseException] = [error]
    seen: set[int] = set()
    while pending:
        current = pending.pop(0)
        if id(current) in seen:
            continue
        seen.add(id(current))
        yield current
        inner = (current.__cause__, current.__context__, getattr(current, "reason", None), *current.args)
        pending.extend(one for one in inner if isinstance(one, BaseException))


def _words(chain: tuple[BaseException, ...]) -> str:
    """Returns what the operating system said, or else the innermost words there are."""
    if any(word in str(reason) for reason in chain for word in _CUT_SHORT):
        return "the connection broke off in the middle of an answer"
    for reason in reversed(chain):
        if isinstance(reason, OSError) and reason.strerror:
            return reason.strerror.lower()
    return redact(str(chain[-1]) or type(chain[-1]).__name__)
