"""Turns what HTTP did wrong into our errors, in the other side's words, bounded and redacted.

>>> answer = httpx.Response(404, json={"errors": [{"code": "NOT_FOUND", "message": "artifact p/r:1 not found"}]})
>>> str(refusal(answer, "read vic.example/p/r:1"))
'read vic.example/p/r:1: NOT_FOUND: artifact p/r:1 not found (HTTP 404)'
"""

import re
import ssl
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Final

import httpx

from imagepipe.errors import (
    AccessError,
    CredentialsError,
    DeadlineError,
    ImagepipeError,
    NotFoundError,
    PermissionRefusedError,
    RefusedError,
    UnavailableError,
    UnsupportedError,
)
from imagepipe.http.redact import redact
from imagepipe.model.received import json_in

__all__ = ["Complaint", "asking", "complaints", "is_unknown_type", "refusal", "words"]

_WORDS_LIMIT_CHARS: Final = 300
_CA_HINT: Final = "set ca_file to the CA that signed its certificate, or put it under /etc/docker/certs.d/<host:port>/"

# What a status means; the rest goes by its hundreds. Source: RFC 9110 section 15; Harbor v2.15.2 src/lib/http/error.go
_BY_STATUS: Final[dict[int, tuple[type[ImagepipeError], str | None]]] = {
    401: (CredentialsError, "check the user name and password configured for this host"),
    403: (PermissionRefusedError, "ask for the right, or use another account"),
    404: (NotFoundError, None),
    405: (UnsupportedError, None),
    406: (UnsupportedError, None),
    408: (DeadlineError, "try again"),
    415: (UnsupportedError, None),
    429: (UnavailableError, "wait a little: the other side limits how often it may be asked"),
    501: (UnsupportedError, None),
}
# By code, where the status alone misleads: Harbor answers 403 DENIED for a full quota and in read-only mode.
# Source: Harbor v2.15.2 src/server/middleware/quota/util.go, src/server/middleware/readonly/readonly.go
_FULL_OR_READ_ONLY: Final = re.compile(r"exceed the configured upper limit|read only mode", re.IGNORECASE)
# Harbor 1.10 answers 500 to a manifest that is not Docker's. Source: goharbor/harbor#10952
_UNKNOWN_TYPE: Final = "unsupported content type for manifest"
_POLICY_CODES: Final = ("PROJECTPOLICYVIOLATION", "PROJECT_POLICY_VIOLATION")
# Source: goharbor/harbor v1.7.8 src/core/proxy/interceptors.go asks it of every manifest that is read.
_POLICY_HINT: Final = (
    "the project's policy forbids this pull: sign or scan the image first; "
    "before Harbor 2.0 end the policy, which holds for signatures and records, too"
)


@dataclass(frozen=True, slots=True)
class Complaint:
    """One entry of `{"errors": […]}`; `code` is empty where the body was plain text.

    Source: OCI distribution-spec v1.1 "Error Codes"
    """

    code: str
    message: str

    def __str__(self) -> str:
        return ": ".join(part for part in (self.code, self.message) if part)


def complaints(response: httpx.Response) -> tuple[Complaint, ...]:
    """Returns what an error body says; nothing for empty and HTML bodies. The body must have been read."""
    text = response.text.strip()
    try:
        said = json_in(text)
        # Harbor 1.8 to 1.10 have one complaint, whose code is the status. Source: goharbor/harbor#12273
        entries = said["errors"] if "errors" in said else [{"message": said["message"]}]
        return tuple(
            Complaint(_bounded(str(entry.get("code") or "")), _bounded(str(entry.get("message") or "")))
            for entry in entries
        )
    except (ValueError, KeyError, TypeError, AttributeError):
        # A proxy's HTML page says nothing that its status does not say.
        return (Complaint("", _bounded(text)),) if text and not text.startswith("<") else ()


def is_unknown_type(response: httpx.Response) -> bool:
    """Tells whether a manifest was refused for its media type, whatever the status. The body must have been read."""
    return any(_UNKNOWN_TYPE in complaint.message for complaint in complaints(response))


def words(response: httpx.Response) -> str:
    """Returns the other side's words and the status, at most about 300 characters, without secrets."""
    said = _bounded("; ".join(str(complaint) for complaint in complaints(response)))
    status = f"HTTP {response.status_code}"
    return f"{said} ({status})" if said else f"{status} {response.reason_phrase}".strip()


