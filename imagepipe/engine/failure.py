"""What engines and VCHs say when they cannot: one table from their words to our errors.

Both answer with an HTTP status and `{"message": …}` before the first line of a stream, and with an `errorDetail`
line in a 200 stream after it, so the words decide and the status only breaks ties.

>>> type(classify("manifest for vic.example/p/n:9 not found: manifest unknown: manifest unknown")).__name__
'NotFoundError'
"""

import re
from dataclasses import dataclass
from typing import Final

from imagepipe.errors import (
    AccessError,
    CredentialsError,
    DeadlineError,
    DigestMismatchError,
    ImagepipeError,
    NotFoundError,
    PermissionRefusedError,
    RefusedError,
    SettingsError,
    StorageFullError,
    UnavailableError,
    UnsupportedError,
)

__all__ = ["classify", "plain", "redact"]

# Longer than any message seen, short enough for a terminal: registries may answer with a whole HTML page.
_MAX_MESSAGE_CHARS: Final = 1000
# Colours that the classic builder puts round stderr, and whatever else a container prints to steer a terminal.
# Source: ECMA-48 section 5.4 (control sequences).
_CONTROLS = re.compile(r"\x1b(?:\[[0-?]*[ -/]*[@-~]|[@-Z\\-_])|[\x00-\x08\x0b-\x1f\x7f-\x9f]")
_USERINFO = re.compile(r"(?<=://)[^/\s@]+@")


@dataclass(frozen=True, slots=True)
class _Rule:
    """Words that mean an error; the first rule whose pattern is found decides, whatever the case of its letters.

    Patterns are compiled when something fails: to compile them all takes as long as a request.
    """

    pattern: str
    error: type[ImagepipeError]
    hint: str


# Source: VIC v1.5.8 lib/apiservers/engine/backends/image.go, lib/imagec/{imagec,docker,download}.go,
# pkg/fetcher/fetcher.go; moby v20.10.24 distribution/errors.go, registry/errors.go;
# distribution v2.8.2 registry/api/errcode; Harbor v1.7.8 src/core/proxy/interceptors.go,
# v2.15 src/server/middleware/{contenttrust,vulnerable,immutable,quota}.
_RULES: Final = (
    # Policy: a VCH's whitelist, Harbor's content trust, scanner, quota and immutability. Before the "denied" rules,
    # because Harbor says some of these with code DENIED.
    _Rule(
        r"Access denied to unauthorized registry",
        RefusedError,
        "add the registry to this VCH's whitelist (vic-machine configure --whitelist-registry) "
        "or promote to another target",
    ),
    _Rule(
        r"configured as immutable",
        RefusedError,
        "push under a new tag, or remove the immutability rule from the project",
    ),
    _Rule(
        r"exceed the configured upper limit|Storage quota exceeds",
        RefusedError,
        "free space in the project or raise its quota",
    ),
    _Rule(r"in read.?only mode", RefusedError, "wait until the registry's maintenance is over"),
    _Rule(
        r"is not signed (?:in|by)\b|severity of vulnerability|configured policy in|image severity"
        r"|http code: 412|412 Precondition",
        RefusedError,
        "satisfy the project's policy in Harbor: sign the image, or fix or allow what the scanner found",
    ),
    # Whole sentences that carry a name, before the rules that a name such as `es/timeout` could match.
    _Rule(
        r"^OCI (?:manifest|index) found, but|: OCI (?:manifest|index) found, but",
        UnsupportedError,
        "build the image with profile vch: this host cannot read OCI manifests",
    ),
    _Rule(
        r"manifest for \S+ not found|Tag \S+ not found in repository|^No such image: ",
        NotFoundError,
        "check the name, and that the registry holds this tag or digest",
    ),
    _Rule(
        r"pull access denied for \S+|requested access to the resource is denied",
        PermissionRefusedError,
        "check that the project and repository exist, and that these credentials may do this there",
    ),
    # What this host or registry will never do.
    _Rule(
        r"missing signature key",
        UnsupportedError,
        "a VCH pulls Docker schema 2 images by tag, from a registry that still makes schema 1 of them "
        "(Harbor 1.x): rebuild with profile vch, or promote to another target",
    ),
    _Rule(
        r"unsupported manifest (?:media type|format)|not (?:yet )?implement|mediaType in manifest should be"
        r"|Docker Swarm is not yet supported|page not found",
        UnsupportedError,
        "use another target or image format: this host does not offer it",
    ),
    _Rule(
        r"no matching manifest for|does not match the specified platform|manifest invalid|manifest schema unsupported"
        r"|empty history when trying|number of descriptors and number of layers",
        UnsupportedError,
        "build the image for the host's platform and profile, then promote that",
    ),
    _Rule(
        r"Docker-Distribution-API-Version header|www-authenticate header is",
        UnsupportedError,
        "use a registry that speaks the Docker registry API with bearer tokens",
    ),
    _Rule(
        r"layer checksum|layer verification failed|layers from manifest don't match|digest verification failed",
        DigestMismatchError,
        "treat the registry or the path to it as broken, and do not use the image",
    ),
    # Datastores and disks.
    _Rule(
        r"no space left on device|disk quota exceeded|not enough space",
        StorageFullError,
        "free space on that host (remove images that nobody uses; on a VCH, raise --endpoint-memory), then try again",
    ),
    _Rule(
        r"parent of this virtual disk could not be opened",
        UnavailableError,
        "try again; if it stays, look at the VCH's datastore",
    ),
    _Rule(
        r"Failed to write to image store",
        RefusedError,
        "build with fewer instructions (a VCH takes at most 90 history entries), or look at the VCH's datastore",
    ),
    _Rule(
        r"No volume store named",
        RefusedError,
        "give this VCH a volume store called default (vic-machine configure --volume-store)",
    ),
    # TLS and names, as the host sees the registry. "no such host" comes before "no such".
    _Rule(
        r"x509:|certificate signed by unknown authority|tls: failed to verify",
        AccessError,
        "give that host the registry's CA (vic-machine configure --registry-ca; on an engine "
        "/etc/docker/certs.d/<registry>/ca.crt)",
    ),
    _Rule(
        r"server gave HTTP response to HTTPS client",
        AccessError,
        "serve the registry with TLS, or list it among that host's insecure registries",
    ),
    _Rule(
        r"HTTP request to an HTTPS server",
        SettingsError,
        "set cert_path to the folder with ca.pem, cert.pem and key.pem",
    ),
    _Rule(
        r"no such host|server misbehaving|network is unreachable|no route to host",
        UnavailableError,
        "check the registry's name, and name resolution and routes on that host",
    ),
    _Rule(
        r"connection refused|connection reset|broken pipe|(?-i:\bEOF\b)|i/o timeout|TLS handshake timeout|timed? ?out"
        r"|deadline exceeded|Client\.Timeout|request canceled|transport is closing|OAuth endpoint",
        UnavailableError,
        "check that the registry is up and that this host can reach it, then try again",
    ),
    _Rule(
        r"toomanyrequests|too many requests|unexpected HTTP status:? 5\d\d|http code: (?:5\d\d|423|429)"
        r"|HTTP response status 5\d\d|parsing HTTP (?:5\d\d|429)|internal server error|service unavailable|bad gateway",
        UnavailableError,
        "wait and try again; the registry is overloaded or broken",
    ),
    # Who we are. A VCH, and a registry that hides what is private, say "pull access denied" for all three.
    _Rule(
        r"incorrect username or password|authentication required|no basic auth credentials|invalid (?:user|credential)"
        r"|wrong login/password",
        CredentialsError,
        "check the registry's username and password, and that a robot account has not expired",
    ),
    _Rule(
        r"access denied|unauthorized to access|^denied\b|: denied\b|forbidden"
        r"|insufficient_scope",
        PermissionRefusedError,
        "check that the project and repository exist, and that these credentials may do this there",
    ),
    _Rule(
        r"unauthorized",
        CredentialsError,
        "check the registry's username and password, and that a robot account has not expired",
    ),
    # Last, because many of the sentences above also say "not found".
    _Rule(
        r"manifest unknown|name unknown|repository .*not found|tag .*not found|not found: does not exist"
        r"|does not exist|no such image|no such container|manifest for .* not found|http code: 404|not found",
        NotFoundError,
        "check the name, and that the registry holds this tag or digest",
    ),
)


