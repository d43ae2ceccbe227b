"""The CT log's promise, made over the precertificate and embedded in the certificate."""

import hashlib
import struct

from cryptography import x509

from imagepipe.sandbox.sigstore import der
from imagepipe.sandbox.sigstore.keys import SigningKey

SCT_LIST_OID = x509.ObjectIdentifier("1.3.6.1.4.1.11129.2.4.2")
"""Source: RFC 6962 section 3.3."""

_V1 = 0
_CERTIFICATE_TIMESTAMP = 0
_PRECERT_ENTRY = 1
_SHA256_ECDSA = b"\x04\x03"  # Source: RFC 5246 section 7.4.1.4.1, hash sha256(4), signature ecdsa(3)


def sct_extension(tbs: bytes, issuer_spki: bytes, log: SigningKey, timestamp_ms: int) -> x509.UnrecognizedExtension:
    """Returns the extension that holds exactly one SCT, to be appended last to the certificate.

    The precertificate of RFC 6962 section 3.2 is the final certificate without this extension. When the extension is
    appended last, and serial, dates and the other extensions are equal, that is what a signed draft without it holds.

    Args:
        tbs: TBSCertificate of that draft, DER.
        issuer_spki: public key of the issuing intermediate, DER.
        log: the CT log's key.
        timestamp_ms: milliseconds since the epoch.
    """
    signed = b"".join(
        (
            struct.pack("!BBQH", _V1, _CERTIFICATE_TIMESTAMP, timestamp_ms, _PRECERT_ENTRY),
            hashlib.sha256(issuer_spki).digest(),
            len(tbs).to_bytes(3, "big") + tbs,
            b"\x00\x00",  # no CtExtensions
        )
    )
    signature = log.sign(signed)
    sct = b"".join(
        (
            struct.pack("!B32sQH", _V1, log.log_id, timestamp_ms, 0),
            _SHA256_ECDSA + struct.pack("!H", len(signature)) + signature,
        )
    )
    entry = struct.pack("!H", len(sct)) + sct
    sct_list = struct.pack("!H", len(entry)) + entry
    return x509.UnrecognizedExtension(SCT_LIST_OID, der.encode(der.OCTET_STRING, sct_list))
