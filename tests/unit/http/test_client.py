import datetime as dt
import http.server
import ssl
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import httpx
import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec

from imagepipe import __version__
from imagepipe.errors import (
    AccessError,
    CredentialsError,
    DeadlineError,
    ImagepipeError,
    RefusedError,
    SettingsError,
    UnavailableError,
)
from imagepipe.http.client import open_client, trust
from imagepipe.http.failure import asking


class Handler(http.server.BaseHTTPRequestHandler):
    broken = False

    def do_GET(self) -> None:
        if self.path == "/drips":
            self.drip()
            return
        if self.path == "/breaks" and not type(self).broken:
            type(self).broken = True
            self.wfile.write(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\no")
            return
        self.send_response(200)
        self.send_header("Content-Length", "2")
        self.end_headers()
        self.wfile.write(b"ok")

    def do_CONNECT(self) -> None:
        if self.path.startswith("drips."):
            self.drip()
        else:
            self.send_error(int(self.path[:3]))

    def drip(self) -> None:
        self.wfile.write(b"HTTP/1.1 200 OK\r\nX-Odd: ")
        with suppress(OSError):
            for _ in range(200):
                self.wfile.write(b"a")
                time.sleep(0.05)

    def log_message(self, *args: object) -> None:
        """Says nothing."""


@pytest.fixture(scope="module")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A self-signed certificate for 127.0.0.1 with its key, in one PEM file."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "vic.example")])
    now = dt.datetime.now(dt.UTC)
    made = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - dt.timedelta(hours=1))
        .not_valid_after(now + dt.timedelta(hours=1))
        .add_extension(x509.SubjectAlternativeName([x509.DNSName("localhost")]), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .sign(key, hashes.SHA256())
    )
    file = tmp_path_factory.mktemp("tls") / "server.crt"
    file.write_bytes(
        made.public_bytes(serialization.Encoding.PEM)
        + key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    )
    return file


@contextmanager
def serving(certificate: Path | None) -> Iterator[str]:
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    if certificate:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(certificate)
        server.socket = context.wrap_socket(server.socket, server_side=True)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
    thread.start()
    try:
        yield f"localhost:{server.server_port}"
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


def mock(answer: httpx.Response) -> tuple[httpx.Client, list[httpx.Request]]:
    seen: list[httpx.Request] = []

    def handle(request: httpx.Request) -> httpx.Response:
        seen.append(request)
        return answer

    return open_client("https://vic.example", transport=httpx.MockTransport(handle)), seen


def test_a_server_whose_ca_is_not_known_is_not_spoken_to(certificate: Path) -> None:
    with (
        serving(certificate) as host,
        open_client(f"https://{host}") as client,
        pytest.raises(AccessError, match="not trusted"),
        asking("ping"),
    ):
        client.get("/v2/")


def test_a_server_whose_ca_is_named_is_trusted(certificate: Path) -> None:
    with serving(certificate) as host, open_client(f"https://{host}", ca_file=certificate) as client:
        assert client.get("/v2/").text == "ok"


def test_dockers_folder_of_that_host_and_port_is_trusted(certificate: Path, tmp_path: Path) -> None:
    (tmp_path / "vic.example:8443").mkdir()
    (tmp_path / "vic.example:8443" / "ca.crt").write_bytes(certificate.read_bytes())
    known = trust(httpx.URL("https://vic.example:8443"), certs_dir=tmp_path).get_ca_certs()
    other = trust(httpx.URL("https://vic.example"), certs_dir=tmp_path).get_ca_certs()
    assert len(known) == len(other) + 1


@pytest.mark.parametrize("content", [None, b"not a certificate"])
def test_a_ca_file_that_is_no_ca_file_is_named(tmp_path: Path, content: bytes | None) -> None:
    file = tmp_path / "ca.crt"
    if content is not None:
        file.write_bytes(content)
    with pytest.raises(SettingsError, match=str(file)):
        trust(httpx.URL("https://vic.example"), file)


def test_a_server_that_nobody_proxies_is_asked_directly(monkeypatch: pytest.MonkeyPatch) -> None:
    with serving(None) as host:
        monkeypatch.setenv("http_proxy", "http://127.0.0.1:9")
        monkeypatch.setenv("NO_PROXY", "localhost")
        with open_client(f"http://{host}") as client:
            assert client.get("/v2/").text == "ok"


def test_the_proxy_of_the_environment_is_asked(monkeypatch: pytest.MonkeyPatch) -> None:
    with serving(None) as proxy:
        monkeypatch.setenv("http_proxy", f"http://{proxy}")
        monkeypatch.delenv("NO_PROXY", raising=False)
        monkeypatch.delenv("no_proxy", raising=False)
        with open_client("http://vic.example") as client:
            assert client.get("/v2/").text == "ok"


@pytest.fixture
def hurried(monkeypatch: pytest.MonkeyPatch) -> None:
    """Lets nothing wait for long."""
    monkeypatch.setattr("imagepipe.http.client._WHOLE_HEAD_TIMEOUT_S", 0.5)
    monkeypatch.setattr("imagepipe.http.retry._LONGEST_TOTAL_S", 0.2)


