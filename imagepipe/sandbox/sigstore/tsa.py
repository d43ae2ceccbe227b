"""The timestamp authority of RFC 3161, as far as Sigstore's clients use it."""

import hashlib
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Self

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.x509.oid import ExtendedKeyUsageOID
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from imagepipe.sandbox.sigstore import der
from imagepipe.sandbox.sigstore.ca import ca_builder, key_usage, pem, self_signed
from imagepipe.sandbox.sigstore.keys import SigningKey, write_atomically
from imagepipe.sandbox.sigstore.oidc import Clock

_SIGNED_DATA = der.oid("1.2.840.113549.1.7.2")  # Source: RFC 5652 section 5.1
_TST_INFO = der.oid("1.2.840.113549.1.9.16.1.4")  # Source: RFC 3161 section 2.4.2
_CONTENT_TYPE = der.oid("1.2.840.113549.1.9.3")  # Source: RFC 5652 section 11
_MESSAGE_DIGEST = der.oid("1.2.840.113549.1.9.4")
_SIGNING_TIME = der.oid("1.2.840.113549.1.9.5")
_SIGNING_CERTIFICATE_V2 = der.oid("1.2.840.113549.1.9.16.2.47")  # Source: RFC 5035 section 3
_POLICY = der.oid("1.3.6.1.4.1.57264.2")  # Source: Fulcio docs/oid-info.md, Policy OID for Sigstore Timestamp Authority
_SHA256 = der.encode(der.SEQUENCE, der.oid("2.16.840.1.101.3.4.2.1"))
_ECDSA_SHA256 = der.encode(der.SEQUENCE, der.oid("1.2.840.10045.4.3.2"))  # Source: RFC 5758 section 3.2
_SERIAL_BITS = 64


@dataclass(frozen=True, slots=True)
class TimestampRequest:
    """What a client wants stamped. `imprint` and `nonce` are whole DER elements, echoed as they came."""

    imprint: bytes
    nonce: bytes
    wants_certificate: bool

    @classmethod
    def parse(cls, content: bytes) -> Self:
        """Returns the request in DER bytes. Source: RFC 3161 section 2.4.1, TimeStampReq.

        Raises:
            DerError: the bytes are not a request.
        """
        whole = list(der.elements(content))
        fields = list(der.elements(whole[0][1])) if whole and whole[0][0] == der.SEQUENCE else []
        if [tag for tag, _, _ in fields[:2]] != [der.INTEGER, der.SEQUENCE]:
            raise der.DerError("not a TimeStampReq")
        nonce = next((raw for tag, _, raw in fields[2:] if tag == der.INTEGER), b"")
        wanted = any(tag == der.BOOLEAN and value != b"\x00" for tag, value, _ in fields[2:])
        return cls(fields[1][2], nonce, wanted)


