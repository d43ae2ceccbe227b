"""One Docker API address: its own negotiated version, its own deadlines, connections that are used again.

Nothing is read from DOCKER_HOST, Docker contexts, config.json or proxy variables: a stray one must not redirect a
promotion. So docker-py lends its socket transport only: its `APIClient` reads config.json before it connects, and
fails on a broken one.

>>> Endpoint("unix:///run/docker.sock").host
'unix:///run/docker.sock'
"""

import re
import socket
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime
from functools import partial
from time import monotonic
from typing import Any, Final
from urllib.parse import quote, urlsplit

import requests

from imagepipe.engine.auth import ANONYMOUS, AUTH
from imagepipe.engine.failure import classify
from imagepipe.engine.identity import Pin
from imagepipe.engine.keepalive import KeepaliveAdapter
from imagepipe.engine.tls import Certificates
from imagepipe.engine.transport import FOREIGN, broke_off, explain
from imagepipe.engine.whole import Until
from imagepipe.errors import CredentialsError, DeadlineError, ImagepipeError, SettingsError, UnavailableError
from imagepipe.model.received import json_in

__all__ = ["Call", "Endpoint", "quoted"]

CONNECT_TIMEOUT_S: Final = 10.0
# A VCH answers /info by asking vCenter, tens of seconds when that is busy.
READ_TIMEOUT_S: Final = 120.0
_HOST: Final = re.compile(r"unix:///.+|tcp://(?:[A-Za-z0-9._-]+|\[[0-9A-Fa-f:.]+\]):[0-9]{1,5}")
_SOCKET_BASE: Final = "http+docker://localhost"
_TLS_PORT: Final = 2376
# The alert has been sent already, or never will be.
_ALERT_TIMEOUT_S: Final = 3.0
_CHUNK_BYTES: Final = 64 * 1024
# A host that has begun to answer may take as long again to end.
_WHOLE: Final = 2
# More than any inspect or list of a sane host, less than what would hurt.
_MAX_ANSWER_BYTES: Final = 64 * 1024 * 1024


@dataclass(frozen=True, slots=True, kw_only=True)
class Call:
    """One request whose answer is a stream.

    Attributes:
        path: Below the version prefix, quoted.
        params: The query.
        headers: Headers of its own.
        data: The body, piece by piece, or None.
        silence_s: Longest time without a byte from the host, in seconds.
        total_s: Longest time in all, in seconds, or None when only silence counts.
    """

    path: str
    params: Mapping[str, str] = field(default_factory=dict)
    headers: Mapping[str, str] = field(default_factory=dict, repr=False)
    data: Iterable[bytes] | None = None
    silence_s: float
    total_s: float | None = None

    @property
    def anonymous(self) -> bool:
        """Whether it carries no registry credentials."""
        return self.headers.get(AUTH, ANONYMOUS) == ANONYMOUS


