"""Builds the HTTP clients of the project: trust, deadlines, retries, no cookies, bounded bodies.

>>> with open_client("https://vic.example", transport=httpx.MockTransport(lambda request: httpx.Response(200))) as c:
...     c.get("/v2/").status_code
200
"""

import ssl
import time
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Final

import httpx

from imagepipe import __version__
from imagepipe.errors import DeadlineError, RefusedError, SettingsError
from imagepipe.events import EventSink, silent
from imagepipe.http.network import Network
from imagepipe.http.retry import RetryTransport

__all__ = ["CERTS_DIR", "Guard", "network", "open_client", "trust"]

# Source: docker docs "Verify repository client with certificates"; the port is part of the folder's name.
CERTS_DIR: Final = Path("/etc/docker/certs.d")
_CONNECT_TIMEOUT_S: Final = 10.0
# Harbor's nginx gives its API 60 s. Source: Harbor v2.15.2 make/photon/prepare/templates/nginx
_READ_TIMEOUT_S: Final = 65.0
_WHOLE_HEAD_TIMEOUT_S: Final = 2 * _READ_TIMEOUT_S  # a head that has begun may take as long again to end
_WHOLE_BODY_TIMEOUT_S: Final = 300.0
_BODY_LIMIT_BYTES: Final = 32 * 1024 * 1024  # above every manifest, bundle, config and page of a list
_REDIRECTS: Final = 5


def open_client(
    base_url: str,
    *,
    ca_file: Path | None = None,
    auth: httpx.Auth | None = None,
    sink: EventSink = silent,
    transport: httpx.BaseTransport | None = None,
    product: str = "",
) -> httpx.Client:
    """Returns a client for one host; close it after use. It may be shared by threads.

    It follows no redirect unless a request asks for it, and httpx then takes credentials along to the same host only.

    Args:
        base_url: `https://host[:port]`.
        ca_file: A PEM file with CAs to trust besides the system's.
        auth: How requests are authenticated.
        sink: Hears about retries.
        transport: What sends one request once; None: the network, by the proxies that the environment names.
        product: Added to the `User-Agent`, such as `cosign`.

    Raises:
        SettingsError: The CA file is missing or no PEM file, or the environment names a proxy that cannot be used.
    """
    url = httpx.URL(base_url)
    return httpx.Client(
        base_url=url,
        auth=auth,
        transport=RetryTransport(Guard(transport or network(trust(url, ca_file))), sink=sink),
        timeout=_timeout(),
        max_redirects=_REDIRECTS,
        # Compressed bodies could grow without bound; what we read is small.
        headers={"User-Agent": f"imagepipe/{__version__} {product}".strip(), "Accept-Encoding": "identity"},
    )


def trust(url: httpx.URL, ca_file: Path | None = None, *, certs_dir: Path = CERTS_DIR) -> ssl.SSLContext:
    """Returns the TLS context for a host: `ca_file`, else Docker's folder for it, on top of the system's CAs.

    Raises:
        SettingsError: A CA file is missing or no PEM file.
    """
    host = url.netloc.decode("ascii")
    return _trusting((ca_file,) if ca_file else tuple(sorted((certs_dir / host).glob("*.crt"))))


@cache  # to read the system's CAs takes 20 ms; what is in the files is read once for a command, like every setting
def _trusting(files: tuple[Path, ...]) -> ssl.SSLContext:
    context = ssl.create_default_context()
    # Go, and so Docker, does not ask a private CA for all of RFC 5280: what Docker trusts is trusted here.
    context.verify_flags &= ~ssl.VERIFY_X509_STRICT
    for file in files:
        try:
            context.load_verify_locations(cafile=file)
        except (OSError, ValueError) as error:
            reason = getattr(error, "strerror", None) or str(error)
            raise SettingsError(f"{file}: not a usable CA file: {reason}", hint="name a PEM file") from error
    return context


class Guard(httpx.BaseTransport):
    """Lets no cookie through and no body without end.

    A session cookie would make Harbor ask for a CSRF token on every write.
    Source: Harbor v2.15.2 src/server/middleware/csrf/csrf.go
    """

    def __init__(self, inner: httpx.BaseTransport) -> None:
        self._inner = inner

    def handle_request(self, request: httpx.Request) -> httpx.Response:
        """Returns the answer without `Set-Cookie`, its body bounded in size and time."""
        request.headers.pop("cookie", None)
        response = self._inner.handle_request(request)
        response.headers.pop("set-cookie", None)
        if response.headers.get("content-encoding", "identity") != "identity" and request.method != "HEAD":
            response.close()
            raise RefusedError("the answer is compressed, though that was not asked for")
        assert isinstance(response.stream, httpx.SyncByteStream)
        response.stream = _Bounded(response.stream)
        return response

    def close(self) -> None:
        """Closes the transport inside."""
        self._inner.close()


class _Bounded(httpx.SyncByteStream):
    def __init__(self, inner: httpx.SyncByteStream) -> None:
        self._inner = inner

    def __iter__(self) -> Iterator[bytes]:
        deadline, left = time.monotonic() + _WHOLE_BODY_TIMEOUT_S, _BODY_LIMIT_BYTES
        for chunk in self._inner:
            left -= len(chunk)
            if left < 0:
                raise RefusedError(f"the answer is larger than {_BODY_LIMIT_BYTES} bytes")
            if time.monotonic() > deadline:
                raise DeadlineError(f"the answer did not end within {_WHOLE_BODY_TIMEOUT_S:g} s")
            yield chunk

    def close(self) -> None:
        self._inner.close()


def network(context: ssl.SSLContext) -> httpx.BaseTransport:
    """Returns what sends one request once, by the proxies that the environment names; raises as `open_client`."""
    return Network(context, _timeout(), head_s=_WHOLE_HEAD_TIMEOUT_S, sending_s=_WHOLE_BODY_TIMEOUT_S)


def _timeout() -> httpx.Timeout:
    return httpx.Timeout(_READ_TIMEOUT_S, connect=_CONNECT_TIMEOUT_S)
