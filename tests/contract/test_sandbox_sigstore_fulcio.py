"""What the sandbox's Fulcio answers, and the bytes of its certificates, without a client in between."""

import base64
import hashlib
import json
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import anyio
import httpx
import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.x509.oid import ExtendedKeyUsageOID, ExtensionOID

from imagepipe.sandbox.sigstore import SigstoreConfig, create_app
from tests.contract.sigstore_server import EMAIL_CLAIMS, Sigstore, b64, pem, served, sign

ENTRIES = "/api/v1/log/entries"
INVALID_CREDENTIALS = "There was an error processing the credentials for this request"


@pytest.fixture(scope="module")
def sigstore(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Sigstore]:
    with served(tmp_path_factory.mktemp("sigstore")) as running:
        yield running


@pytest.fixture
def client(sigstore: Sigstore) -> Iterator[httpx.Client]:
    with httpx.Client(base_url=sigstore.url) as opened:
        yield opened


@pytest.fixture(scope="module")
def key() -> ec.EllipticCurvePrivateKey:
    return ec.generate_private_key(ec.SECP256R1())


def _csr(key: ec.EllipticCurvePrivateKey | rsa.RSAPrivateKey) -> dict[str, str]:
    csr = x509.CertificateSigningRequestBuilder().subject_name(x509.Name([])).sign(key, hashes.SHA256())
    return {"certificateSigningRequest": b64(csr.public_bytes(serialization.Encoding.PEM))}


def _public_key_request(public: bytes, proof: bytes) -> dict[str, Any]:
    key = {"algorithm": "ECDSA", "content": public.decode()}
    return {"publicKeyRequest": {"publicKey": key, "proofOfPossession": b64(proof)}}


def _ask(client: httpx.Client, body: dict[str, Any], token: str) -> httpx.Response:
    return client.post("/api/v2/signingCert", json=body, headers={"Authorization": f"Bearer {token}"})


def _chain(answer: httpx.Response) -> list[x509.Certificate]:
    assert answer.status_code == 200
    pems = answer.json()["signedCertificateEmbeddedSct"]["chain"]["certificates"]
    return [x509.load_pem_x509_certificate(each.encode()) for each in pems]


def _forged(token: str) -> str:
    head, _, signature = token.rpartition(".")
    return f"{head}.{('B' if signature[0] == 'A' else 'A') + signature[1:]}"


def _unsigned(token: str) -> str:
    header = base64.urlsafe_b64encode(b'{"alg":"none"}').rstrip(b"=").decode()
    return f"{header}.{token.split('.')[1]}."


def _altered(token: str) -> str:
    header, _, signature = token.split(".")
    claims = json.dumps({**EMAIL_CLAIMS, "email": "admin@example.com", "aud": "sigstore", "exp": 9e9}).encode()
    return f"{header}.{base64.urlsafe_b64encode(claims).rstrip(b'=').decode()}.{signature}"


TOKENS: dict[str, Callable[[Sigstore], str]] = {
    "expired": lambda it: it.mint(**EMAIL_CLAIMS, exp_s=-1),
    "not valid yet": lambda it: it.mint(**EMAIL_CLAIMS, nbf=9_000_000_000, exp_s=9_100_000_000),
    "for another audience": lambda it: it.mint(**EMAIL_CLAIMS, aud="harbor"),
    "of another issuer": lambda it: it.mint(**EMAIL_CLAIMS, iss="https://accounts.google.com"),
    "forged": lambda it: _forged(it.mint(**EMAIL_CLAIMS)),
    "altered": lambda it: _altered(it.mint(**EMAIL_CLAIMS)),
    "not signed": lambda it: _unsigned(it.mint(**EMAIL_CLAIMS)),
    "without a sub that is a URI": lambda it: it.mint(sub="ci"),
    "with an email that is not verified": lambda it: it.mint(**{**EMAIL_CLAIMS, "email_verified": False}),
    "with an email that is verified in words": lambda it: it.mint(**{**EMAIL_CLAIMS, "email_verified": "true"}),
    "with a name that no certificate can hold": lambda it: it.mint(**{**EMAIL_CLAIMS, "email": "jörg@example.com"}),
    "not a token": lambda _: "a.b.c",
    "not there": lambda _: "",
}