def refusal(response: httpx.Response, what: str) -> ImagepipeError:
    """Returns the error that an answer other than success means.

    Args:
        response: The answer; its body must have been read.
        what: What we were doing, to what.
    """
    message = f"{what}: {words(response)}"
    heard = complaints(response)
    if response.status_code == 403 and any(_FULL_OR_READ_ONLY.search(complaint.message) for complaint in heard):
        return RefusedError(message, hint="ask a Harbor administrator for more quota, or to end the read-only mode")
    if any(complaint.code in _POLICY_CODES for complaint in heard):
        return RefusedError(message, hint=_POLICY_HINT)
    kind, hint = _BY_STATUS.get(response.status_code, (None, None))
    if is_unknown_type(response):
        kind, hint = UnsupportedError, "this Harbor takes Docker's manifests only: use Harbor 2.0 or newer"
    if kind is not None:
        return kind(message, hint=hint)
    if response.status_code >= 500:
        return UnavailableError(message, hint="try again later, or look at the other side's log")
    if response.status_code >= 400:
        return RefusedError(message)
    return UnavailableError(message, hint="check the address: this is not the answer of the service expected there")


@contextmanager
def asking(what: str) -> Iterator[None]:
    """Turns every exception of httpx inside the block into ours, and says what we were doing.

    Raises:
        DeadlineError: No answer in time.
        AccessError: The certificate of the other side is not trusted.
        CredentialsError: The other side does not accept our certificate, or wants one.
        UnavailableError: Anything else that went wrong on the way.
    """
    try:
        yield
    except ImagepipeError as error:
        raise error.doing(what) from error
    except httpx.TimeoutException as error:
        raise DeadlineError(
            f"{_there(error, what)}: no answer in time ({_reason(error)})", hint="check that it is reachable"
        ) from error
    except httpx.TransportError as error:
        raise _of_transport(error, _there(error, what)) from error
    except (httpx.HTTPError, httpx.InvalidURL) as error:
        raise UnavailableError(f"{what}: {_reason(error)}") from error


def _of_transport(error: httpx.TransportError, what: str) -> ImagepipeError:
    cause = _tls_cause(error)
    if isinstance(cause, ssl.SSLCertVerificationError):
        return AccessError(f"{what}: its certificate is not trusted: {cause.verify_message}", hint=_CA_HINT)
    if cause is not None and "ALERT" in (cause.reason or "") and "CERT" in (cause.reason or ""):
        return CredentialsError(
            f"{what}: TLS refused us: {_reason(error)}", hint="check the client certificate and its dates"
        )
    if isinstance(error, httpx.ProxyError):
        return _of_proxy(_reason(error), what)
    if cause is not None:
        return UnavailableError(f"{what}: TLS failed: {_reason(error)}", hint="check that the port speaks TLS")
    return UnavailableError(f"{what}: {_reason(error)}", hint="check the address and that it is reachable")


def _of_proxy(said: str, what: str) -> ImagepipeError:
    message = f"{what}: the proxy that the environment names says {said}"
    if said.startswith("407"):
        return CredentialsError(
            message, hint="write name and password into HTTPS_PROXY: http://name:password@host:port"
        )
    return UnavailableError(message, hint="ask who runs the proxy, or name this host in NO_PROXY")


def _there(error: httpx.RequestError, what: str) -> str:
    """Returns what we were doing, and where it broke if that is elsewhere: at a token service, or after a redirect."""
    try:
        host = error.request.url.host
    except RuntimeError:  # it broke before there was a request
        return what
    return what if host in what or host in str(error) else f"{what}: {host}"


def _tls_cause(error: BaseException) -> ssl.SSLError | None:
    seen: BaseException | None = error
    while seen is not None:
        if isinstance(seen, ssl.SSLError):
            return seen
        seen = seen.__cause__ or seen.__context__
    return None


def _reason(error: Exception) -> str:
    return _bounded(str(error) or type(error).__name__)


def _bounded(text: str) -> str:
    line = redact(" ".join("".join(char if char.isprintable() else " " for char in text).split()))
    return line if len(line) <= _WORDS_LIMIT_CHARS else f"{line[:_WORDS_LIMIT_CHARS]}…"
