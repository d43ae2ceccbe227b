"""What a user is told when signing fails: whose fault it is, in the other side's words, and never a secret."""

import base64
import json
import os
import socket
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from sigstore.models import ClientTrustConfig

from imagepipe.errors import (
    DeadlineError,
    IdentityError,
    ImagepipeError,
    SettingsError,
    UnavailableError,
    VerificationError,
)
from imagepipe.model.evidence import SIGNATURE_PREDICATE, Bundle, Identity
from imagepipe.signing import sealed
from imagepipe.signing.identity import IdentityTokens
from imagepipe.signing.keyless import KeylessSigner
from imagepipe.signing.trust import SigstoreTrust
from imagepipe.signing.verifier import SigstoreVerifier
from tests.contract.signing_faults import Faulty, broken, trust_with
from tests.contract.signing_worlds import HELLO, KeylessWorld, SystemClock, statement
from tests.contract.sigstore_server import EMAIL_CLAIMS, Sigstore, bound_socket, served


@pytest.fixture(scope="module")
def sigstore(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Sigstore]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("NO_PROXY", "127.0.0.1")
        with served(tmp_path_factory.mktemp("sigstore") / "state") as running:
            yield running


@pytest.fixture
def faulty(monkeypatch: pytest.MonkeyPatch) -> Iterator[Faulty]:
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    with broken() as server:
        yield server


def failure(raw: str, trust: SigstoreTrust, *, timeout_s: float = 10) -> ImagepipeError:
    signer = KeylessSigner(tokens=IdentityTokens(clock=SystemClock(), raw=raw), trust=trust, timeout_s=timeout_s)
    with pytest.raises(ImagepipeError) as caught:
        signer.sign([statement()])
    assert raw not in f"{caught.value.message} {caught.value.hint} {signer!r} {trust!r}"
    return caught.value


def test_an_authority_that_is_away_is_unavailable(sigstore: Sigstore, tmp_path: Path) -> None:
    with bound_socket() as nobody:
        url = f"http://127.0.0.1:{nobody.getsockname()[1]}"
        error = failure(sigstore.mint(**EMAIL_CLAIMS), trust_with(sigstore.state_dir, tmp_path, caUrls=url))
    assert isinstance(error, UnavailableError)
    assert error.message.startswith(f"signing as ci@example.com: {url}/api/v2/signingCert: ")


def test_an_authority_that_does_not_answer_meets_the_deadline(
    sigstore: Sigstore, faulty: Faulty, tmp_path: Path
) -> None:
    faulty.delay_s = 5.0
    trust, started = trust_with(sigstore.state_dir, tmp_path, caUrls=faulty.url), time.monotonic()
    error = failure(sigstore.mint(**EMAIL_CLAIMS), trust, timeout_s=0.2)
    assert isinstance(error, DeadlineError)
    assert "did not answer in time" in error.message
    assert time.monotonic() - started < 4.0


def test_a_log_that_does_not_answer_meets_the_deadline(sigstore: Sigstore, faulty: Faulty, tmp_path: Path) -> None:
    faulty.delay_s = 1.5
    trust = trust_with(sigstore.state_dir, tmp_path, rekorTlogUrls=faulty.url)
    error = failure(sigstore.mint(**EMAIL_CLAIMS), trust, timeout_s=0.5)
    assert isinstance(error, DeadlineError)
    assert "/api/v1/log/entries" in error.message


@pytest.mark.parametrize("service", ["caUrls", "rekorTlogUrls"])
def test_who_answers_byte_by_byte_is_not_waited_for_until_the_end(
    sigstore: Sigstore, faulty: Faulty, tmp_path: Path, service: str
) -> None:
    faulty.drips = True
    error = failure(
        sigstore.mint(**EMAIL_CLAIMS), trust_with(sigstore.state_dir, tmp_path, **{service: faulty.url}), timeout_s=0.5
    )
    assert isinstance(error, DeadlineError)
    assert error.message.startswith(f"signing as ci@example.com: {faulty.url}")
    assert error.message.endswith("no answer within 1 s")


def test_who_could_not_prepare_says_so_and_tries_again_when_it_signs(
    sigstore: Sigstore, faulty: Faulty, tmp_path: Path
) -> None:
    faulty.answers(503, b"away")
    tokens = IdentityTokens(clock=SystemClock(), raw=sigstore.mint(**EMAIL_CLAIMS))
    trust = trust_with(sigstore.state_dir, tmp_path, caUrls=faulty.url)
    signer = KeylessSigner(tokens=tokens, trust=trust, timeout_s=10)
    with pytest.raises(UnavailableError, match="503 away"):
        signer.prepare()
    faulty.answers(401, {"message": "not any more"})
    with pytest.raises(IdentityError, match="401 not any more"):
        signer.sign([statement()])


@pytest.mark.parametrize("status", [400, 401, 403])
def test_an_authority_that_says_no_is_quoted(sigstore: Sigstore, faulty: Faulty, tmp_path: Path, status: int) -> None:
    faulty.answers(status, {"code": 16, "message": "There was an error processing the credentials"})
    error = failure(sigstore.mint(**EMAIL_CLAIMS), trust_with(sigstore.state_dir, tmp_path, caUrls=faulty.url))
    assert isinstance(error, IdentityError)
    assert error.message.endswith(f"{status} There was an error processing the credentials")
    assert "ci@example.com" in error.message


