"""The certificate authority: a root, an intermediate, and leaves of ten minutes."""

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Self

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from imagepipe.sandbox.sigstore.identity import Identity
from imagepipe.sandbox.sigstore.keys import SigningKey, write_atomically
from imagepipe.sandbox.sigstore.sct import sct_extension

ORGANIZATION = "imagepipe sandbox"
VALID_FROM = datetime(2020, 1, 1, tzinfo=UTC)
VALID_UNTIL = datetime(2049, 12, 31, tzinfo=UTC)
"""Far on both sides, so that a stand-in with a shifted clock has a CA too."""

LEAF_LIFETIME = timedelta(minutes=10)
"""Source: Fulcio v1.8.8 pkg/ca/common.go, MakeX509."""

PublicKey = ec.EllipticCurvePublicKey


def key_usage(*, ca: bool) -> x509.KeyUsage:
    """Returns keyCertSign and cRLSign for a CA, digitalSignature for a leaf."""
    return x509.KeyUsage(
        digital_signature=not ca,
        content_commitment=False,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        key_cert_sign=ca,
        crl_sign=ca,
        encipher_only=False,
        decipher_only=False,
    )


def ca_name(common_name: str) -> x509.Name:
    """Returns the subject of one of the sandbox's own authorities."""
    attributes = ((NameOID.ORGANIZATION_NAME, ORGANIZATION), (NameOID.COMMON_NAME, common_name))
    return x509.Name([x509.NameAttribute(oid, text) for oid, text in attributes])


def ca_builder(subject: str, public: PublicKey, issuer: str, issuer_key: PublicKey) -> x509.CertificateBuilder:
    """Returns a long-lived certificate in the making, with its names, dates and key identifiers."""
    return (
        x509.CertificateBuilder()
        .subject_name(ca_name(subject))
        .issuer_name(ca_name(issuer))
        .public_key(public)
        .serial_number(x509.random_serial_number())
        .not_valid_before(VALID_FROM)
        .not_valid_after(VALID_UNTIL)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(public), critical=False)
        .add_extension(x509.AuthorityKeyIdentifier.from_issuer_public_key(issuer_key), critical=False)
    )


def pem(certificate: x509.Certificate) -> str:
    """Returns the certificate as PEM text."""
    return certificate.public_bytes(serialization.Encoding.PEM).decode()


def self_signed(common_name: str, key: SigningKey) -> x509.Certificate:
    """Returns a root that may have one level of CAs below it."""
    builder = ca_builder(common_name, key.public, common_name, key.public)
    builder = builder.add_extension(x509.BasicConstraints(ca=True, path_length=1), critical=True)
    return builder.add_extension(key_usage(ca=True), critical=True).sign(key.private, hashes.SHA256())


@dataclass(frozen=True, slots=True)
class CertificateAuthority:
    """Signs leaves with the intermediate; the chain is [intermediate, root]."""

    key: SigningKey
    chain: tuple[x509.Certificate, x509.Certificate]
    ct_log: SigningKey

    @classmethod
    def load_or_create(cls, folder: Path, ct_log: SigningKey) -> Self:
        """Returns the authority whose keys and chain are kept in folder."""
        root_key = SigningKey.load_or_create(folder / "fulcio-root.pem")
        key = SigningKey.load_or_create(folder / "fulcio-intermediate.pem")
        kept = folder / "fulcio-chain.pem"
        if not kept.exists():
            made = (_intermediate(key, root_key), self_signed("imagepipe sandbox root", root_key))
            write_atomically(kept, "".join(map(pem, made)).encode())
        intermediate, root = x509.load_pem_x509_certificates(kept.read_bytes())
        return cls(key, (intermediate, root), ct_log)

    def issue(self, public: PublicKey, identity: Identity, now_s: float) -> list[x509.Certificate]:
        """Returns [leaf, intermediate, root]; the leaf binds the key to the identity from now_s for ten minutes."""
        start = datetime.fromtimestamp(int(now_s), UTC)
        draft = (
            x509.CertificateBuilder()
            .subject_name(x509.Name([]))
            .issuer_name(self.chain[0].subject)
            .public_key(public)
            .serial_number(x509.random_serial_number())
            .not_valid_before(start)
            .not_valid_after(start + LEAF_LIFETIME)
            .add_extension(key_usage(ca=False), critical=True)
            .add_extension(x509.ExtendedKeyUsage([ExtendedKeyUsageOID.CODE_SIGNING]), critical=False)
            .add_extension(x509.SubjectKeyIdentifier.from_public_key(public), critical=False)
            .add_extension(x509.AuthorityKeyIdentifier.from_issuer_public_key(self.key.public), critical=False)
            # Critical because the subject is empty. Source: RFC 5280 section 4.2.1.6.
            .add_extension(x509.SubjectAlternativeName([identity.name]), critical=True)
        )
        for extension in identity.to_extensions():
            draft = draft.add_extension(extension, critical=False)
        tbs = draft.sign(self.key.private, hashes.SHA256()).tbs_certificate_bytes
        sct = sct_extension(tbs, self.key.spki, self.ct_log, int(now_s * 1000))
        leaf = draft.add_extension(sct, critical=False).sign(self.key.private, hashes.SHA256())
        return [leaf, *self.chain]


def _intermediate(key: SigningKey, root: SigningKey) -> x509.Certificate:
    builder = ca_builder("imagepipe sandbox intermediate", key.public, "imagepipe sandbox root", root.public)
    builder = builder.add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
    builder = builder.add_extension(key_usage(ca=True), critical=True)
    # Fulcio refuses an intermediate without it. Source: Fulcio v1.8.8 pkg/ca/common.go, VerifyCertChain.
    usage = x509.ExtendedKeyUsage([ExtendedKeyUsageOID.CODE_SIGNING])
    return builder.add_extension(usage, critical=False).sign(root.private, hashes.SHA256())
