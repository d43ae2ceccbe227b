"""A signer and a verifier in memory: the ports' behaviour without certificates, keys or a log.

A bundle is sealed by an HMAC whose key follows from the signatory: a changed bundle or another signer is found out.
"""

import base64
import hashlib
import hmac
import json
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any

from imagepipe.errors import ImagepipeError, VerificationError
from imagepipe.model.digest import Digest
from imagepipe.model.evidence import Bundle, Identity, Signatory, Statement, VerifiedStatement
from imagepipe.model.media import IN_TOTO_PAYLOAD

__all__ = ["MemorySigner", "MemoryVerifier"]

SIGNED_AT = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)


class MemorySigner:
    """Signs as one signatory and remembers what.

    Args:
        identity: Who signs: an identity, or a public key.
        signed_at: The time that the log would have written down.
        failure: Raised instead of answering, until it is set to None.
    """

    def __init__(
        self, identity: Signatory, *, signed_at: datetime = SIGNED_AT, failure: ImagepipeError | None = None
    ) -> None:
        self.identity = identity
        self.signed_at = signed_at
        self.failure = failure
        self.signed: list[Statement] = []
        self.prepared = 0

    def prepare(self) -> None:
        """Counts."""
        self.prepared += 1
        if self.failure is not None:
            raise self.failure

    def signatory(self) -> Signatory:
        """Returns who signs."""
        if self.failure is not None:
            raise self.failure
        return self.identity

    def sign(self, statements: Sequence[Statement]) -> tuple[Bundle, ...]:
        """Returns one sealed bundle per statement."""
        if self.failure is not None:
            raise self.failure
        self.signed.extend(statements)
        return tuple(self.seal(IN_TOTO_PAYLOAD, statement.payload) for statement in statements)

    def seal(self, payload_type: str, payload: bytes) -> Bundle:
        """Returns a bundle with any payload, also one that no statement is."""
        body = {
            "payloadType": payload_type,
            "payload": base64.b64encode(payload).decode(),
            "signatory": str(self.identity),
            "signedAt": self.signed_at.isoformat() if isinstance(self.identity, Identity) else None,
        }
        return Bundle(json.dumps(body | {"seal": _seal(self.identity, body)}).encode())


class MemoryVerifier:
    """Proves the bundles of any `MemorySigner`, and remembers which bundles it was shown."""

    def __init__(self) -> None:
        self.seen: list[Bundle] = []

    def verify(
        self, bundle: Bundle, digest: Digest, predicate_type: str, trusted: Sequence[Signatory]
    ) -> VerifiedStatement:
        """Returns the statement, or says why not."""
        self.seen.append(bundle)
        if not trusted:
            raise VerificationError("the policy trusts nobody")
        body = _opened(bundle)
        seal = str(body.pop("seal", ""))
        signatory = next((who for who in trusted if hmac.compare_digest(seal, _seal(who, body))), None)
        if signatory is None:
            raise VerificationError(f"the bundle is signed by {body.get('signatory')}, which the policy does not trust")
        if body["payloadType"] != IN_TOTO_PAYLOAD:
            raise VerificationError(f"the bundle carries payload type {body['payloadType']}")
        statement = Statement.parse(base64.b64decode(body["payload"]))
        if not statement.speaks_of(digest):
            about = ", ".join(str(subject) for _, subject in statement.subjects)
            raise VerificationError(f"the bundle is about another image: {about}")
        if statement.predicate_type != predicate_type:
            raise VerificationError(f"the bundle carries predicate type {statement.predicate_type}")
        signed_at = datetime.fromisoformat(body["signedAt"]) if body["signedAt"] else None
        return VerifiedStatement(statement, signatory, signed_at)


def _opened(bundle: Bundle) -> dict[str, Any]:
    try:
        return dict(json.loads(bundle.raw))
    except (ValueError, TypeError, RecursionError) as error:
        raise VerificationError(f"the bundle cannot be read: {error}") from error


def _seal(signatory: Signatory, body: dict[str, Any]) -> str:
    key = hashlib.sha256(f"{type(signatory).__name__} {signatory}".encode()).digest()
    return hmac.new(key, json.dumps(body, sort_keys=True).encode(), "sha256").hexdigest()
