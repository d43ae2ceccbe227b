"""The way to a host: addresses, deadlines, certificates, and what stands in for a host."""

import base64
import errno
import itertools
import json
import socket
import ssl
import threading
import time
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from imagepipe import fanout
from imagepipe.engine.auth import auth_header
from imagepipe.engine.client import Call, Endpoint
from imagepipe.engine.host import EngineHost
from imagepipe.engine.identity import Pin
from imagepipe.engine.keepalive import KeepaliveAdapter
from imagepipe.engine.puller import EnginePuller
from imagepipe.engine.transport import explain
from imagepipe.errors import (
    AccessError,
    CredentialsError,
    DeadlineError,
    RefusedError,
    SettingsError,
    UnavailableError,
)
from imagepipe.events import silent
from imagepipe.model.reference import Reference
from imagepipe.model.result import Credential
from tests.contract.vch_world import Authority
from tests.unit.engine.servers import answer, chunked, host

VERSION = answer(b'{"Version":"20.10.24","ApiVersion":"1.41"}')
NAME = Reference.parse("vic.example/es/hello:1.0")


class Counting(ThreadingHTTPServer):
    """A host that leaves connections open, and counts them; `hang_up` closes those that are open."""

    def __init__(self) -> None:
        self.connections: list[socket.socket] = []
        super().__init__(("127.0.0.1", 0), Kept)

    def get_request(self) -> tuple[socket.socket, tuple[str, int]]:
        connection, address = super().get_request()
        self.connections.append(connection)
        return connection, address

    def hang_up(self) -> None:
        for connection in self.connections:
            connection.shutdown(socket.SHUT_RDWR)


class Kept(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_GET(self) -> None:
        body = b'{"ApiVersion":"1.25","Name":"vch"}'
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    do_POST = do_GET  # noqa: N815 - the library's name

    def do_DELETE(self) -> None:
        self.send_response(204)
        self.end_headers()

    def log_message(self, *said: object) -> None:
        pass


@pytest.fixture
def counting() -> Iterator[Counting]:
    with Counting() as server:
        serving = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05})
        serving.start()
        yield server
        server.shutdown()
        serving.join()


def test_what_is_asked_in_a_row_goes_over_one_connection(counting: Counting) -> None:
    endpoint = Endpoint(f"tcp://127.0.0.1:{counting.server_port}")
    assert [endpoint.info()["Name"], endpoint.get("/images/json")["Name"]] == ["vch", "vch"]
    endpoint.delete("/containers/probe")
    endpoint.delete("/volumes/lock")
    assert len(counting.connections) == 1


def test_a_connection_serves_whoever_asks_next_and_two_that_ask_at_once_have_one_each(counting: Counting) -> None:
    endpoint = Endpoint(f"tcp://127.0.0.1:{counting.server_port}")
    for _ in range(3):
        fanout.each([0], lambda _: endpoint.info(), jobs=1)  # a thread of its own each time
    assert len(counting.connections) == 1
    with endpoint.stream(Call(path="/images/create", silence_s=5)):
        endpoint.info()
    assert len(counting.connections) == 2


def test_a_connection_that_the_host_closed_meanwhile_is_replaced_without_a_word(counting: Counting) -> None:
    endpoint = Endpoint(f"tcp://127.0.0.1:{counting.server_port}")
    endpoint.info()
    counting.hang_up()
    time.sleep(0.05)  # until the kernel here has heard of it
    assert endpoint.info()["Name"] == "vch"
    assert len(counting.connections) == 2


class Login:
    def for_registry(self, registry: str) -> Credential | None:
        return Credential("robot$es+ci", "hunter2")


@pytest.fixture(scope="module")
def certs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder as a VCH's administrator hands it out, for a host on 127.0.0.1."""
    return issue(tmp_path_factory.mktemp("certs"), "ours")


def issue(folder: Path, name: str) -> Path:
    Authority(name).issue("vch", "127.0.0.1", *(folder / f"{part}.pem" for part in ("cert", "key", "ca")))
    return folder


