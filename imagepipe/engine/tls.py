"""The three files that a VCH's administrator hands out, checked before anything connects.

>>> Certificates.__name__
'Certificates'
"""

import socket
import ssl
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from cryptography import x509

from imagepipe.errors import CredentialsError, SettingsError

__all__ = ["Certificates"]


@dataclass(frozen=True, slots=True)
class Certificates:
    """Paths of ca.pem, cert.pem and key.pem, all there, readable, and fitting together.

    Source: VIC v1.5.8 docs configure_docker_client.md; Docker's DOCKER_CERT_PATH uses the same names.
    """

    ca: Path
    cert: Path
    key: Path

    @classmethod
    def load(cls, folder: str, now: datetime) -> "Certificates":
        """Returns the files of a folder once they are proven usable at `now`.

        Raises:
            SettingsError: A file is missing, unreadable or no PEM, or the key is another certificate's or locked.
            CredentialsError: The client certificate or the CA has expired, or is not valid yet.
        """
        root = Path(folder).expanduser()
        files = cls(root / "ca.pem", root / "cert.pem", root / "key.pem")
        contents = [_read(path) for path in (files.ca, files.cert, files.key)]
        authorities, own = _parse(files.ca, contents[0]), _parse(files.cert, contents[1])
        _check_validity("client certificate", files.cert, own[:1], now)
        _check_validity("CA certificate", files.ca, authorities, now)
        files._check_pair()
        return files

    def refused_by(self, address: tuple[str, int], timeout_s: float) -> ssl.SSLError | None:
        """Returns the alert by which a host refuses our certificate, or None where it does not.

        In TLS 1.3 the host judges our certificate after we may send: a request that is under way then breaks off
        without a reason, and the alert is what a reader would have found. Source: RFC 8446 section 4.4.2, 6.2.
        """
        context = ssl.create_default_context(cafile=str(self.ca))
        context.load_cert_chain(self.cert, self.key)
        try:
            with (
                socket.create_connection(address, timeout_s) as plain,
                context.wrap_socket(plain, server_hostname=address[0]) as secured,
            ):
                secured.settimeout(timeout_s)
                secured.recv(1)
        except ssl.SSLEOFError:
            return None
        except ssl.SSLError as error:
            return error
        except OSError:
            return None
        return None

    def _check_pair(self) -> None:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        try:
            # OpenSSL would ask for the passphrase of a locked key on the terminal; an empty one makes it fail instead.
            context.load_cert_chain(self.cert, self.key, password="")
        except (ssl.SSLError, OSError, ValueError) as error:
            raise SettingsError(
                f"{self.key}: not the key of {self.cert.name}, or locked by a passphrase ({error})",
                hint="put the unlocked private key of this client certificate there",
            ) from error


def _read(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise SettingsError(
            f"{path}: {error.strerror}",
            hint="point cert_path at the folder with ca.pem, cert.pem and key.pem, readable by you",
        ) from error


def _parse(path: Path, content: bytes) -> list[x509.Certificate]:
    try:
        return x509.load_pem_x509_certificates(content)
    except ValueError as error:
        raise SettingsError(
            f"{path}: holds no PEM certificate ({error})", hint="put the certificate there in PEM"
        ) from error


def _check_validity(what: str, path: Path, certificates: list[x509.Certificate], now: datetime) -> None:
    """Refuses when none of the certificates is valid now: one good CA among old ones is enough.

    Source: VIC v1.5.8 pkg/certificate/certificate.go: CA, server and client certificates live one year.
    """
    if any(one.not_valid_before_utc <= now <= one.not_valid_after_utc for one in certificates):
        return
    newest = max(certificates, key=lambda one: one.not_valid_after_utc)
    if newest.not_valid_after_utc < now:
        raise CredentialsError(
            f"{what} {path} expired on {newest.not_valid_after_utc:%Y-%m-%d}",
            hint="get fresh certificates from the administrator of this target (a VCH's live one year)",
        )
    raise CredentialsError(
        f"{what} {path} is not valid before {newest.not_valid_before_utc:%Y-%m-%d %H:%M} UTC",
        hint="check this machine's clock",
    )