@pytest.mark.usefixtures("hurried")
def test_a_head_that_is_sent_byte_by_byte_has_an_end(certificate: Path) -> None:
    with (
        serving(certificate) as host,
        open_client(f"https://{host}", ca_file=certificate) as client,
        pytest.raises(DeadlineError, match=r"ping: localhost: no answer in time"),
        asking("ping"),
    ):
        client.get("/drips")


@pytest.mark.usefixtures("hurried")
def test_a_proxy_that_sends_its_answer_byte_by_byte_is_not_waited_for_either(monkeypatch: pytest.MonkeyPatch) -> None:
    with serving(None) as proxy:
        monkeypatch.setenv("HTTPS_PROXY", f"http://{proxy}")
        with (
            open_client("https://drips.example") as client,
            pytest.raises(DeadlineError, match=r"no answer in time"),
            asking("ping"),
        ):
            client.get("/")


@pytest.mark.parametrize(
    ("status", "error", "hint"), [(407, CredentialsError, "name and password"), (403, UnavailableError, "NO_PROXY")]
)
def test_what_a_proxy_refuses_is_told_as_the_proxys_word(
    status: int, error: type[ImagepipeError], hint: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("imagepipe.http.retry._LONGEST_TOTAL_S", 0)
    with serving(None) as proxy:
        monkeypatch.setenv("HTTPS_PROXY", f"http://bob:pa55@{proxy}")
        with open_client(f"https://{status}.example") as client, pytest.raises(error) as caught, asking("ping"):
            client.get("/")
    assert f"ping: {status}.example: the proxy that the environment names says {status}" in caught.value.message
    assert hint in str(caught.value.hint)


def test_who_cannot_be_reached_is_named_where_that_is_a_proxy(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("imagepipe.http.retry._LONGEST_TOTAL_S", 0)
    monkeypatch.setenv("HTTPS_PROXY", "http://bob:pa55@127.0.0.1:9")
    with (
        open_client("https://vic.example") as client,
        pytest.raises(UnavailableError) as caught,
        asking("read vic.example/p/r"),
    ):
        client.get("/")
    assert caught.value.message == "read vic.example/p/r: 127.0.0.1:9: Connection refused"


@pytest.mark.parametrize(
    "proxy", ["socks5://bob:pa55@127.0.0.1:9", "ftp://bob:pa55@127.0.0.1:9", "http://bob:pa55@[::1"]
)
def test_a_proxy_that_cannot_be_used_is_a_wrong_setting_and_keeps_its_password(
    proxy: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("ALL_PROXY", proxy)
    with pytest.raises(SettingsError, match="ALL_PROXY") as caught:
        open_client("https://vic.example")
    assert "pa55" not in f"{caught.value.message} {caught.value.hint} {caught.value.__cause__}"


def test_an_answer_that_breaks_off_is_asked_for_again(certificate: Path) -> None:
    with serving(certificate) as host, open_client(f"https://{host}", ca_file=certificate) as client:
        assert client.get("/breaks").text == "ok"


def test_who_asked_elsewhere_is_told_where() -> None:
    def sent_on(request: httpx.Request) -> httpx.Response:
        if request.url.host == "vic.example":
            return httpx.Response(307, headers={"Location": "https://storage.example/blob"})
        raise httpx.UnsupportedProtocol("nobody speaks that")

    client = open_client("https://vic.example", transport=httpx.MockTransport(sent_on))
    told = r"read vic\.example/p/r: storage\.example: nobody speaks that"
    with pytest.raises(UnavailableError, match=told), asking("read vic.example/p/r"):
        client.get("/", follow_redirects=True)


def test_no_cookie_is_kept_or_sent() -> None:
    client, seen = mock(httpx.Response(200, headers=[("Set-Cookie", "sid=1; Path=/"), ("Set-Cookie", "x=2")]))
    client.get("/api/v2.0/projects")
    client.get("/api/v2.0/projects", headers={"Cookie": "sid=3"})
    assert not client.cookies
    assert all("cookie" not in request.headers for request in seen)


def test_it_says_who_is_asking() -> None:
    client, seen = mock(httpx.Response(200))
    client.get("/")
    assert seen[0].headers["user-agent"] == f"imagepipe/{__version__}"
    signing = open_client(
        "https://vic.example", transport=httpx.MockTransport(lambda _: httpx.Response(200)), product="cosign"
    )
    assert signing.headers["user-agent"] == f"imagepipe/{__version__} cosign"


def test_an_answer_without_end_is_cut_off() -> None:
    def endless() -> Iterator[bytes]:
        while True:
            yield b"x" * 1024 * 1024

    client, _ = mock(httpx.Response(200, content=endless()))
    with pytest.raises(RefusedError, match="read p/r: the answer is larger"), asking("read p/r"):
        client.get("/")


def test_an_answer_that_could_unfold_without_end_is_not_taken() -> None:
    client, _ = mock(httpx.Response(200, headers={"Content-Encoding": "gzip"}, stream=httpx.ByteStream(b"bomb")))
    with pytest.raises(RefusedError, match="compressed"):
        client.get("/")


def test_a_redirect_is_not_followed_unasked() -> None:
    client, seen = mock(httpx.Response(302, headers={"Location": "https://elsewhere.example/"}))
    assert client.get("/").status_code == 302
    assert len(seen) == 1
