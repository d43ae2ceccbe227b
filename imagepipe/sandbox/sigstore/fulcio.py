"""Fulcio's HTTP face: a token and a key in, a certificate chain out."""

import base64
import binascii
from dataclasses import dataclass
from typing import Any

from cryptography import x509
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from imagepipe.sandbox.sigstore.ca import CertificateAuthority, PublicKey, pem
from imagepipe.sandbox.sigstore.identity import Identity, IdentityRefusedError
from imagepipe.sandbox.sigstore.oidc import IdentityProvider, TokenError
from imagepipe.sandbox.sigstore.wire import parse_json

_PEM_CHAIN = "application/pem-certificate-chain"

# gRPC codes and how grpc-gateway shows them. Source: grpc-gateway runtime/errors.go, HTTPStatusFromCode.
_INVALID_ARGUMENT = 3
_UNAUTHENTICATED = 16
_STATUS = {_INVALID_ARGUMENT: 400, _UNAUTHENTICATED: 401}

# Source: Fulcio v1.8.8 pkg/server/error.go. Only a bad token is answered as up to v1.1 (Unauthenticated, these words);
# since v1.2.0 it is InvalidArgument, "There was an error processing the identity token", like a malformed request.
_INVALID_CREDENTIALS = "There was an error processing the credentials for this request"
_INVALID_SIGNATURE = "The signature supplied in the request could not be verified"
_INVALID_PUBLIC_KEY = "The public key supplied in the request could not be parsed"
_INVALID_CSR = "The certificate signing request could not be parsed"


class FulcioRefusalError(Exception):
    """A refusal as grpc-gateway words it."""

    def __init__(self, code: int, message: str) -> None:
        super().__init__(message)
        self.code, self.message = code, message

    def to_response(self) -> Response:
        """Returns {"code", "message", "details"} with the status of the code."""
        body = {"code": self.code, "message": self.message, "details": []}
        return JSONResponse(body, status_code=_STATUS[self.code])


@dataclass(frozen=True, slots=True)
class Fulcio:
    """Binds keys to the identities that the provider vouches for."""

    authority: CertificateAuthority
    provider: IdentityProvider

    def routes(self) -> list[Route]:
        """Returns the routes of API v2, and of v1 for cosign 2."""
        return [
            Route("/api/v2/signingCert", self._sign_v2, methods=["POST"]),
            Route("/api/v2/trustBundle", self._trust_bundle),
            Route("/api/v1/signingCert", self._sign_v1, methods=["POST"]),
            Route("/api/v1/rootCert", self._root_certificates),
        ]

    async def _sign_v2(self, request: Request) -> Response:
        """Source: Fulcio v1.8.8 pkg/server/grpc_server.go, CreateSigningCertificate."""
        document = await _document(request)
        identity = self._identity(document, request)
        if csr := document.get("certificateSigningRequest"):
            public = _key_of_csr(_base64(csr, _INVALID_CSR))
        else:
            asked = _object(document, "publicKeyRequest")
            content = str(_object(asked, "publicKey").get("content", "")).encode()
            public = _proven_key(content, asked.get("proofOfPossession"), identity)
        chain = self.authority.issue(public, identity, self.provider.clock())
        return JSONResponse(
            {"signedCertificateEmbeddedSct": {"chain": {"certificates": [pem(each) for each in chain]}}}
        )

    async def _sign_v1(self, request: Request) -> Response:
        """Answers 201, and no SCT header as the SCT is embedded. Source: Fulcio v1.8.8 pkg/server/legacy_server.go."""
        document = await _document(request)
        identity = self._identity({}, request)
        if csr := document.get("certificateSigningRequest"):
            public = _key_of_csr(_base64(csr, _INVALID_CSR))
        else:
            content = _base64(_object(document, "publicKey").get("content"), _INVALID_PUBLIC_KEY)
            public = _proven_key(content, document.get("signedEmailAddress"), identity)
        chain = self.authority.issue(public, identity, self.provider.clock())
        return Response("".join(map(pem, chain)), status_code=201, media_type=_PEM_CHAIN)

    async def _trust_bundle(self, _: Request) -> Response:
        return JSONResponse({"chains": [{"certificates": [pem(each) for each in self.authority.chain]}]})

    async def _root_certificates(self, _: Request) -> Response:
        return Response("".join(map(pem, self.authority.chain)), media_type=_PEM_CHAIN)

    def _identity(self, document: dict[str, Any], request: Request) -> Identity:
        """Returns whom the token names; one in the body goes before the Authorization header."""
        scheme, _, bearer = request.headers.get("authorization", "").partition(" ")
        given = _object(document, "credentials").get("oidcIdentityToken")
        token = given or (bearer.strip() if scheme.lower() == "bearer" else "")
        try:
            return Identity.of(self.provider.claims(str(token)))
        except (TokenError, IdentityRefusedError) as error:
            raise FulcioRefusalError(_UNAUTHENTICATED, _INVALID_CREDENTIALS) from error


async def _document(request: Request) -> dict[str, Any]:
    try:
        document = parse_json(await request.body())
    except ValueError as error:
        raise FulcioRefusalError(_INVALID_ARGUMENT, f"the body is not JSON: {error}") from error
    if not isinstance(document, dict):
        raise FulcioRefusalError(_INVALID_ARGUMENT, "the body is not a JSON object")
    return document


def _object(document: dict[str, Any], name: str) -> dict[str, Any]:
    inner = document.get(name)
    return inner if isinstance(inner, dict) else {}


def _base64(text: object, refusal: str) -> bytes:
    try:
        return base64.b64decode(str(text), validate=True)
    except (binascii.Error, ValueError) as error:
        raise FulcioRefusalError(_INVALID_ARGUMENT, refusal) from error


def _ecdsa(key: object) -> PublicKey:
    if not isinstance(key, ec.EllipticCurvePublicKey):
        raise FulcioRefusalError(_INVALID_ARGUMENT, _INVALID_PUBLIC_KEY)
    return key


def _key_of_csr(content: bytes) -> PublicKey:
    """Returns the key of a PEM request; its subject is not looked at, the identity comes from the token alone."""
    try:
        csr = x509.load_pem_x509_csr(content)
        signed = csr.is_signature_valid
    except ValueError as error:
        raise FulcioRefusalError(_INVALID_ARGUMENT, _INVALID_CSR) from error
    if not signed:
        raise FulcioRefusalError(_INVALID_ARGUMENT, _INVALID_SIGNATURE)
    return _ecdsa(csr.public_key())


def _proven_key(content: bytes, proof: object, identity: Identity) -> PublicKey:
    """Returns the PEM key in content, which must have signed the identity's name."""
    try:
        public = _ecdsa(serialization.load_pem_public_key(content))
    except ValueError as error:
        raise FulcioRefusalError(_INVALID_ARGUMENT, _INVALID_PUBLIC_KEY) from error
    signature = _base64(proof, _INVALID_SIGNATURE)
    try:
        public.verify(signature, identity.proof.encode(), ec.ECDSA(hashes.SHA256()))
    except InvalidSignature as error:
        raise FulcioRefusalError(_INVALID_ARGUMENT, _INVALID_SIGNATURE) from error
    return public
