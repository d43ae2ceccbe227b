"""What the stand-ins cannot be made to do: certificates without names, and time passing between two calls."""

import subprocess
import sys
from datetime import UTC, datetime, timedelta

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from sigstore._internal.fulcio.client import ExpiredCertificate, FulcioClientError
from sigstore.errors import VerificationError as SigstoreVerificationError
from sigstore.oidc import ExpiredIdentity

from imagepipe.errors import IdentityError, UnavailableError
from imagepipe.model.evidence import Identity
from imagepipe.signing.sealed import _OneOf, _translated

SIGNATORY = Identity("ci@example.com", "https://idp.example")
ISSUER = x509.UnrecognizedExtension(x509.ObjectIdentifier("1.3.6.1.4.1.57264.1.1"), b"https://idp.example")


def certificate(*extensions: x509.ExtensionType) -> x509.Certificate:
    key, now = ec.generate_private_key(ec.SECP256R1()), datetime.now(UTC)
    builder = (
        x509.CertificateBuilder(x509.Name([]), x509.Name([]), key.public_key(), x509.random_serial_number())
        .not_valid_before(now)
        .not_valid_after(now + timedelta(minutes=10))
    )
    for extension in extensions:
        builder = builder.add_extension(extension, critical=False)
    return builder.sign(key, hashes.SHA256())


@pytest.mark.parametrize(
    ("extensions", "stranger"),
    [
        ([], "nobody (issuer unknown)"),
        ([ISSUER, x509.SubjectAlternativeName([x509.DNSName("x.example")])], "nobody (issuer https://idp.example)"),
        ([x509.SubjectAlternativeName([x509.RFC822Name("eve@x.example")])], "eve@x.example (issuer unknown)"),
        (
            [ISSUER, x509.SubjectAlternativeName([x509.UniformResourceIdentifier("https://x.example/eve")])],
            "https://x.example/eve (issuer https://idp.example)",
        ),
    ],
)
def test_a_stranger_is_described_by_what_the_certificate_tells(
    extensions: list[x509.ExtensionType], stranger: str
) -> None:
    wanted = _OneOf([SIGNATORY])
    with pytest.raises(SigstoreVerificationError):
        wanted.verify(certificate(*extensions))
    assert wanted.stranger == stranger


def test_what_expires_between_two_signatures_asks_for_a_fresh_token() -> None:
    ours = _translated(ExpiredIdentity(), SIGNATORY.identity)
    assert isinstance(ours, IdentityError)
    assert ours.message == "the identity of ci@example.com is not valid now: ExpiredIdentity"


def test_a_certificate_that_is_too_old_when_it_comes_is_a_matter_of_clocks() -> None:
    ours = _translated(ExpiredCertificate(), SIGNATORY.identity)
    assert isinstance(ours, IdentityError)
    assert "its clock and this machine's differ" in ours.message


def test_an_authority_s_answer_without_certificates_is_unavailable() -> None:
    ours = _translated(FulcioClientError("Fulcio response missing certificate chain"), SIGNATORY.identity)
    assert isinstance(ours, UnavailableError)
    assert ours.message == "the certificate authority answered nonsense: Fulcio response missing certificate chain"


def test_importing_the_room_imports_neither_sigstore_nor_cryptography() -> None:
    program = (
        "import sys\n"
        "import imagepipe.signing.claims, imagepipe.signing.identity, imagepipe.signing.keyless\n"
        "import imagepipe.signing.trust, imagepipe.signing.verifier\n"
        "print(*sorted({'sigstore', 'cryptography', 'requests'} & set(sys.modules)))\n"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=60, check=True)
    assert done.stdout.strip() == ""