def classify(message: str, *, status: int | None = None, anonymous: bool = False) -> ImagepipeError:
    """Returns the error that these words mean.

    Args:
        message: What the engine or VCH said.
        status: The HTTP status it came with, or None for a line in a stream.
        anonymous: Whether no credentials were sent: a denial then means that they are missing.
    """
    text = redact(message)
    for rule in _RULES:
        if not re.search(rule.pattern, text, re.IGNORECASE):
            continue
        if anonymous and rule.error is PermissionRefusedError:
            return CredentialsError(text, hint="configure credentials for this registry; none were sent")
        return rule.error(text, hint=rule.hint)
    return _by_status(status)(text)


def redact(message: str) -> str:
    """Returns the message on one line, without user names and passwords in URLs, cut to a sane length."""
    text = plain(_USERINFO.sub("", " ".join(message.split())))
    return text if len(text) <= _MAX_MESSAGE_CHARS else text[:_MAX_MESSAGE_CHARS] + " …"


def plain(text: str) -> str:
    """Returns the text without terminal control sequences; tabs and line breaks stay."""
    return _CONTROLS.sub("", text)


# An unknown line in a stream is final: retrying what nobody understands hides it. Source: RFC 9110 section 15.
_STATUS_ERRORS: Final[dict[int, type[ImagepipeError]]] = {
    401: CredentialsError,
    403: PermissionRefusedError,
    404: NotFoundError,
    408: DeadlineError,
    429: UnavailableError,
    501: UnsupportedError,
    504: DeadlineError,
}


def _by_status(status: int | None) -> type[ImagepipeError]:
    if status is None:
        return RefusedError
    return _STATUS_ERRORS.get(status, UnavailableError if status >= 500 else RefusedError)