@pytest.mark.parametrize("which", TOKENS)
@pytest.mark.parametrize("version", ["v1", "v2"])
def test_no_certificate_for_a_token_that_is(
    sigstore: Sigstore, client: httpx.Client, key: ec.EllipticCurvePrivateKey, which: str, version: str
) -> None:
    headers = {"Authorization": f"Bearer {TOKENS[which](sigstore)}".strip()}
    answer = client.post(f"/api/{version}/signingCert", json=_csr(key), headers=headers)
    assert answer.status_code == 401
    assert answer.json() == {"code": 16, "message": INVALID_CREDENTIALS, "details": []}


def _refused_requests() -> dict[str, tuple[dict[str, Any], str]]:
    key, other = (ec.generate_private_key(ec.SECP256R1()) for _ in range(2))
    weak = rsa.generate_private_key(65537, 2048)
    public, email = pem(key.public_key()), b"ci@example.com"
    csr, public_key, signature = (
        "The certificate signing request could not be parsed",
        "The public key supplied in the request could not be parsed",
        "The signature supplied in the request could not be verified",
    )
    return {
        "a CSR that is not base64": ({"certificateSigningRequest": "%%"}, csr),
        "a CSR that is none": ({"certificateSigningRequest": b64(b"x")}, csr),
        "a CSR for an RSA key": (_csr(weak), public_key),
        "no key": ({}, public_key),
        "an RSA key": (_public_key_request(pem(weak.public_key()), b""), public_key),
        "a proof by another key": (_public_key_request(public, sign(other, email)), signature),
        "a proof over the sub instead of the email": (_public_key_request(public, sign(key, b"ci")), signature),
    }


REFUSED_REQUESTS = _refused_requests()


@pytest.mark.parametrize("which", REFUSED_REQUESTS)
def test_no_certificate_for_a_request_with(sigstore: Sigstore, client: httpx.Client, which: str) -> None:
    body, message = REFUSED_REQUESTS[which]
    answer = _ask(client, body, sigstore.mint(**EMAIL_CLAIMS))
    assert answer.status_code == 400
    assert answer.json() == {"code": 3, "message": message, "details": []}


@pytest.mark.parametrize(
    ("claims", "proof"),
    [
        (EMAIL_CLAIMS, b"ci@example.com"),
        ({"sub": "https://ci.example.com/job"}, b"https://ci.example.com/job"),
        ({"sub": "repo:acme/app", "job_workflow_ref": "acme/app/x.yml@refs/heads/main"}, b"repo:acme/app"),
    ],
)
def test_possession_of_a_key_is_proved_over_the_name_in_the_token(
    sigstore: Sigstore, client: httpx.Client, key: ec.EllipticCurvePrivateKey, claims: dict[str, Any], proof: bytes
) -> None:
    body = _public_key_request(pem(key.public_key()), sign(key, proof))
    body["credentials"] = {"oidcIdentityToken": sigstore.mint(**claims)}
    assert _chain(client.post("/api/v2/signingCert", json=body))[0].public_key() == key.public_key()


def test_cosign_gets_its_chain_as_pem_with_201_and_no_detached_sct(
    sigstore: Sigstore, client: httpx.Client, key: ec.EllipticCurvePrivateKey
) -> None:
    body = {
        "publicKey": {"algorithm": "ecdsa", "content": b64(pem(key.public_key()))},
        "signedEmailAddress": b64(sign(key, b"ci@example.com")),
    }
    headers = {"Authorization": f"Bearer {sigstore.mint(**EMAIL_CLAIMS)}"}
    answer = client.post("/api/v1/signingCert", json=body, headers=headers)
    assert answer.status_code == 201
    assert answer.headers["content-type"] == "application/pem-certificate-chain"
    assert "sct" not in answer.headers
    leaf, *chain = x509.load_pem_x509_certificates(answer.content)
    assert leaf.public_key() == key.public_key()
    assert chain == x509.load_pem_x509_certificates((sigstore.state_dir / "ca_chain.pem").read_bytes())


def test_the_trust_bundle_is_the_chain(sigstore: Sigstore, client: httpx.Client) -> None:
    [chain] = client.get("/api/v2/trustBundle").json()["chains"]
    assert "".join(chain["certificates"]) == (sigstore.state_dir / "ca_chain.pem").read_text()
    assert client.get("/api/v1/rootCert").text == (sigstore.state_dir / "ca_chain.pem").read_text()


