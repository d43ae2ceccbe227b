import datetime as dt
import http.server
import ssl
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx
import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec

from imagepipe import __version__
from imagepipe.errors import AccessError, RefusedError, SettingsError
from imagepipe.http.client import open_client, trust
from imagepipe.http.failure import asking


class Handler(http.server.BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        self.send_response(200)
        self.send_header("Content-Length", "2")
        self.end_headers()
        self.wfile.write(b"ok")

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