@pytest.mark.parametrize("status", [408, 429, 500, 503])
def test_an_authority_that_breaks_is_unavailable(
    sigstore: Sigstore, faulty: Faulty, tmp_path: Path, status: int
) -> None:
    faulty.answers(status, b"<html>oops")
    error = failure(sigstore.mint(**EMAIL_CLAIMS), trust_with(sigstore.state_dir, tmp_path, caUrls=faulty.url))
    assert isinstance(error, UnavailableError)
    assert error.message.endswith(f"{status} <html>oops")


@pytest.mark.parametrize(
    "body", [b"not json", b"{}", b"[]", b'{"signedCertificateEmbeddedSct":{"chain":{"certificates":["x","y"]}}}']
)
def test_an_authority_that_talks_nonsense_is_unavailable(
    sigstore: Sigstore, faulty: Faulty, tmp_path: Path, body: bytes
) -> None:
    faulty.answers(200, body)
    error = failure(sigstore.mint(**EMAIL_CLAIMS), trust_with(sigstore.state_dir, tmp_path, caUrls=faulty.url))
    assert isinstance(error, UnavailableError)


@pytest.mark.parametrize(("status", "body"), [(400, {"code": 400, "message": "bad entry"}), (503, b"away"), (201, {})])
def test_a_log_that_breaks_is_unavailable(
    sigstore: Sigstore, faulty: Faulty, tmp_path: Path, status: int, body: object
) -> None:
    faulty.answers(status, body)
    error = failure(sigstore.mint(**EMAIL_CLAIMS), trust_with(sigstore.state_dir, tmp_path, rekorTlogUrls=faulty.url))
    assert isinstance(error, UnavailableError)


def test_the_real_authority_refuses_a_token_of_another_issuer(sigstore: Sigstore, tmp_path: Path) -> None:
    with served(tmp_path / "rogue") as rogue:
        error = failure(rogue.mint(**EMAIL_CLAIMS), KeylessWorld(sigstore).trust)
    assert isinstance(error, IdentityError)
    assert "does not accept the identity of ci@example.com: 401 " in error.message


def test_an_expired_token_is_refused_before_anything_is_sent(
    faulty: Faulty, sigstore: Sigstore, tmp_path: Path
) -> None:
    raw = sigstore.mint(**EMAIL_CLAIMS, exp_s=-60)
    error = failure(raw, trust_with(sigstore.state_dir, tmp_path, caUrls=faulty.url))
    assert isinstance(error, IdentityError)
    assert "expired at " in error.message
    assert faulty.headers == {}


def test_a_token_that_is_not_valid_yet_is_refused(sigstore: Sigstore) -> None:
    raw = sigstore.mint(**EMAIL_CLAIMS, nbf=int(time.time()) + 300)
    error = failure(raw, KeylessWorld(sigstore).trust)
    assert isinstance(error, IdentityError)
    assert "is valid from" in error.message


def test_a_certificate_that_does_not_lead_back_to_the_trust_file_is_a_wrong_setting(
    sigstore: Sigstore, tmp_path: Path
) -> None:
    with served(tmp_path / "other") as other:
        trust = trust_with(sigstore.state_dir, tmp_path, caUrls=other.url)
        error = failure(other.mint(**EMAIL_CLAIMS), trust)
    assert isinstance(error, SettingsError)
    assert "does not lead back to what is trusted" in error.message


def test_a_trusted_root_alone_cannot_sign(sigstore: Sigstore) -> None:
    path = sigstore.state_dir / "trusted_root.json"
    error = failure(sigstore.mint(**EMAIL_CLAIMS), SigstoreTrust.load(path))
    assert isinstance(error, SettingsError)
    assert error.message == f"{path}: a trusted root serves verification only; signing needs a client trust config"


@pytest.mark.parametrize("damage", ["caUrls", "no-fulcio"])
def test_a_damaged_signing_config_is_a_wrong_setting(sigstore: Sigstore, tmp_path: Path, damage: str) -> None:
    document = json.loads((sigstore.state_dir / "trust_config.json").read_text())
    document["signingConfig"]["caUrls"] = 7 if damage == "caUrls" else []
    path = tmp_path / "trust.json"
    path.write_text(json.dumps(document))
    error = failure(sigstore.mint(**EMAIL_CLAIMS), SigstoreTrust.load(path))
    assert isinstance(error, SettingsError)
    assert str(path) in error.message


# Verifying against trust files that are wrong


@pytest.mark.parametrize("part", ["tlogs", "certificateAuthorities", "ctlogs"])
def test_a_root_without_logs_or_authorities_is_a_wrong_setting(sigstore: Sigstore, tmp_path: Path, part: str) -> None:
    world = KeylessWorld(sigstore)
    [bundle] = world.signer.sign([statement()])
    document = json.loads((sigstore.state_dir / "trusted_root.json").read_text())
    path = tmp_path / "root.json"
    values: tuple[object, ...] = ([], 7)
    for value in values:
        path.write_text(json.dumps({**document, part: value}))
        with pytest.raises(SettingsError, match=r"root\.json: the Sigstore trust file cannot be used"):
            SigstoreVerifier(trust=SigstoreTrust.load(path)).verify(
                bundle, HELLO.digest, SIGNATURE_PREDICATE, [world.signer.signatory()]
            )


