"""Signs and verifies with an ECDSA P-256 key: no authority, no log, so nothing says when.

What it writes is read by `cosign verify-attestation --key`, and what `cosign attest --key` writes is read here.

>>> KeySigner.generate("ci").signatory().name
'ci'
"""

import base64
import binascii
import hashlib
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final

from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec

from imagepipe.errors import SettingsError, VerificationError
from imagepipe.model.evidence import Bundle, PublicKey, Statement
from imagepipe.model.media import IN_TOTO_PAYLOAD, SIGSTORE_BUNDLE, SIGSTORE_BUNDLE_PREFIX
from imagepipe.signing.claims import Envelope, Signed

__all__ = ["KeySigner", "load_public_key", "prove_with_keys"]

_ALGORITHM: Final = ec.ECDSA(hashes.SHA256())
_MAKE_A_KEY: Final = "make one: openssl genpkey -algorithm EC -pkeyopt ec_paramgen_curve:P-256 -aes256 -out signing.key"
# Source: cosign pkg/cosign/keys.go CosignPrivateKeyPemType and SigstorePrivateKeyPemType
_COSIGN_KEY_MARKS: Final = (b"ENCRYPTED COSIGN PRIVATE KEY", b"ENCRYPTED SIGSTORE PRIVATE KEY")


class KeySigner:
    """Signs statements with one private key.

    Args:
        name: What people call the key.
        private: The key.
    """

    def __init__(self, name: str, private: ec.EllipticCurvePrivateKey) -> None:
        self._name = name
        self._private = private

    @classmethod
    def generate(cls, name: str) -> "KeySigner":
        """Returns a signer with a new key."""
        return cls(name, ec.generate_private_key(ec.SECP256R1()))

    @classmethod
    def from_file(cls, path: Path, *, password: str | None = None, name: str | None = None) -> "KeySigner":
        """Returns the signer whose key is in a PKCS#8 PEM file; the name is the file's unless given.

        Raises:
            SettingsError: The file cannot be read, the password is missing or wrong, or it is another kind of key.
        """
        path = path.expanduser()
        pem = _read(path, "signing key")
        if any(mark in pem for mark in _COSIGN_KEY_MARKS):
            raise SettingsError(f"{path}: this is a private key in cosign's own format", hint=_MAKE_A_KEY)
        try:
            private = serialization.load_pem_private_key(pem, password.encode() if password else None)
        except TypeError as error:
            # cryptography's two TypeErrors: a password where none is needed, or none where one is.
            what = "is not encrypted, but a password is given" if password else "is encrypted and no password is given"
            raise SettingsError(f"{path}: the signing key {what}", hint="check the key's password") from error
        except (ValueError, UnsupportedAlgorithm) as error:
            raise SettingsError(
                f"{path}: not a PKCS#8 PEM private key, or the password is wrong", hint=_MAKE_A_KEY
            ) from error
        if not isinstance(private, ec.EllipticCurvePrivateKey) or not isinstance(private.curve, ec.SECP256R1):
            raise SettingsError(f"{path}: the signing key is not an ECDSA P-256 key", hint=_MAKE_A_KEY)
        return cls(name or path.stem, private)

    def prepare(self) -> None:
        """Does nothing: the key is there."""

    def signatory(self) -> PublicKey:
        """Returns the public half."""
        return PublicKey(self._name, _pem(self._private.public_key()))

    def expires_at(self) -> None:
        """Returns None: a key does not end by itself."""
        return

    def sign(self, statements: Sequence[Statement]) -> tuple[Bundle, ...]:
        """Returns one bundle per statement; nothing is sent anywhere."""
        return tuple(self.seal(Envelope(IN_TOTO_PAYLOAD, statement.payload)) for statement in statements)

    def seal(self, envelope: Envelope) -> Bundle:
        """Returns the bundle that carries the envelope and its signature.

        Source: protobuf-specs sigstore_bundle.proto v0.3; the hint (base64 sha256 of the DER) as in cosign v2.5.0
        """
        der = self._private.public_key().public_bytes(
            serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo
        )
        signature = self._private.sign(envelope.signed_bytes(), _ALGORITHM)
        document = {
            "mediaType": SIGSTORE_BUNDLE,
            "verificationMaterial": {
                "publicKey": {"hint": _b64(hashlib.sha256(der).digest())},
                "tlogEntries": [],
                "timestampVerificationData": {"rfc3161Timestamps": []},
            },
            "dsseEnvelope": {
                "payload": _b64(envelope.payload),
                "payloadType": envelope.payload_type,
                "signatures": [{"sig": _b64(signature)}],
            },
        }
        return Bundle(json.dumps(document, separators=(",", ":")).encode())


