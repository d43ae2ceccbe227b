"""P-256 keys that outlive the process, and the few forms Sigstore wants of them."""

import hashlib
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Self

from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec


def write_atomically(path: Path, content: bytes, *, mode: int = 0o644) -> None:
    """Replaces path by content, so that a reader sees the old bytes or the new ones, never a part."""
    part = path.with_name(f".{path.name}.{os.getpid()}")
    part.unlink(missing_ok=True)
    descriptor = os.open(part, os.O_WRONLY | os.O_CREAT | os.O_EXCL, mode)
    with os.fdopen(descriptor, "wb") as file:
        file.write(content)
    part.replace(path)


@dataclass(frozen=True, slots=True)
class SigningKey:
    """An ECDSA P-256 key that signs with SHA-256; its repr does not show it."""

    private: ec.EllipticCurvePrivateKey

    @classmethod
    def load_or_create(cls, path: Path) -> Self:
        """Returns the key in the PEM file at path, which is made with mode 0600 when it is not there."""
        if path.exists():
            loaded = serialization.load_pem_private_key(path.read_bytes(), password=None)
            if not isinstance(loaded, ec.EllipticCurvePrivateKey):
                raise ValueError(f"{path} does not hold an elliptic curve key")
            return cls(loaded)
        key = cls(ec.generate_private_key(ec.SECP256R1()))
        pem = key.private.private_bytes(
            serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
        )
        write_atomically(path, pem, mode=0o600)
        return key

    @property
    def public(self) -> ec.EllipticCurvePublicKey:
        """The public half."""
        return self.private.public_key()

    @property
    def spki(self) -> bytes:
        """The public key as DER SubjectPublicKeyInfo."""
        return spki(self.public)

    @property
    def public_pem(self) -> bytes:
        """The public key as PEM SubjectPublicKeyInfo."""
        return self.public.public_bytes(serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo)

    @property
    def log_id(self) -> bytes:
        """SHA-256 over the SPKI, 32 bytes. Source: RFC 6962 section 3.2; Rekor uses the same for its logID."""
        return hashlib.sha256(self.spki).digest()

    def sign(self, message: bytes) -> bytes:
        """Returns the DER signature over SHA-256 of message."""
        return self.private.sign(message, ec.ECDSA(hashes.SHA256()))


def spki(key: ec.EllipticCurvePublicKey) -> bytes:
    """Returns key as DER SubjectPublicKeyInfo."""
    return key.public_bytes(serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo)