class Endpoint:
    """A Docker Engine API address; threads may share it.

    Args:
        host: `unix:///path` or `tcp://host:port`.
        cert_path: The folder with ca.pem, cert.pem and key.pem, or None without TLS.
        connect_timeout_s: Longest wait for a connection, in seconds; one on which nothing is answered any more, not
            even by the host's kernel, is given up after four times as long.
        read_timeout_s: Longest wait for an answer that is no stream, in seconds.
        now: The time that certificates are held against, aware.
        pin: What the host must prove to be before it is asked for anything.

    Raises:
        SettingsError: The address has another shape.
    """

    def __init__(
        self,
        host: str,
        *,
        cert_path: str | None = None,
        connect_timeout_s: float = CONNECT_TIMEOUT_S,
        read_timeout_s: float = READ_TIMEOUT_S,
        now: Callable[[], datetime] = lambda: datetime.now(UTC),
        pin: Pin | None = None,
    ) -> None:
        if not _HOST.fullmatch(host):
            raise SettingsError(f"not a Docker host: {host!r}", hint="write unix:///path or tcp://host:port")
        self.host = host
        self._cert_path = cert_path
        self._timeout_s = (connect_timeout_s, read_timeout_s)
        self._now = now
        self._idle: list[tuple[requests.Session, Until]] = []
        scheme = "https" if cert_path is not None else "http"
        self._base = f"{scheme}://{host.removeprefix('tcp://')}" if host.startswith("tcp://") else _SOCKET_BASE
        self._version: Mapping[str, Any] | None = None
        self._pin = pin
        self._unproven = pin is not None and pin.host_id is not None

    @property
    def api_version(self) -> str:
        """The API version that the host speaks by its own words.

        Raises:
            AccessError, UnavailableError: The host refuses us, or is away.
        """
        return str(self.version()["ApiVersion"])

    def version(self) -> Mapping[str, Any]:
        """Returns what `/version` says, with an `ApiVersion`; kept once it is known, and needs no negotiation.

        Raises:
            AccessError, UnavailableError: The host refuses us, or is away.
        """
        if self._version is None:
            with self._answer("GET", "/version") as response:
                told = self._json(response)
            if not isinstance(told, dict) or not re.fullmatch(r"[0-9]+\.[0-9]+", str(told.get("ApiVersion"))):
                raise UnavailableError(
                    f"{self.host}: tells no API version", hint="check that a Docker Engine or VCH answers there"
                )
            self._version = told
        return self._version

    def info(self) -> Mapping[str, Any]:
        """Returns what `/info` says, once the host is proven to call itself as it is pinned.

        Raises:
            HostChangedError: It calls itself something else.
            AccessError, UnavailableError: The host refuses us, or is away.
        """
        with self._answer("GET", f"/v{self.api_version}/info") as response:
            answer = self._json(response)
        told = answer if isinstance(answer, dict) else {}
        if self._pin is not None:
            self._pin.check_id(self.host, told)
            self._unproven = False
        return told

    def get(self, path: str, params: Mapping[str, str] | None = None) -> Any:
        """Returns the decoded answer to a GET.

        Raises:
            ImagepipeError: What `classify` makes of the host's words, or of the way there.
        """
        with self._answer("GET", self._versioned(path), params=params) as response:
            return self._json(response)

    def raw(self, path: str, params: Mapping[str, str] | None = None) -> bytes:
        """Returns the answer to a GET as it is; raises as `get`."""
        with self._answer("GET", self._versioned(path), params=params) as response:
            return self._body(response)

    def post(self, path: str, params: Mapping[str, str] | None = None, body: Mapping[str, Any] | None = None) -> Any:
        """Returns the decoded answer to a POST, None when it is empty.

        Raises:
            ImagepipeError: As `get`.
        """
        with self._answer("POST", self._versioned(path), params=params, json=body) as response:
            return self._json(response)

    def delete(self, path: str, params: Mapping[str, str] | None = None) -> None:
        """Deletes.

        Raises:
            ImagepipeError: As `get`.
        """
        with self._answer("DELETE", self._versioned(path), params=params) as response:
            self._body(response)  # however empty: a connection whose answer is not read is not used again

    @contextmanager
    def stream(self, call: Call) -> Iterator[Iterator[bytes]]:
        """Posts, and yields the body's chunks as they come; leaving the block hangs up, which stops the host's work.

        Raises:
            DeadlineError: The host was silent for too long, or took too long in all.
            ImagepipeError: As `get`.
        """
        with self._answer(
            "POST",
            self._versioned(call.path),
            whole_s=call.total_s,
            params=call.params,
            headers=call.headers,
            data=None if call.data is None else iter(call.data),
            # Sending stalls at the first of the two, and a busy engine may be slow to take a context.
            timeout=(max(self._timeout_s), call.silence_s) if call.data else (self._timeout_s[0], call.silence_s),
            anonymous=call.anonymous,
        ) as response:
            yield self._chunks(response, call)

    @contextmanager
    def _answer(
        self, method: str, path: str, *, anonymous: bool = False, **request: Any
    ) -> Iterator[requests.Response]:
        with self._session() as (session, until):
            until.within(request.pop("whole_s", _WHOLE * self._timeout_s[1]))
            try:
                response = session.request(
                    method,
                    f"{self._base}{path}",
                    stream=True,
                    allow_redirects=False,
                    **{"timeout": self._timeout_s, **request},
                )
            except FOREIGN as error:
                raise self._explained(error) from error
            try:
                self._check(response, anonymous=anonymous)
                yield response
            finally:
                response.close()

    def _check(self, response: requests.Response, *, anonymous: bool) -> None:
        # 304 is how an engine says that a container is started or stopped already. Source: Docker Engine API 1.25.
        if response.status_code < 300 or response.status_code == 304:
            return
        text = self._body(response).decode("utf-8", "replace")
        try:
            said = str(json_in(text)["message"])
        except (ValueError, KeyError, TypeError):
            said = text.strip()
        said = said or f"HTTP {response.status_code} {response.reason}"
        raise classify(said, status=response.status_code, anonymous=anonymous)

    def _json(self, response: requests.Response) -> Any:
        content = self._body(response)
        if not content.strip():
            return None
        try:
            return json_in(content)
        except ValueError as error:
            raise UnavailableError(
                f"{self.host}: answers something else than JSON", hint="check that a Docker Engine or VCH answers there"
            ) from error

    def _body(self, response: requests.Response) -> bytes:
        content = bytearray()
        try:
            for chunk in response.iter_content(_CHUNK_BYTES):
                content += chunk
                if len(content) > _MAX_ANSWER_BYTES:
                    raise UnavailableError(f"{self.host}: answers more than {_MAX_ANSWER_BYTES} bytes")
        except FOREIGN as error:
            raise explain(error, self.host) from error
        return bytes(content)

    def _chunks(self, response: requests.Response, call: Call) -> Iterator[bytes]:
        started = monotonic()
        try:
            for chunk in response.iter_content(_CHUNK_BYTES):
                yield chunk
                if call.total_s is not None and monotonic() - started > call.total_s:
                    raise DeadlineError(
                        f"{self.host}: not done after {call.total_s:g} s", hint="check that the host is well"
                    )
        except FOREIGN as error:
            raise explain(error, self.host) from error

    def _explained(self, error: BaseException) -> ImagepipeError:
        failure = explain(self._alert(error) or error, self.host)
        if isinstance(failure, CredentialsError) and self._cert_path is not None:
            try:
                # What was good when we first connected may have expired since: then it can be named.
                Certificates.load(self._cert_path, self._now())
            except (CredentialsError, SettingsError) as ours:
                return ours
        return failure

    def _alert(self, error: BaseException) -> BaseException | None:
        """Returns the TLS alert behind a request that broke off while it was sent, or None where there is none."""
        if self._cert_path is None or not broke_off(error):
            return None
        address = urlsplit(self.host)
        files = Certificates.load(self._cert_path, self._now())
        return files.refused_by((address.hostname or "", address.port or _TLS_PORT), _ALERT_TIMEOUT_S)

    def _versioned(self, path: str) -> str:
        if self._unproven:
            self.info()
        return f"/v{self.api_version}{path}"

    @contextmanager
    def _session(self) -> Iterator[tuple[requests.Session, Until]]:
        """Yields a session that is nobody else's meanwhile: requests does not promise that threads may share one.

        Whoever comes next finds its connection open: a handshake is some round trips, and work for a VCH.
        """
        session = None
        with suppress(IndexError):  # not round what follows, or a failure to connect would be told as an empty list
            session = self._idle.pop()
        session = session or self._open()
        try:
            yield session
        finally:
            self._idle.append(session)

    def _open(self) -> tuple[requests.Session, Until]:
        session, until = requests.Session(), Until()
        # Proxies, .netrc and REQUESTS_CA_BUNDLE would otherwise override the address and the CA that were configured.
        session.trust_env = False
        for scheme in ("http://", "https://"):
            session.mount(scheme, KeepaliveAdapter(self._timeout_s[0], until))
        if self._base == _SOCKET_BASE:
            from docker.transport import UnixHTTPAdapter  # late: it takes 25 ms, and no VCH is a socket

            self._knock(self.host.removeprefix("unix://"))
            session.mount("http+docker://", UnixHTTPAdapter(f"http+{self.host}", timeout=int(self._timeout_s[1])))
        elif self._cert_path is not None:
            files = Certificates.load(self._cert_path, self._now())
            session.cert, session.verify = (str(files.cert), str(files.key)), str(files.ca)
            if self._pin is not None and self._pin.certificate is not None:
                check = partial(self._pin.check_certificate, self.host)
                session.mount("https://", KeepaliveAdapter(self._timeout_s[0], until, check=check))
        return session, until

    def _knock(self, path: str) -> None:
        """Connects once: docker-py leaves its socket open when nobody answers. Source: docker-py 7.1 unixconn.py."""
        with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as knock:
            knock.settimeout(self._timeout_s[0])
            try:
                knock.connect(path)
            except OSError as error:
                raise explain(error, self.host) from error


def quoted(name: str) -> str:
    """Returns an image or container name as part of a path; `/`, `:` and `@` stay as they are."""
    return quote(name, safe="/:@")
