"""Certificates of the sandbox: one CA for the registry, and one per target, laid out as vic-machine lays them out.

A target's `cert_path` holds `ca.pem`, `cert.pem` and `key.pem`; its server's files and the CA's key lie elsewhere.
Source: VIC v1.5.8 pkg/certificate/certificate.go:61-62 (valid one year), :126-164 (names and addresses).
"""

import datetime as dt
import ipaddress
from dataclasses import dataclass
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from imagepipe.errors import NotFoundError
from imagepipe.sandbox.state import write_private

__all__ = ["Authority", "expired_client", "foreign_client", "issue_target"]

_YEAR = dt.timedelta(days=365)
_SKEW = dt.timedelta(minutes=5)  # a clock that is a little behind still accepts what was just issued


def _now() -> dt.datetime:
    return dt.datetime.now(dt.UTC)


@dataclass(frozen=True, slots=True)
class _Pair:
    certificate: x509.Certificate
    key: ec.EllipticCurvePrivateKey

    def write(self, certificate_file: Path, key_file: Path) -> None:
        write_private(certificate_file, self.certificate.public_bytes(serialization.Encoding.PEM).decode())
        secret = self.key.private_bytes(
            serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
        )
        write_private(key_file, secret.decode())


class Authority:
    """A certificate authority with its key in a folder: `ca.pem`, `ca-key.pem`."""

    def __init__(self, folder: Path, pair: _Pair) -> None:
        self._folder, self._pair = folder, pair

    @classmethod
    def create(cls, folder: Path, name: str) -> "Authority":
        """Makes a new authority and writes it to a folder."""
        key = ec.generate_private_key(ec.SECP256R1())
        subject = _name(name)
        builder = _builder(subject, subject, key, (_now() - _SKEW, _now() + _YEAR))
        builder = builder.add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        builder = builder.add_extension(_usage(signs_certificates=True), critical=True)
        pair = _Pair(builder.sign(key, hashes.SHA256()), key)
        pair.write(folder / "ca.pem", folder / "ca-key.pem")
        return cls(folder, pair)

    @classmethod
    def load(cls, folder: Path) -> "Authority":
        """Returns the authority that `create` wrote to a folder.

        Raises:
            NotFoundError: There is none.
        """
        try:
            certificate = x509.load_pem_x509_certificate((folder / "ca.pem").read_bytes())
            key = serialization.load_pem_private_key((folder / "ca-key.pem").read_bytes(), password=None)
        except FileNotFoundError:
            raise NotFoundError(f"no certificate authority in {folder}", hint="start the sandbox") from None
        assert isinstance(key, ec.EllipticCurvePrivateKey)
        return cls(folder, _Pair(certificate, key))

    @property
    def certificate_file(self) -> Path:
        """Returns the file that others trust."""
        return self._folder / "ca.pem"

    def issue_server(self, name: str, addresses: tuple[str, ...]) -> tuple[Path, Path]:
        """Issues a server certificate for IP addresses and a name; returns its file and its key's."""
        names = [x509.DNSName(name), *(x509.IPAddress(ipaddress.ip_address(address)) for address in addresses)]
        files = self._folder / "server-cert.pem", self._folder / "server-key.pem"
        pair = self._issue(name, ExtendedKeyUsageOID.SERVER_AUTH, x509.SubjectAlternativeName(names), _from_now())
        pair.write(*files)
        return files

    def issue_client(
        self,
        folder: Path,
        valid: tuple[dt.datetime, dt.datetime] | None = None,
        *,
        trust: Path | None = None,
    ) -> Path:
        """Writes `ca.pem`, `cert.pem` and `key.pem` for a client, and returns their folder.

        Args:
            folder: Where to write.
            valid: First and last moment; absent: a year from now.
            trust: The CA that the client is to trust; absent: this one.
        """
        self._issue("client", ExtendedKeyUsageOID.CLIENT_AUTH, None, valid or _from_now()).write(
            folder / "cert.pem", folder / "key.pem"
        )
        write_private(folder / "ca.pem", (trust or self.certificate_file).read_text())
        return folder

    def _issue(
        self,
        name: str,
        purpose: x509.ObjectIdentifier,
        names: x509.SubjectAlternativeName | None,
        valid: tuple[dt.datetime, dt.datetime],
    ) -> _Pair:
        key = ec.generate_private_key(ec.SECP256R1())
        builder = _builder(_name(name), self._pair.certificate.subject, key, valid)
        builder = builder.add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        builder = builder.add_extension(_usage(signs_certificates=False), critical=True)
        builder = builder.add_extension(x509.ExtendedKeyUsage([purpose]), critical=False)
        issuer = x509.AuthorityKeyIdentifier.from_issuer_public_key(self._pair.key.public_key())
        builder = builder.add_extension(issuer, critical=False)
        if names is not None:
            builder = builder.add_extension(names, critical=False)
        return _Pair(builder.sign(self._pair.key, hashes.SHA256()), key)


def issue_target(pki: Path, cert_path: Path, name: str, address: str) -> tuple[Path, Path]:
    """Makes a target's CA, its server certificate, and a client's folder; returns the server's files."""
    authority = Authority.create(pki, f"{name} CA")
    authority.issue_client(cert_path)
    return authority.issue_server(name, (address, "127.0.0.1"))


def expired_client(pki: Path, folder: Path) -> Path:
    """Writes a client certificate that ran out yesterday to a folder, and returns the folder.

    Raises:
        NotFoundError: There is no authority in `pki`.
    """
    valid = _now() - dt.timedelta(days=30), _now() - dt.timedelta(days=1)
    return Authority.load(pki).issue_client(folder, valid)


def short_lived_client(pki: Path, folder: Path, life_s: float) -> Path:
    """Writes a client certificate that runs out in so many seconds to a folder, and returns the folder.

    Raises:
        NotFoundError: There is no authority in `pki`.
    """
    return Authority.load(pki).issue_client(folder, (_now() - _SKEW, _now() + dt.timedelta(seconds=life_s)))


def foreign_client(pki: Path, folder: Path) -> Path:
    """Writes a client certificate of a CA that the target does not know, and returns its folder.

    The client still trusts the target's own CA, so it is the target that refuses.
    """
    trusted = Authority.load(pki).certificate_file
    return Authority.create(folder / "foreign-ca", "another CA").issue_client(folder, trust=trusted)


def _from_now() -> tuple[dt.datetime, dt.datetime]:
    return _now() - _SKEW, _now() + _YEAR - _SKEW


def _name(common_name: str) -> x509.Name:
    return x509.Name(
        [
            x509.NameAttribute(NameOID.ORGANIZATION_NAME, "imagepipe sandbox"),
            x509.NameAttribute(NameOID.COMMON_NAME, common_name),
        ]
    )


def _builder(
    subject: x509.Name,
    issuer: x509.Name,
    key: ec.EllipticCurvePrivateKey,
    valid: tuple[dt.datetime, dt.datetime],
) -> x509.CertificateBuilder:
    return (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(valid[0])
        .not_valid_after(valid[1])
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
    )


def _usage(*, signs_certificates: bool) -> x509.KeyUsage:
    return x509.KeyUsage(
        digital_signature=not signs_certificates,
        key_cert_sign=signs_certificates,
        crl_sign=signs_certificates,
        content_commitment=False,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        encipher_only=False,
        decipher_only=False,
    )
