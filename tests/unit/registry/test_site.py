"""What a stranger sees of a registry's site."""

import ssl
from datetime import UTC, datetime
from pathlib import Path

import pytest

from imagepipe.errors import SettingsError, UnavailableError
from imagepipe.registry.site import HttpSite
from imagepipe.wiring import SystemClock
from tests.contract.vch_world import Authority
from tests.unit.engine.servers import host

GREETING = (
    b"HTTP/1.1 401 Unauthorized\r\nDate: Fri, 02 Jan 2026 03:04:05 GMT\r\nContent-Length: 0\r\nConnection: close\r\n"
    b"Docker-Distribution-Api-Version: registry/2.0\r\n"
    b'WWW-Authenticate: Bearer realm="https://vic.example/service/token"\r\n\r\n'
)


@pytest.fixture
def certs(tmp_path: Path) -> Path:
    Authority("ours").issue("vic", "127.0.0.1", *(tmp_path / f"{part}.pem" for part in ("cert", "key", "ca")))
    return tmp_path


@pytest.fixture
def tls(certs: Path) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certs / "cert.pem", certs / "key.pem")
    return context


def at(address: str, ca_file: Path | None, scheme: str = "https") -> HttpSite:
    return HttpSite(address.replace("tcp", scheme), ca_file=ca_file, clock=SystemClock())


def test_clock_versions_and_challenge_are_read_over_a_proven_connection(certs: Path, tls: ssl.SSLContext) -> None:
    with host(GREETING, tls=tls) as there:
        seen = at(there.address, certs / "ca.pem").look()
    assert seen.tls is not None
    assert seen.tls.fault is None
    assert seen.date == datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)
    assert (seen.versions, seen.challenge[:13]) == ("registry/2.0", "Bearer realm=")
    assert all("authorization" not in request.lower() for request in there.requests)


def test_nothing_is_asked_over_a_connection_that_is_not_trusted(certs: Path, tls: ssl.SSLContext) -> None:
    with host(GREETING, tls=tls) as there:
        seen = at(there.address, None).look()
    assert seen.tls is not None
    assert "signed by ours, which is not trusted here" in str(seen.tls.fault)
    assert "ca_file" in str(seen.tls.hint)
    assert there.requests == []


def test_plain_http_has_no_handshake_and_a_site_without_a_clock_none_to_tell() -> None:
    with host(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\nConnection: close\r\n\r\n") as there:
        seen = at(there.address, None, "http").look()
    assert (seen.tls, seen.date, seen.versions, seen.challenge) == (None, None, "", "")


def test_nobody_there_and_a_broken_ca_file_are_our_errors(tmp_path: Path) -> None:
    with pytest.raises(UnavailableError):
        at("tcp://127.0.0.1:1", None).look()
    with pytest.raises(SettingsError, match="not a usable CA file"):
        at("tcp://127.0.0.1:1", tmp_path / "gone").look()
