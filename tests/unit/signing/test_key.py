import base64
import hashlib
import json
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed25519

from imagepipe.errors import SettingsError, VerificationError
from imagepipe.model.digest import Digest
from imagepipe.model.evidence import SIGNATURE_PREDICATE, PublicKey, Statement
from imagepipe.model.reference import Pinned
from imagepipe.ports.diagnosis import PerishableSigner
from imagepipe.signing.key import KeySigner, load_public_key, prove_with_keys

IMAGE = Pinned.parse("vic.example/es-sandbox/hello@" + str(Digest.of(b"hello")))
STATEMENT = Statement.about(IMAGE, SIGNATURE_PREDICATE, {})
P256 = ec.generate_private_key(ec.SECP256R1())


def pem(key: Any = P256, password: str | None = None) -> bytes:
    how = serialization.BestAvailableEncryption(password.encode()) if password else serialization.NoEncryption()
    return bytes(key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, how))


def public_pem(key: Any = P256) -> bytes:
    spki = serialization.PublicFormat.SubjectPublicKeyInfo
    return bytes(key.public_key().public_bytes(serialization.Encoding.PEM, spki))


def written(folder: Path, content: bytes, name: str = "ci.key") -> Path:
    path = folder / name
    path.write_bytes(content)
    return path


@pytest.mark.parametrize("password", [None, "päss"])
def test_a_key_file_signs_as_its_public_half(tmp_path: Path, password: str | None) -> None:
    signer = KeySigner.from_file(written(tmp_path, pem(password=password)), password=password)
    assert signer.signatory() == PublicKey("ci", public_pem())
    [bundle] = signer.sign([STATEMENT])
    public = load_public_key(written(tmp_path, public_pem(), "ci.pub"))
    assert prove_with_keys(bundle.raw, [public]).envelope.payload == STATEMENT.payload


def test_a_key_may_have_a_name_of_its_own(tmp_path: Path) -> None:
    assert KeySigner.from_file(written(tmp_path, pem()), name="release").signatory().name == "release"
    assert load_public_key(written(tmp_path, public_pem(), "x.pub"), name="release").name == "release"


def test_the_hint_is_the_digest_of_the_key_as_cosign_writes_it() -> None:
    signer = KeySigner("ci", P256)
    [bundle] = signer.sign([STATEMENT])
    der = base64.b64decode("".join(public_pem().decode().splitlines()[1:-1]))
    hint = json.loads(bundle.raw)["verificationMaterial"]["publicKey"]["hint"]
    assert base64.b64decode(hint) == hashlib.sha256(der).digest()


@pytest.mark.parametrize(
    ("content", "password", "said"),
    [
        (pem(password="right"), "mistyped-7", "or the password is wrong"),
        (pem(password="right"), None, "is encrypted and no password is given"),
        (pem(), "needless", "is not encrypted, but a password is given"),
        (b"-----BEGIN NONSENSE-----", None, "not a PKCS#8 PEM private key"),
        (pem(ec.generate_private_key(ec.SECP384R1())), None, "not an ECDSA P-256 key"),
        (pem(ed25519.Ed25519PrivateKey.generate()), None, "not an ECDSA P-256 key"),
        (b"-----BEGIN ENCRYPTED SIGSTORE PRIVATE KEY-----", None, "cosign's own format"),
    ],
)
def test_an_unusable_key_is_refused_by_file_and_reason(
    tmp_path: Path, content: bytes, password: str | None, said: str
) -> None:
    with pytest.raises(SettingsError) as caught:
        KeySigner.from_file(written(tmp_path, content), password=password)
    assert said in caught.value.message
    assert caught.value.message.startswith(f"{tmp_path / 'ci.key'}: ")
    assert password is None or password not in caught.value.message


def test_missing_key_files_are_named(tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match=r"no\.key: cannot read the signing key: No such file"):
        KeySigner.from_file(tmp_path / "no.key")
    with pytest.raises(SettingsError, match=r"no\.pub: cannot read the public key: No such file"):
        load_public_key(tmp_path / "no.pub")


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"nonsense", "not a PEM public key"),
        (public_pem(ec.generate_private_key(ec.SECP384R1())), "not an ECDSA P-256"),
    ],
)
def test_an_unusable_public_key_is_refused(tmp_path: Path, content: bytes, said: str) -> None:
    with pytest.raises(SettingsError, match=said):
        load_public_key(written(tmp_path, content, "ci.pub"))
    [bundle] = KeySigner("ci", P256).sign([STATEMENT])
    with pytest.raises(SettingsError, match=f"key broken: {said}"):
        prove_with_keys(bundle.raw, [PublicKey("broken", content)])


def test_a_hint_at_a_trusted_key_does_not_make_a_signature_trusted() -> None:
    signer, eve = KeySigner("ci", P256), KeySigner.generate("eve")
    mine, forged = (json.loads(each.sign([STATEMENT])[0].raw) for each in (signer, eve))
    forged["verificationMaterial"] = mine["verificationMaterial"]
    with pytest.raises(VerificationError, match=r"not signed with a key that the policy trusts \(ci\)"):
        prove_with_keys(json.dumps(forged).encode(), [signer.signatory()])


@pytest.mark.parametrize(
    "envelope",
    [
        None,
        7,
        {},
        {"payload": "e30=", "payloadType": "x", "signatures": []},
        {"payload": "e30=", "payloadType": "x", "signatures": [{"sig": "e30="}, {"sig": "e30="}]},
        {"payload": "!", "payloadType": "x", "signatures": [{"sig": "e30="}]},
        {"payload": "e30=", "payloadType": "x", "signatures": [{"sig": "é"}]},
        {"payload": "e30=", "payloadType": "x", "signatures": [7]},
    ],
)
def test_an_envelope_without_exactly_one_signature_is_refused(envelope: object) -> None:
    signer = KeySigner("ci", P256)
    document = json.loads(signer.sign([STATEMENT])[0].raw) | {"dsseEnvelope": envelope}
    with pytest.raises(VerificationError, match="no envelope with exactly one signature"):
        prove_with_keys(json.dumps(document).encode(), [signer.signatory()])


def test_a_bundle_of_unknown_kind_is_refused() -> None:
    signer = KeySigner("ci", P256)
    document = json.loads(signer.sign([STATEMENT])[0].raw) | {"mediaType": "application/json"}
    with pytest.raises(VerificationError, match="unknown media type 'application/json'"):
        prove_with_keys(json.dumps(document).encode(), [signer.signatory()])


def test_a_doctor_is_told_that_a_key_does_not_end_by_itself() -> None:
    signer: PerishableSigner = KeySigner("ci", P256)
    assert signer.expires_at() is None
