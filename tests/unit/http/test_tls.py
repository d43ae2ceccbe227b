"""Handshakes with servers that are wrong in one way each, and what is said of them."""

import ssl
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from imagepipe.errors import UnavailableError
from imagepipe.http.tls import look
from imagepipe.model.certificate import TlsLook
from tests.contract.vch_world import Authority
from tests.unit.engine.servers import answer, host

HINT = "name its authority"


def issue(folder: Path, authority: Authority, address: str = "127.0.0.1") -> Path:
    folder.mkdir(exist_ok=True)
    authority.issue("vch-a", address, *(folder / f"{part}.pem" for part in ("cert", "key", "ca")))
    return folder


def serving(folder: Path, client_ca: Path | None = None) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.maximum_version = ssl.TLSVersion.TLSv1_2
    context.load_cert_chain(folder / "cert.pem", folder / "key.pem")
    if client_ca is not None:
        context.load_verify_locations(client_ca)
        context.verify_mode = ssl.CERT_REQUIRED
    return context


@contextmanager
def seen(tls: ssl.SSLContext | None, trusted: Path, *, name: str = "127.0.0.1") -> Iterator[TlsLook]:
    """Yields what is seen of a server by one who trusts a folder's ca.pem and shows its certificate."""
    context = ssl.create_default_context(cafile=str(trusted / "ca.pem"))
    context.load_cert_chain(trusted / "cert.pem", trusted / "key.pem")
    with host(answer(b"{}"), tls=tls) as there:
        place = (name, int(there.address.rpartition(":")[2]))
        yield look(place, context, datetime.now(UTC), ca_hint=HINT, client=(trusted / "cert.pem", trusted / "key.pem"))
    # Nothing is sent after the handshake; to a host without TLS the hello itself looks like a request.
    assert all(request.startswith("\x16") for request in there.requests)


@pytest.fixture
def ours(tmp_path: Path) -> Path:
    return issue(tmp_path / "ours", Authority("our CA"))


def test_a_good_server_is_shown_with_its_names_and_its_end(ours: Path) -> None:
    with seen(serving(ours, ours / "ca.pem"), ours) as found:
        assert found.fault is None
        assert found.certificate is not None
        assert (found.protocol, found.certificate.subject) == ("TLSv1.2", "vch-a")
        assert (found.certificate.issuer, found.certificate.names) == ("our CA", ("127.0.0.1",))
        assert found.certificate.not_after > datetime.now(UTC)
        assert found.certificate.fingerprint.startswith("sha256:")


def test_a_name_that_the_certificate_lacks_is_told_with_those_that_it_has(tmp_path: Path) -> None:
    folder = issue(tmp_path / "ours", Authority("our CA"), "10.0.0.5")
    with seen(serving(folder), folder) as found:
        assert found.fault == "its certificate is for 10.0.0.5, and not for 127.0.0.1"
        assert found.hint == "use one of these names as its address"
    with seen(serving(folder), folder, name="localhost") as found:
        assert found.fault == "its certificate is for 10.0.0.5, and not for localhost"


def test_an_authority_that_nobody_knows_is_named(ours: Path, tmp_path: Path) -> None:
    theirs = issue(tmp_path / "theirs", Authority("their CA"))
    with seen(serving(theirs), ours) as found:
        assert found.fault == "its certificate is signed by their CA, which is not trusted here"
        assert found.hint == HINT


@pytest.mark.parametrize(
    ("shift", "said"), [(timedelta(days=-3), "its certificate expired on"), (timedelta(days=3), "is not valid before")]
)
def test_a_certificate_out_of_its_time_is_told_by_its_date(tmp_path: Path, shift: timedelta, said: str) -> None:
    authority = Authority("our CA")
    good = issue(tmp_path / "client", authority)
    authority.shift = shift
    with seen(serving(issue(tmp_path / "server", authority)), good) as found:
        assert said in str(found.fault)
        assert found.certificate is not None


def test_a_server_that_wants_another_client_says_so_before_it_is_known(ours: Path, tmp_path: Path) -> None:
    theirs = issue(tmp_path / "theirs", Authority("their CA"))
    with seen(serving(ours, theirs / "ca.pem"), ours) as found:
        assert found.certificate is None
        assert "alert unknown ca" in str(found.fault)


def test_what_speaks_no_tls_is_told(ours: Path) -> None:
    with seen(None, ours) as found:
        assert "TLS failed" in str(found.fault)


def test_nobody_there_is_unavailable(ours: Path) -> None:
    with pytest.raises(UnavailableError, match=r"127\.0\.0\.1:1: Connection refused"):
        look(("127.0.0.1", 1), ssl.create_default_context(), datetime.now(UTC), ca_hint=HINT)
