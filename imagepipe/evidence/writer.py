"""Signs statements about an image and attaches them, once: what is already there by the same hand is kept.

>>> from imagepipe.evidence.writer import EvidenceWriter
>>> EvidenceWriter.__name__
'EvidenceWriter'
"""

from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any

from imagepipe.errors import VerificationError
from imagepipe.evidence.reader import EvidenceReader
from imagepipe.model.digest import Digest
from imagepipe.model.evidence import Bundle, Signatory, Statement
from imagepipe.model.manifest import Descriptor
from imagepipe.model.reference import Pinned
from imagepipe.model.result import EvidenceResult
from imagepipe.ports import Clock, Referrers, Signer

__all__ = ["EvidenceWriter"]


class EvidenceWriter:
    """Signs, attaches, and proves what the registry then returns.

    Args:
        signer: Who signs.
        referrers: Where bundles are attached.
        reader: What proves them again after they were attached.
        clock: The time written into the attachment's annotations.
    """

    def __init__(self, *, signer: Signer, referrers: Referrers, reader: EvidenceReader, clock: Clock) -> None:
        self._signer = signer
        self._referrers = referrers
        self._reader = reader
        self._clock = clock

    def signatory(self) -> Signatory:
        """Returns who would sign.

        Raises:
            IdentityError: No identity can be had, or it has expired: better told before anything is changed.
        """
        return self._signer.signatory()

    def prepare(self) -> None:
        """Does beforehand what takes time before a signature; nobody has to ask for it.

        Raises:
            IdentityError, UnavailableError: As signing would say now.
        """
        self._signer.prepare()

    def seal(self, statement: Statement) -> Bundle:
        """Returns a statement signed by us, attached to nothing yet.

        Raises:
            IdentityError: No identity can be had, or it has expired.
            UnavailableError: The certificate authority or the log is away.
        """
        (bundle,) = self._signer.sign([statement])
        return bundle

    def ensure(self, image: Pinned, subject: Descriptor, statements: Sequence[Statement]) -> tuple[EvidenceResult, ...]:
        """Makes sure that the image carries one statement of each type by our signatory.

        What tells of a build that was asked for otherwise is another statement: the same commit may be built on a
        branch, and once it is merged again, and a policy may ask for the second.

        Returns:
            One result per statement, in order; each was read back from the registry and proven.
        """
        signatory = self._signer.signatory()
        found = {
            statement.predicate_type: proof.attachment.descriptor
            for statement in statements
            if (
                proof := self._reader.first(
                    image, statement.predicate_type, (signatory,), such=partial(_tells_the_same, statement)
                )
            )
        }
        kept = {kind: descriptor.digest for kind, descriptor in found.items()}
        missing = [statement for statement in statements if statement.predicate_type not in kept]
        if kept and not missing:
            # Found by us is not yet found by every tool, for whose sake the image may be signed.
            self._referrers.relist(image, list(found.values()))
        made = {
            statement.predicate_type: self._proven(image, statement.predicate_type, signatory, descriptor)
            for statement, descriptor in zip(missing, self._attach(image, subject, missing), strict=True)
        }
        return tuple(
            EvidenceResult(kind, (kept | made)[kind], signatory, created=kind in made)
            for kind in (statement.predicate_type for statement in statements)
        )

    def add(self, image: Pinned, subject: Descriptor, statement: Statement) -> EvidenceResult:
        """Attaches one more statement, whatever is there already, and proves it.

        Raises:
            VerificationError: The registry does not return what was attached.
        """
        signatory, kind = self._signer.signatory(), statement.predicate_type
        (descriptor,) = self._attach(image, subject, [statement])
        return EvidenceResult(kind, self._proven(image, kind, signatory, descriptor), signatory, created=True)

    def _proven(self, image: Pinned, kind: str, signatory: Signatory, attached: Descriptor) -> Digest:
        if self._reader.proof_of(image, attached, kind, (signatory,)) is None:
            raise VerificationError(
                f"{image}: the registry does not return the evidence {attached.digest} that was just attached",
                hint="check that the registry keeps OCI artifacts and that nothing deletes untagged manifests",
            )
        return attached.digest

    def _attach(self, image: Pinned, subject: Descriptor, statements: Sequence[Statement]) -> list[Descriptor]:
        if not statements:
            return []
        bundles = self._signer.sign(statements)
        return [
            self._referrers.attach(image, subject, bundle.as_artifact(statement.predicate_type, self._clock.now()))
            for statement, bundle in zip(statements, bundles, strict=True)
        ]


def _tells_the_same(statement: Statement, found: Statement) -> bool:
    return bool(_asked(found.predicate) == _asked(statement.predicate))


def _asked(predicate: Mapping[str, Any]) -> Any:
    """Returns what a build was asked for; None in what tells of none. Source: SLSA v1.0 externalParameters."""
    definition = predicate.get("buildDefinition")
    return definition.get("externalParameters") if isinstance(definition, Mapping) else None