def test_a_certificate_that_is_no_certificate_is_refused(sigstore: Sigstore) -> None:
    world = KeylessWorld(sigstore)
    [bundle] = world.signer.sign([statement()])
    document = json.loads(bundle.raw)
    document["verificationMaterial"]["certificate"]["rawBytes"] = base64.b64encode(b"no").decode()
    with pytest.raises(VerificationError, match="the bundle does not verify"):
        world.verifier.verify(
            Bundle(json.dumps(document).encode()), HELLO.digest, SIGNATURE_PREDICATE, [world.signer.signatory()]
        )


# The public Sigstore


@pytest.fixture
def clean_home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sealed, "_FETCHED", {})
    for name in ("HOME", "XDG_DATA_HOME", "XDG_CACHE_HOME"):
        monkeypatch.setenv(name, str(tmp_path / name.lower()))


@pytest.mark.usefixtures("clean_home")
def test_the_public_sigstore_does_not_trust_a_private_one(sigstore: Sigstore) -> None:
    world = KeylessWorld(sigstore)
    [bundle] = world.signer.sign([statement()])
    verifier = SigstoreVerifier(trust=SigstoreTrust.load("public").without_refresh())
    with pytest.raises(VerificationError, match="authority that is not trusted"):
        verifier.verify(bundle, HELLO.digest, SIGNATURE_PREDICATE, [Identity("ci@example.com", sigstore.url)])


@pytest.fixture
def proxy(monkeypatch: pytest.MonkeyPatch) -> Iterator[socket.socket]:
    """A port that every request to the world is sent to; nobody listens there yet."""
    for name in [name for name in os.environ if name.lower().endswith("_proxy")]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    with bound_socket() as held:
        for name in ("HTTPS_PROXY", "https_proxy"):
            monkeypatch.setenv(name, f"http://127.0.0.1:{held.getsockname()[1]}")
        yield held


@pytest.mark.usefixtures("clean_home", "proxy")
def test_the_public_authority_is_named_when_it_cannot_be_reached(sigstore: Sigstore) -> None:
    error = failure(sigstore.mint(**EMAIL_CLAIMS), SigstoreTrust.load("public").without_refresh(), timeout_s=2)
    assert isinstance(error, UnavailableError)
    assert "https://fulcio.sigstore.dev/api/v2/signingCert" in error.message


def refreshed(trust: SigstoreTrust) -> None:
    trusted = [Identity("ci@example.com", "https://idp.example")]
    SigstoreVerifier(trust=trust).verify(Bundle(b"{}"), HELLO.digest, SIGNATURE_PREDICATE, trusted)


@pytest.mark.usefixtures("clean_home", "proxy")
def test_the_public_keys_are_unavailable_without_a_network() -> None:
    with pytest.raises(UnavailableError, match="fetching the public Sigstore's keys"):
        refreshed(SigstoreTrust.load(None))


@pytest.mark.usefixtures("clean_home", "proxy")
def test_the_public_keys_are_fetched_once_for_all_that_is_signed_and_proven(
    sigstore: Sigstore, monkeypatch: pytest.MonkeyPatch
) -> None:
    fetched = list[bool]()
    production = ClientTrustConfig.production

    def counted(*, offline: bool) -> ClientTrustConfig:
        fetched.append(offline)
        return production(offline=True)

    monkeypatch.setattr(ClientTrustConfig, "production", counted)
    for _ in range(2):
        with pytest.raises(VerificationError):
            refreshed(SigstoreTrust.load("public"))
        away = failure(sigstore.mint(**EMAIL_CLAIMS), SigstoreTrust.load("public"), timeout_s=2)
        assert "fulcio.sigstore.dev" in away.message
    assert fetched == [False]


@pytest.mark.usefixtures("clean_home")
def test_the_public_keys_are_fetched_before_there_is_a_bundle_and_a_failure_waits_for_it(proxy: socket.socket) -> None:
    proxy.listen()
    proxy.settimeout(30)
    verifier = SigstoreVerifier(trust=SigstoreTrust.load(None))
    verifier.prepare()
    connection, _ = proxy.accept()
    connection.close()
    proxy.close()
    with pytest.raises(UnavailableError, match="fetching the public Sigstore's keys"):
        verifier.verify(Bundle(b"{}"), HELLO.digest, SIGNATURE_PREDICATE, [Identity("ci@example.com", "https://idp.x")])


@pytest.mark.usefixtures("clean_home")
def test_fetching_the_public_keys_has_a_deadline(proxy: socket.socket) -> None:
    proxy.listen()
    with pytest.raises(DeadlineError, match=r"fetching the public Sigstore's keys: no answer within 0\.2 s"):
        refreshed(replace(SigstoreTrust.load(None), refresh_timeout_s=0.2))