@dataclass(frozen=True, slots=True)
class TimestampAuthority:
    """Stamps with a leaf under a root of its own; the chain is [leaf, root]."""

    key: SigningKey
    chain: tuple[x509.Certificate, x509.Certificate]
    clock: Clock

    @classmethod
    def load_or_create(cls, folder: Path, clock: Clock) -> Self:
        """Returns the authority whose keys and chain are kept in folder."""
        root_key, key = (SigningKey.load_or_create(folder / f"tsa-{name}.pem") for name in ("root", "leaf"))
        kept = folder / "tsa-chain.pem"
        if not kept.exists():
            made = (_leaf(key, root_key), self_signed("imagepipe sandbox tsa root", root_key))
            write_atomically(kept, "".join(map(pem, made)).encode())
        leaf, root = x509.load_pem_x509_certificates(kept.read_bytes())
        return cls(key, (leaf, root), clock)

    def routes(self) -> list[Route]:
        """Returns the routes. Source: sigstore timestamp-authority openapi.yaml."""
        return [
            Route("/api/v1/timestamp", self._stamp, methods=["POST"]),
            Route("/api/v1/timestamp/certchain", self._certificates),
        ]

    async def _stamp(self, request: Request) -> Response:
        try:
            wanted = TimestampRequest.parse(await request.body())
        except der.DerError as error:
            return JSONResponse({"code": 400, "message": str(error)}, status_code=400)
        return Response(self.answer(wanted), status_code=201, media_type="application/timestamp-reply")

    async def _certificates(self, _: Request) -> Response:
        return Response("".join(map(pem, self.chain)), media_type="application/pem-certificate-chain")

    def answer(self, request: TimestampRequest) -> bytes:
        """Returns a granted TimeStampResp over the request's imprint, DER."""
        now = datetime.fromtimestamp(int(self.clock()), UTC)
        time = der.encode(der.GENERALIZED_TIME, now.strftime("%Y%m%d%H%M%SZ").encode())
        serial = der.integer(x509.random_serial_number() >> _SERIAL_BITS)
        info = der.encode(der.SEQUENCE, der.integer(1), _POLICY, request.imprint, serial, time, request.nonce)
        certificates = b""
        if request.wants_certificate:
            certificates = der.encode(der.CONTEXT_0, self.chain[0].public_bytes(serialization.Encoding.DER))
        signed_data = der.encode(
            der.SEQUENCE,
            der.integer(3),
            der.encode(der.SET, _SHA256),
            der.encode(der.SEQUENCE, _TST_INFO, der.encode(der.CONTEXT_0, der.encode(der.OCTET_STRING, info))),
            certificates,
            der.encode(der.SET, self._signer_info(info, time)),
        )
        token = der.encode(der.SEQUENCE, _SIGNED_DATA, der.encode(der.CONTEXT_0, signed_data))
        granted = der.encode(der.SEQUENCE, der.integer(0))
        return der.encode(der.SEQUENCE, granted, token)

    def _signer_info(self, info: bytes, time: bytes) -> bytes:
        """Source: RFC 5652 section 5.3; the signature covers the attributes as a DER SET OF, sorted."""
        leaf = self.chain[0]
        digest = der.encode(der.OCTET_STRING, hashlib.sha256(info).digest())
        leaf_hash = der.encode(der.OCTET_STRING, leaf.fingerprint(hashes.SHA256()))
        certificate_ids = der.encode(der.SEQUENCE, der.encode(der.SEQUENCE, leaf_hash))
        attributes = sorted(
            (
                _attribute(_CONTENT_TYPE, _TST_INFO),
                _attribute(_MESSAGE_DIGEST, digest),
                _attribute(_SIGNING_TIME, time),
                _attribute(_SIGNING_CERTIFICATE_V2, der.encode(der.SEQUENCE, certificate_ids)),
            )
        )
        signature = self.key.sign(der.encode(der.SET, *attributes))
        return der.encode(
            der.SEQUENCE,
            der.integer(1),
            der.encode(der.SEQUENCE, leaf.issuer.public_bytes(), der.integer(leaf.serial_number)),
            _SHA256,
            der.encode(der.CONTEXT_0, *attributes),
            _ECDSA_SHA256,
            der.encode(der.OCTET_STRING, signature),
        )


def _attribute(kind: bytes, value: bytes) -> bytes:
    return der.encode(der.SEQUENCE, kind, der.encode(der.SET, value))


def _leaf(key: SigningKey, root: SigningKey) -> x509.Certificate:
    builder = ca_builder("imagepipe sandbox tsa", key.public, "imagepipe sandbox tsa root", root.public)
    builder = builder.add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
    builder = builder.add_extension(key_usage(ca=False), critical=True)
    # Critical. Source: RFC 3161 section 2.3.
    usage = x509.ExtendedKeyUsage([ExtendedKeyUsageOID.TIME_STAMPING])
    return builder.add_extension(usage, critical=True).sign(root.private, hashes.SHA256())