def load_public_key(path: Path, *, name: str | None = None) -> PublicKey:
    """Returns the public key in an SPKI PEM file, as `cosign verify --key` reads it.

    Raises:
        SettingsError: The file cannot be read, or holds no ECDSA P-256 public key.
    """
    path = path.expanduser()
    return PublicKey(name or path.stem, _pem(_loaded(_read(path, "public key"), str(path))))


def prove_with_keys(raw: bytes, trusted: Sequence[PublicKey]) -> Signed:
    """Returns what one of the trusted keys signed; the bundle's own hint at a key decides nothing.

    Raises:
        VerificationError: The bundle is broken or signed with something else.
        SettingsError: A trusted key is no ECDSA P-256 public key.
    """
    envelope, signature = _opened(raw)
    for key in trusted:
        try:
            _loaded(key.pem, f"key {key.name}").verify(signature, envelope.signed_bytes(), _ALGORITHM)
        except InvalidSignature:
            continue
        return Signed(envelope, key, None)
    names = ", ".join(key.name for key in trusted)
    raise VerificationError(f"the bundle was changed, or is not signed with a key that the policy trusts ({names})")


def _opened(raw: bytes) -> tuple[Envelope, bytes]:
    try:
        document: dict[str, Any] = json.loads(raw)
        media_type, material = str(document["mediaType"]), document["verificationMaterial"]
        keyed = "publicKey" in material
        sealed: Any = document.get("dsseEnvelope")
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise VerificationError("the bundle cannot be read: it is no Sigstore bundle") from error
    if not media_type.startswith(SIGSTORE_BUNDLE_PREFIX):
        raise VerificationError(f"the bundle has an unknown media type {media_type[:120]!r}")
    if not keyed:
        raise VerificationError("the bundle is signed with a certificate, where the policy trusts a key")
    try:
        [only] = sealed["signatures"]
        return Envelope(str(sealed["payloadType"]), _decoded(sealed["payload"])), _decoded(only["sig"])
    except (ValueError, KeyError, TypeError) as error:
        raise VerificationError("the bundle holds no envelope with exactly one signature") from error


def _loaded(pem: bytes, name: str) -> ec.EllipticCurvePublicKey:
    try:
        key = serialization.load_pem_public_key(pem)
    except (ValueError, UnsupportedAlgorithm) as error:
        raise SettingsError(f"{name}: not a PEM public key", hint="give the SPKI PEM of an ECDSA P-256 key") from error
    if not isinstance(key, ec.EllipticCurvePublicKey) or not isinstance(key.curve, ec.SECP256R1):
        raise SettingsError(f"{name}: not an ECDSA P-256 public key", hint="give the SPKI PEM of an ECDSA P-256 key")
    return key


def _read(path: Path, what: str) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise SettingsError(f"{path}: cannot read the {what}: {error.strerror}") from error


def _pem(key: ec.EllipticCurvePublicKey) -> bytes:
    return key.public_bytes(serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo)


def _b64(data: bytes) -> str:
    return base64.b64encode(data).decode()


def _decoded(text: str) -> bytes:
    try:
        return base64.b64decode(text, validate=True)
    except binascii.Error as error:
        raise ValueError(str(error)) from error