def test_a_leaf_has_fulcios_profile(sigstore: Sigstore, client: httpx.Client, key: ec.EllipticCurvePrivateKey) -> None:
    leaf, intermediate, root = _chain(_ask(client, _csr(key), sigstore.mint(**EMAIL_CLAIMS)))
    root.verify_directly_issued_by(root)
    intermediate.verify_directly_issued_by(root)
    leaf.verify_directly_issued_by(intermediate)
    assert leaf.subject == x509.Name([])
    assert leaf.not_valid_after_utc - leaf.not_valid_before_utc == timedelta(minutes=10)
    names = leaf.extensions.get_extension_for_class(x509.SubjectAlternativeName)
    assert (names.critical, list(names.value)) == (True, [x509.RFC822Name("ci@example.com")])
    usage = leaf.extensions.get_extension_for_class(x509.KeyUsage)
    assert (usage.critical, usage.value.digital_signature, usage.value.key_cert_sign) == (True, True, False)
    extended = leaf.extensions.get_extension_for_class(x509.ExtendedKeyUsage)
    assert list(extended.value) == [ExtendedKeyUsageOID.CODE_SIGNING]
    assert (
        ExtendedKeyUsageOID.CODE_SIGNING in intermediate.extensions.get_extension_for_class(x509.ExtendedKeyUsage).value
    )
    fulcio = {
        each.oid.dotted_string.removeprefix("1.3.6.1.4.1.57264."): each.value.value
        for each in leaf.extensions
        if isinstance(each.value, x509.UnrecognizedExtension)
    }
    issuer = sigstore.url.encode()
    assert fulcio == {"1.1": issuer, "1.8": bytes((0x0C, len(issuer))) + issuer, "1.24": b"\x0c\x02ci"}
    [*_, last] = leaf.extensions
    assert last.oid == ExtensionOID.PRECERT_SIGNED_CERTIFICATE_TIMESTAMPS
    assert not last.critical


def test_the_embedded_sct_covers_the_precertificate(
    sigstore: Sigstore, client: httpx.Client, key: ec.EllipticCurvePrivateKey
) -> None:
    leaf, intermediate, _ = _chain(_ask(client, _csr(key), sigstore.mint(**EMAIL_CLAIMS)))
    [sct] = leaf.extensions.get_extension_for_class(x509.PrecertificateSignedCertificateTimestamps).value
    log_key = serialization.load_pem_public_key((sigstore.state_dir / "ctlog.pub").read_bytes())
    assert isinstance(log_key, ec.EllipticCurvePublicKey)
    spki = serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo
    assert sct.log_id == hashlib.sha256(log_key.public_bytes(*spki)).digest()
    # cryptography takes the SCT list out of the final certificate by itself: another reading of the draft's bytes.
    tbs = leaf.tbs_precertificate_bytes
    milliseconds = int(sct.timestamp.replace(tzinfo=UTC).timestamp() * 1000)
    signed = b"".join(
        (
            b"\x00\x00" + milliseconds.to_bytes(8, "big") + b"\x00\x01",
            hashlib.sha256(intermediate.public_key().public_bytes(*spki)).digest(),
            len(tbs).to_bytes(3, "big") + tbs + b"\x00\x00",
        )
    )
    log_key.verify(sct.signature, signed, ec.ECDSA(hashes.SHA256()))


def test_certificates_and_entries_follow_the_clock_that_is_given(tmp_path: Path) -> None:
    noon = datetime(2031, 5, 6, 12, tzinfo=UTC)
    config = SigstoreConfig(external_url="http://sigstore.test", state_dir=tmp_path, clock_offset_s=3600)

    async def issued() -> tuple[x509.Certificate, dict[str, Any]]:
        async with _in_process(config, noon.timestamp) as client:
            token = (await client.post("/mint", json=EMAIL_CLAIMS)).text
            headers = {"Authorization": f"Bearer {token}"}
            body = _csr(ec.generate_private_key(ec.SECP256R1()))
            answer = await client.post("/api/v2/signingCert", json=body, headers=headers)
            entries = (await client.get(ENTRIES, params={"logIndex": 0})).json()
            return _chain(answer)[0], next(iter(entries.values()))

    leaf, entry = anyio.run(issued)
    assert leaf.not_valid_before_utc == noon + timedelta(hours=1)
    assert entry["integratedTime"] == int(noon.timestamp()) + 3600


@asynccontextmanager
async def _in_process(config: SigstoreConfig, clock: Callable[[], float]) -> AsyncIterator[httpx.AsyncClient]:
    transport = httpx.ASGITransport(app=create_app(config, clock=clock))
    async with httpx.AsyncClient(transport=transport, base_url=config.external_url) as client:
        yield client
