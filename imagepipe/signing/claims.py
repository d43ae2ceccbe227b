"""What every verified envelope must say, whoever signed it: an in-toto statement of one type about one image.

>>> from imagepipe.model.evidence import SIGNATURE_PREDICATE, Statement
>>> from imagepipe.model.reference import Pinned
>>> image = Pinned.parse("vic.example/es-sandbox/hello@" + str(Digest.of(b"m")))
>>> signed = Envelope(IN_TOTO_PAYLOAD, Statement.about(image, SIGNATURE_PREDICATE, {}).payload)
>>> proven_statement(signed, image.digest, SIGNATURE_PREDICATE).predicate_type
'https://sigstore.dev/cosign/sign/v1'
"""

from dataclasses import dataclass, field
from datetime import datetime

from imagepipe.errors import VerificationError
from imagepipe.model.digest import Digest
from imagepipe.model.evidence import Signatory, Statement
from imagepipe.model.media import IN_TOTO_PAYLOAD

__all__ = ["Envelope", "Signed", "proven_statement"]


@dataclass(frozen=True, slots=True)
class Envelope:
    """What a signature covers: a type and the exact bytes.

    Source: DSSE protocol v1.0.2 "PAE"
    """

    payload_type: str
    payload: bytes = field(repr=False)

    def signed_bytes(self) -> bytes:
        """Returns the bytes that are signed: type and payload, each with its length."""
        kind = self.payload_type.encode()
        return b"DSSEv1 %d %s %d %s" % (len(kind), kind, len(self.payload), self.payload)


@dataclass(frozen=True, slots=True)
class Signed:
    """An envelope whose signature is proven, by whom, and when if a log or authority says so."""

    envelope: Envelope
    signatory: Signatory
    signed_at: datetime | None


def proven_statement(envelope: Envelope, digest: Digest, predicate_type: str) -> Statement:
    """Returns the statement in an envelope whose signature is proven, once it says what was asked for.

    Neither cosign 3 nor Harbor looks at the predicate type, so that any attestation passes there as a signature.

    Raises:
        VerificationError: It is no statement, about another image, or of another type.
    """
    if envelope.payload_type != IN_TOTO_PAYLOAD:
        raise VerificationError(
            f"the bundle carries payload type {envelope.payload_type[:120]!r}, not an in-toto statement"
        )
    statement = Statement.parse(envelope.payload)
    if not statement.speaks_of(digest):
        subjects = ", ".join(str(subject) for _, subject in statement.subjects[:3]) or "none"
        raise VerificationError(
            f"the bundle is about another image: {subjects}, not {digest}",
            hint="do not move signatures between images: sign this one",
        )
    if statement.predicate_type != predicate_type:
        raise VerificationError(
            f"the bundle carries predicate type {statement.predicate_type[:200]}, not {predicate_type}"
        )
    return statement
