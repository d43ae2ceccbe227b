"""Certificates do in a real TLS handshake what their names promise."""

import ssl
from pathlib import Path

import pytest
from cryptography import x509

from imagepipe.errors import NotFoundError
from imagepipe.sandbox import pki
from imagepipe.sandbox.probing import trusting


def handshake(
    server_files: tuple[Path, Path], server_ca: Path, cert_path: Path, *, address: str = "198.18.1.11"
) -> None:
    """Runs a mutual TLS handshake in memory; raises ssl.SSLError when either side refuses."""
    server = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    server.load_cert_chain(*server_files)
    server.load_verify_locations(server_ca)
    server.verify_mode = ssl.CERT_REQUIRED
    server.maximum_version = ssl.TLSVersion.TLSv1_2  # the client hears of a refusal within the handshake
    to_server, to_client = ssl.MemoryBIO(), ssl.MemoryBIO()
    client_side = trusting(cert_path / "ca.pem", cert_path).wrap_bio(to_client, to_server, server_hostname=address)
    server_side = server.wrap_bio(to_server, to_client, server_side=True)
    waiting = [client_side, server_side]
    while waiting:
        for side in list(waiting):
            try:
                side.do_handshake()
                waiting.remove(side)
            except ssl.SSLWantReadError:
                continue


@pytest.fixture
def target(tmp_path: Path) -> tuple[Path, tuple[Path, Path]]:
    return tmp_path / "cert", pki.issue_target(tmp_path / "pki", tmp_path / "cert", "vch-a", "198.18.1.11")


def test_a_target_and_its_client_accept_each_other(target: tuple[Path, tuple[Path, Path]], tmp_path: Path) -> None:
    cert_path, server_files = target
    assert sorted(path.name for path in cert_path.iterdir()) == ["ca.pem", "cert.pem", "key.pem"]
    handshake(server_files, tmp_path / "pki" / "ca.pem", cert_path)


def test_a_target_at_another_address_is_refused(target: tuple[Path, tuple[Path, Path]], tmp_path: Path) -> None:
    with pytest.raises(ssl.SSLCertVerificationError):
        handshake(target[1], tmp_path / "pki" / "ca.pem", target[0], address="198.18.1.12")


def test_an_expired_client_is_refused(target: tuple[Path, tuple[Path, Path]], tmp_path: Path) -> None:
    expired = pki.expired_client(tmp_path / "pki", tmp_path / "expired")
    with pytest.raises(ssl.SSLError):
        handshake(target[1], tmp_path / "pki" / "ca.pem", expired)


def test_a_client_of_a_foreign_authority_is_refused_though_it_trusts_the_target(
    target: tuple[Path, tuple[Path, Path]], tmp_path: Path
) -> None:
    foreign = pki.foreign_client(tmp_path / "pki", tmp_path / "foreign")
    assert (foreign / "ca.pem").read_text() == (tmp_path / "pki" / "ca.pem").read_text()
    with pytest.raises(ssl.SSLError):
        handshake(target[1], tmp_path / "pki" / "ca.pem", foreign)


def test_client_and_server_may_not_stand_in_for_each_other(
    target: tuple[Path, tuple[Path, Path]], tmp_path: Path
) -> None:
    cert_path, _ = target
    with pytest.raises(ssl.SSLError):
        handshake((cert_path / "cert.pem", cert_path / "key.pem"), tmp_path / "pki" / "ca.pem", cert_path)


def test_an_authority_that_was_never_made_is_named(tmp_path: Path) -> None:
    with pytest.raises(NotFoundError, match="nowhere"):
        pki.Authority.load(tmp_path / "nowhere")


def test_keys_are_private(target: tuple[Path, tuple[Path, Path]], tmp_path: Path) -> None:
    keys = [*tmp_path.rglob("*key*.pem")]
    assert keys
    assert all(path.stat().st_mode & 0o077 == 0 for path in keys)


def test_the_authority_signs_certificates_and_nothing_below_it_does(
    target: tuple[Path, tuple[Path, Path]], tmp_path: Path
) -> None:
    def signs(path: Path) -> bool:
        certificate = x509.load_pem_x509_certificate(path.read_bytes())
        return certificate.extensions.get_extension_for_class(x509.BasicConstraints).value.ca

    assert signs(tmp_path / "pki" / "ca.pem")
    assert not signs(target[0] / "cert.pem")
    assert not signs(target[1][0])
