"""What Rekor writes down: a proposed entry, checked and brought to its canonical bytes."""

import base64
import binascii
import hashlib
from collections.abc import Mapping
from typing import Any

import rfc8785
from cryptography import x509
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, utils

from imagepipe.sandbox.sigstore.wire import parse_json

_VERSION = "0.0.1"
_HASHES: Mapping[str, hashes.HashAlgorithm] = {
    "sha256": hashes.SHA256(),
    "sha384": hashes.SHA384(),
    "sha512": hashes.SHA512(),
}
_CERTIFICATE_MARK = b"-----BEGIN CERTIFICATE-----"


class EntryRefusedError(Exception):
    """A proposed entry that Rekor would not take."""


def canonical_body(proposed: object) -> bytes:
    """Returns the leaf that a proposed hashedrekord or dsse entry becomes, RFC 8785 JSON.

    The signatures are verified with the keys given, as Rekor does; certificates are not. The PEM bytes of a key are
    kept as they came, because sigstore-python compares them exactly.

    Raises:
        EntryRefusedError: the entry is of another kind, incomplete, or not signed by the key it names.
    """
    return _body(*_settled(proposed))


def check_insertable(proposed: Mapping[str, Any]) -> None:
    """Refuses a dsse entry that already has the fields which only the log computes.

    One may be searched for, but no signature could be verified for it. Source: Rekor pkg/types/dsse/v0.0.1/entry.go.

    Raises:
        EntryRefusedError: it is one.
    """
    if proposed.get("kind") == "dsse" and not _at(proposed, "spec").get("proposedContent"):
        raise EntryRefusedError("entry not insertable into log: missing proposed content")


def _settled(proposed: object) -> tuple[str, Mapping[str, Any]]:
    if not isinstance(proposed, dict):
        raise EntryRefusedError("proposed entry must be an object")
    kind, spec = proposed.get("kind"), proposed.get("spec")
    if proposed.get("apiVersion") != _VERSION or not isinstance(spec, dict):
        raise EntryRefusedError(f"{kind} implementation for version '{proposed.get('apiVersion')}' not found")
    if kind == "hashedrekord":
        return kind, _hashedrekord(spec)
    if kind == "dsse":
        return kind, _dsse(spec)
    raise EntryRefusedError(f"entry kind '{kind}' is not supported")


def _body(kind: str, spec: Mapping[str, Any]) -> bytes:
    return rfc8785.dumps({"apiVersion": _VERSION, "kind": kind, "spec": dict(spec)})


def hashedrekord_body(digest_hex: str, signature: bytes, public_pem: bytes, *, algorithm: str = "sha256") -> bytes:
    """Returns the leaf of a signature over a digest. Source: Rekor pkg/types/hashedrekord/v0.0.1/entry.go."""
    content, key = (base64.b64encode(part).decode() for part in (signature, public_pem))
    return _body(
        "hashedrekord",
        {
            "data": {"hash": {"algorithm": algorithm, "value": digest_hex}},
            "signature": {"content": content, "publicKey": {"content": key}},
        },
    )


def _hashedrekord(spec: Mapping[str, Any]) -> Mapping[str, Any]:
    digest, signature = _at(spec, "data", "hash"), _at(spec, "signature")
    algorithm, value = digest.get("algorithm"), digest.get("value")
    content, key = _text(signature, "content"), _text(_at(signature, "publicKey"), "content")
    hasher = _HASHES.get(str(algorithm))
    if hasher is None or not isinstance(value, str) or len(value) != hasher.digest_size * 2:
        raise EntryRefusedError("invalid value for hash")
    try:
        raw = bytes.fromhex(value)
    except ValueError as error:
        raise EntryRefusedError("invalid value for hash") from error
    _verify(_key(_b64(key)), _b64(content), raw, ec.ECDSA(utils.Prehashed(hasher)))
    return {
        "data": {"hash": {"algorithm": algorithm, "value": value}},
        "signature": {"content": content, "publicKey": {"content": key}},
    }