@pytest.fixture
def tls(certs: Path) -> ssl.SSLContext:
    """What a host with mutual TLS 1.2 serves with."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.maximum_version = ssl.TLSVersion.TLSv1_2
    context.load_cert_chain(certs / "cert.pem", certs / "key.pem")
    context.load_verify_locations(certs / "ca.pem")
    context.verify_mode = ssl.CERT_REQUIRED
    return context


@pytest.mark.parametrize(
    "text", ["", "vch:2376", "tcp://vch", "http://vch:2376", "unix://", "ssh://vch", "tcp://:2376"]
)
def test_an_address_that_is_none_is_refused_at_once(text: str) -> None:
    with pytest.raises(SettingsError, match="not a Docker host"):
        Endpoint(text)


def test_the_version_is_asked_for_once_and_used_from_then_on() -> None:
    with host(VERSION, answer(b"{}")) as there:
        endpoint = Endpoint(there.address)
        endpoint.get("/info")
        endpoint.get("/info")

    assert [request.split()[1] for request in there.requests] == ["/version", "/v1.41/info", "/v1.41/info"]


def test_variables_of_the_environment_redirect_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("DOCKER_HOST", "HTTP_PROXY", "http_proxy", "ALL_PROXY", "DOCKER_CONTEXT"):
        monkeypatch.setenv(name, "http://127.0.0.1:1")
    with host(VERSION) as there:
        assert Endpoint(there.address).api_version == "1.41"


def test_a_client_certificate_is_shown_and_the_hosts_is_checked(
    certs: Path, tls: ssl.SSLContext, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("REQUESTS_CA_BUNDLE", "/nowhere.pem")
    with host(VERSION, tls=tls) as there:
        assert Endpoint(there.address, cert_path=str(certs)).api_version == "1.41"


def test_a_certificate_of_another_authority_is_refused_with_credentials_error(
    certs: Path, tls: ssl.SSLContext, tmp_path: Path
) -> None:
    stranger = issue(tmp_path, "theirs")
    (stranger / "ca.pem").write_bytes((certs / "ca.pem").read_bytes())

    with host(VERSION, tls=tls) as there, pytest.raises(CredentialsError, match="refuses our client certificate"):
        EngineHost(Endpoint(there.address, cert_path=str(stranger))).info()


def test_a_host_that_our_authority_does_not_know_is_refused(tls: ssl.SSLContext, tmp_path: Path) -> None:
    with host(VERSION, tls=tls) as there, pytest.raises(CredentialsError, match="certificate is not accepted"):
        EngineHost(Endpoint(there.address, cert_path=str(issue(tmp_path, "theirs")))).info()


def test_a_host_without_tls_is_a_wrong_setting(certs: Path) -> None:
    with host(VERSION) as there, pytest.raises(SettingsError, match="does not speak TLS"):
        EngineHost(Endpoint(there.address, cert_path=str(certs))).info()


@pytest.mark.parametrize("name", ["ca.pem", "cert.pem", "key.pem"])
def test_a_missing_certificate_file_is_named(certs: Path, tmp_path: Path, name: str) -> None:
    for file in certs.iterdir():
        (tmp_path / file.name).write_bytes(file.read_bytes())
    (tmp_path / name).unlink()

    with pytest.raises(SettingsError, match=f"{name}: No such file"):
        EngineHost(Endpoint("tcp://127.0.0.1:1", cert_path=str(tmp_path))).info()


@pytest.mark.parametrize(("name", "content"), [("ca.pem", b"x"), ("cert.pem", b"x"), ("key.pem", b"x")])
def test_a_file_that_is_no_certificate_or_key_is_named(certs: Path, tmp_path: Path, name: str, content: bytes) -> None:
    for file in certs.iterdir():
        (tmp_path / file.name).write_bytes(file.read_bytes())
    (tmp_path / name).write_bytes(content)

    with pytest.raises(SettingsError, match=name):
        EngineHost(Endpoint("tcp://127.0.0.1:1", cert_path=str(tmp_path))).info()


@pytest.mark.parametrize(
    ("shift", "words"), [(timedelta(days=2), "expired on 20"), (-timedelta(days=2), "not valid before")]
)
def test_a_certificate_out_of_its_time_is_told_before_anything_connects(
    certs: Path, shift: timedelta, words: str
) -> None:
    there = Endpoint("tcp://127.0.0.1:1", cert_path=str(certs), now=lambda: datetime.now(UTC) + shift)

    with pytest.raises(CredentialsError, match=rf"client certificate .*cert\.pem .*{words}"):
        EngineHost(there).info()


def test_a_certificate_that_expired_since_we_first_connected_is_named(
    certs: Path, tls: ssl.SSLContext, tmp_path: Path
) -> None:
    refused = issue(tmp_path, "theirs")
    (refused / "ca.pem").write_bytes((certs / "ca.pem").read_bytes())
    times = itertools.chain([datetime.now(UTC)], itertools.repeat(datetime.now(UTC) + timedelta(days=2)))

    with (
        host(VERSION, tls=tls) as there,
        pytest.raises(CredentialsError, match=r"client certificate .*cert\.pem .*expired"),
    ):
        EngineHost(Endpoint(there.address, cert_path=str(refused), now=lambda: next(times))).info()


def test_nothing_there_is_unavailable(tmp_path: Path) -> None:
    with pytest.raises(UnavailableError, match="connection refused"):
        EngineHost(Endpoint("tcp://127.0.0.1:1")).info()
    with pytest.raises(UnavailableError, match="no such file"):
        EngineHost(Endpoint(f"unix://{tmp_path}/s")).info()


def test_a_socket_whose_path_is_too_long_is_told_as_that() -> None:
    with pytest.raises(UnavailableError, match=r"AF_UNIX path too long$"):
        Endpoint(f"unix:///{'x' * 200}").get("/info")


def test_silence_has_a_deadline() -> None:
    with host(None) as there, pytest.raises(DeadlineError, match="no answer in time"):
        EngineHost(Endpoint(there.address, read_timeout_s=0.2)).info()


def test_silence_in_the_middle_of_a_pull_has_a_deadline(tmp_path: Path) -> None:
    broken = chunked(b'{"status":"1.0: Pulling from es/hello"}\r\n', whole=False)
    with host(VERSION, broken) as there, pytest.raises(UnavailableError):
        EnginePuller(Endpoint(there.address), Login(), silence_s=0.3).pull(NAME, silent)
    with host(VERSION, None) as there, pytest.raises(DeadlineError):
        EnginePuller(Endpoint(there.address), Login(), silence_s=0.3).pull(NAME, silent)


def test_a_pull_that_drips_on_for_ever_ends_too() -> None:
    drips = chunked(*[b'{"status":"Waiting","id":"aaaaaaaaaaaa"}\r\n'] * 100)
    with host(VERSION, drips) as there, pytest.raises(DeadlineError, match="the answer did not end in time"):
        EnginePuller(Endpoint(there.address), Login(), total_s=0).pull(NAME, silent)


@pytest.mark.parametrize("said", [answer(b"{}" + b" " * 400), b"HTTP/1.1 200 OK\r\nX-Odd: " + b"a" * 400])
def test_a_host_that_drips_its_answer_is_given_up_however_little_it_is_silent(
    said: bytes, certs: Path, tls: ssl.SSLContext
) -> None:
    with host(said, tls=tls, drip_s=0.05) as there:
        endpoint = Endpoint(there.address, cert_path=str(certs), read_timeout_s=0.4)
        with pytest.raises(DeadlineError, match=r"tcp://127\.0\.0\.1:\d+: the answer did not end in time"):
            endpoint.version()


def test_a_pull_whose_line_is_dripped_ends_when_no_pull_may_last_longer() -> None:
    drips = chunked(b'{"status":"Waiting","id":"aaaaaaaaaaaa"}' + b" " * 400 + b"\r\n")
    with host(VERSION, drips, drip_s=0.05) as there:
        endpoint = Endpoint(there.address)
        endpoint.version()
        with pytest.raises(DeadlineError, match="the answer did not end in time"):
            EnginePuller(endpoint, Login(), silence_s=5, total_s=1).pull(NAME, silent)


@pytest.mark.parametrize(
    ("said", "error"),
    [
        (answer(b"<html>hello</html>", kind="text/html"), UnavailableError),
        (answer(b"[]"), UnavailableError),
        pytest.param(answer(b"[" * 100_000), UnavailableError, id="deep"),
        pytest.param(answer(b"[" * 100_000, "500 Internal Server Error"), UnavailableError, id="deep-500"),
        (answer(b'{"Version":"1"}'), UnavailableError),
        (answer(b"<html>gone</html>", "502 Bad Gateway", "text/html"), UnavailableError),
        (answer(b"", "500 Internal Server Error"), UnavailableError),
        (answer(b'{"message":"Client sent an HTTP request to an HTTPS server."}', "400 Bad Request"), SettingsError),
        (answer(b"nothing", "403 Forbidden", "text/plain"), AccessError),
        (answer(b"", "302 Found"), RefusedError),
        (b"\x15\x03\x01\x00\x02\x02", UnavailableError),
        (b"", UnavailableError),
    ],
)
def test_whatever_else_answers_ends_in_one_of_our_errors(said: bytes, error: type[Exception]) -> None:
    with host(said) as there, pytest.raises(error):
        EngineHost(Endpoint(there.address)).info()


def test_credentials_go_into_the_header_and_nowhere_else() -> None:
    no = answer(b'{"message":"no"}', "500 Internal Server Error")
    with host(VERSION, no) as there, pytest.raises(UnavailableError) as caught:
        EnginePuller(Endpoint(there.address), Login()).pull(NAME, silent)

    sent = next(line for line in there.requests[1].splitlines() if line.lower().startswith("x-registry-auth"))
    assert json.loads(base64.urlsafe_b64decode(sent.split()[1])) == {
        "username": "robot$es+ci",
        "password": "hunter2",
        "serveraddress": "vic.example",
    }
    assert "hunter2" not in there.requests[1].replace(sent, "")
    assert "hunter2" not in str(caught.value)
    assert "hunter2" not in repr(Call(path="/", headers=auth_header(Credential("a", "hunter2"), "r"), silence_s=1))


def test_nobody_is_an_empty_object_and_a_token_is_a_token() -> None:
    assert auth_header(None, "r") == {"X-Registry-Auth": "e30="}
    token = auth_header(Credential("<token>", "t"), "r")["X-Registry-Auth"]
    assert json.loads(base64.urlsafe_b64decode(token)) == {"identitytoken": "t", "serveraddress": "r"}


def test_a_socket_of_a_user_we_are_not_is_a_matter_of_permission() -> None:
    assert isinstance(explain(PermissionError(13, "Permission denied"), "unix:///s"), AccessError)


def test_a_host_whose_kernel_is_silent_is_gone_and_one_that_thinks_is_late() -> None:
    gone = explain(TimeoutError(errno.ETIMEDOUT, "Connection timed out"), "tcp://vch:2376")
    late = explain(TimeoutError("The read operation timed out"), "tcp://vch:2376")
    assert "nothing there answers any more" in gone.message
    assert (type(gone), type(late)) == (UnavailableError, DeadlineError)


def test_an_answer_that_ends_too_early_is_told_in_words() -> None:
    with host(VERSION, chunked(b'{"status":"Waiting"}\r\n')[:-5]) as there, pytest.raises(UnavailableError) as caught:
        EnginePuller(Endpoint(there.address), Login()).pull(NAME, silent)
    assert "the connection broke off in the middle of an answer" in caught.value.message


@pytest.mark.parametrize("pin", [None, Pin("a", "sha256:0")])
def test_a_connection_asks_whether_its_host_is_there(certs: Path, pin: Pin | None) -> None:
    endpoint = Endpoint("tcp://vch:2376", cert_path=str(certs), connect_timeout_s=7, pin=pin)
    with endpoint._session() as (session, _):
        adapter = session.get_adapter("https://vch:2376/info")
    assert isinstance(adapter, KeepaliveAdapter)
    options = adapter.poolmanager.connection_pool_kw["socket_options"]
    assert (socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1) in options
    assert (socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, 28_000) in options


@pytest.fixture(autouse=True)
def no_docker_home(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Gives docker-py a broken config.json to read, which must not matter."""
    (tmp_path / "docker").mkdir()
    (tmp_path / "docker" / "config.json").write_text(
        '{"auths": [1], "proxies": {"default": {"httpProxy": "http://x"}}}'
    )
    monkeypatch.setenv("DOCKER_CONFIG", str(tmp_path / "docker"))