def _dsse(spec: Mapping[str, Any]) -> Mapping[str, Any]:
    """Source: Rekor pkg/types/dsse/v0.0.1/entry.go, Unmarshal and Canonicalize."""
    if spec.get("proposedContent") is None:
        settled = {name: spec.get(name) for name in ("envelopeHash", "payloadHash", "signatures")}
        if not all(settled.values()):
            raise EntryRefusedError(
                "either proposedContent or envelopeHash, payloadHash, and signatures must be present"
            )
        return settled
    proposed = _at(spec, "proposedContent")
    text, verifiers = _text(proposed, "envelope"), proposed.get("verifiers")
    try:
        envelope = parse_json(text)
    except ValueError as error:
        raise EntryRefusedError(f"the envelope is not JSON: {error}") from error
    given = envelope.get("signatures") if isinstance(envelope, dict) else None
    if not isinstance(given, list) or not given or not isinstance(verifiers, list):
        raise EntryRefusedError("DSSE envelope must contain 1 or more signatures")
    payload = _b64(_text(envelope, "payload"))
    pae = pre_authentication_encoding(_text(envelope, "payloadType"), payload)
    signatures = sorted(_text(signature, "sig") for signature in given)
    return {
        "envelopeHash": {"algorithm": "sha256", "value": hashlib.sha256(text.encode()).hexdigest()},
        "payloadHash": {"algorithm": "sha256", "value": hashlib.sha256(payload).hexdigest()},
        "signatures": [{"signature": each, "verifier": _verifier_of(each, verifiers, pae)} for each in signatures],
    }


def pre_authentication_encoding(payload_type: str, payload: bytes) -> bytes:
    """Returns the bytes a DSSE signature covers. Source: DSSE protocol, PAE."""
    kind = payload_type.encode()
    return b"DSSEv1 %d %s %d %s" % (len(kind), kind, len(payload), payload)


def _verifier_of(signature: str, verifiers: list[object], signed: bytes) -> str:
    for verifier in verifiers:
        if not isinstance(verifier, str):
            raise EntryRefusedError("an invalid verifier was provided in ProposedContent")
        try:
            _verify(_key(_b64(verifier)), _b64(signature), signed, ec.ECDSA(hashes.SHA256()))
        except EntryRefusedError:
            continue
        return verifier
    raise EntryRefusedError("could not verify envelope: no verifier accepts the signature")


def _verify(
    key: ec.EllipticCurvePublicKey, signature: bytes, signed: bytes, algorithm: ec.EllipticCurveSignatureAlgorithm
) -> None:
    try:
        key.verify(signature, signed, algorithm)
    except InvalidSignature as error:
        raise EntryRefusedError(
            "verifying signature: invalid signature when validating ASN.1 encoded signature"
        ) from error


def _key(pem: bytes) -> ec.EllipticCurvePublicKey:
    """Returns the ECDSA key of a PEM certificate or public key; the sandbox's clients use no other kind."""
    try:
        if _CERTIFICATE_MARK in pem:
            key: object = x509.load_pem_x509_certificate(pem).public_key()
        else:
            key = serialization.load_pem_public_key(pem)
    except ValueError as error:
        raise EntryRefusedError("invalid public key: failure decoding PEM") from error
    if not isinstance(key, ec.EllipticCurvePublicKey):
        raise EntryRefusedError("only ECDSA keys are supported")
    return key


def _at(document: object, *names: str) -> Mapping[str, Any]:
    """Returns the object inside document under names."""
    for name in names:
        document = document.get(name) if isinstance(document, dict) else None
    if not isinstance(document, dict):
        raise EntryRefusedError(f"missing {names[-1]}")
    return document


def _text(document: object, name: str) -> str:
    value = document.get(name) if isinstance(document, dict) else None
    if not isinstance(value, str) or not value:
        raise EntryRefusedError(f"missing {name}")
    return value


def _b64(text: str) -> bytes:
    try:
        return base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError) as error:
        raise EntryRefusedError("illegal base64 data") from error
