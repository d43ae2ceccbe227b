"""Reads what is attached to an image and proves it: one good statement is enough, a broken registry is an error.

>>> from imagepipe.evidence.reader import EvidenceReader
>>> EvidenceReader.__name__
'EvidenceReader'
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

from imagepipe import fanout
from imagepipe.errors import ImagepipeError, NotFoundError, RefusedError, UnsupportedError, VerificationError
from imagepipe.evidence.remembering import RememberingReferrers, RememberingVerifier
from imagepipe.model import media
from imagepipe.model.digest import Digest
from imagepipe.model.evidence import Artifact, Bundle, Signatory, Statement, VerifiedStatement
from imagepipe.model.manifest import Descriptor
from imagepipe.model.reference import Pinned
from imagepipe.ports import Referrers, Verifier

__all__ = ["Attachment", "EvidenceReader", "Finding", "Proof"]

# A registry may be made to hold any number of referrers; past this many we refuse to look, never silently skip.
MAX_REFERRERS = 2000
# Each waits for a registry most of the time; many images are looked at side by side as well.
_JOBS = 4


@dataclass(frozen=True, slots=True)
class Attachment:
    """One artifact attached to an image; `predicate_type` is a hint from its annotations until it is verified."""

    descriptor: Descriptor
    artifact: Artifact

    @property
    def is_bundle(self) -> bool:
        """Whether its layer is a Sigstore bundle."""
        return self.artifact.layer_media_type.startswith(media.SIGSTORE_BUNDLE_PREFIX)

    @property
    def predicate_hint(self) -> str | None:
        """The predicate type that the annotations claim."""
        return self.artifact.annotations.get(media.BUNDLE_PREDICATE_ANNOTATION)


@dataclass(frozen=True, slots=True)
class Proof:
    """A proven statement and the attachment that carried it."""

    verified: VerifiedStatement
    attachment: Attachment


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing attached to an image, proven or with the reason why not.

    Attributes:
        descriptor: What the registry lists.
        kind: The predicate type that the list claims, or None.
        proof: What was proven, or None.
        refusal: Why it was not, or "".
        unread: Whether it could not even be read: who signed it is not known then.
    """

    descriptor: Descriptor
    kind: str | None
    proof: Proof | None
    refusal: str = ""
    unread: bool = False


class EvidenceReader:
    """Finds and proves statements about an image.

    Args:
        referrers: Where attachments are listed and fetched.
        verifier: What proves a bundle.
    """

    def __init__(self, *, referrers: Referrers, verifier: Verifier) -> None:
        self._referrers = referrers
        self._verifier = verifier

    def remembering(self) -> "EvidenceReader":
        """Returns a reader that asks everything once: for one look, during which nothing is attached."""
        return EvidenceReader(
            referrers=RememberingReferrers(self._referrers), verifier=RememberingVerifier(self._verifier)
        )

    def attachments(self, image: Pinned) -> tuple[Attachment, ...]:
        """Returns everything attached to the image that can be read; left out is what is malformed, or listed and gone.

        Where a list is kept at a tag, who deletes what is attached leaves its entry there.

        Raises:
            RefusedError: The image has more than `MAX_REFERRERS` attachments.
            UnavailableError: The registry is away: that is not the same as unsigned.
        """
        return tuple(self._readable(image))

    def proofs(self, image: Pinned, predicate_type: str, trusted: Sequence[Signatory]) -> tuple[Proof, ...]:
        """Returns every statement of that type about the image by one of the trusted; may be empty."""
        return tuple(self._sift(image, predicate_type, trusted, []))

    def first(
        self,
        image: Pinned,
        predicate_type: str,
        trusted: Sequence[Signatory],
        *,
        such: Callable[[Statement], bool] = lambda _: True,
    ) -> Proof | None:
        """Returns one such statement, or None; reads no further than the first that holds."""
        found = self._sift(image, predicate_type, trusted, [])
        return next((proof for proof in found if such(proof.verified.statement)), None)

    def require(self, image: Pinned, predicate_type: str, trusted: Sequence[Signatory]) -> Proof:
        """Returns one such statement.

        Raises:
            VerificationError: There is none; the message says what was found instead.
        """
        refusals: list[ImagepipeError] = []
        proof = next(self._sift(image, predicate_type, trusted, refusals), None)
        if proof is not None:
            return proof
        what = _NAMES.get(predicate_type, predicate_type)
        if not refusals:
            hint = _HEALS.get(predicate_type, "attach one that is signed by an identity that the policy trusts")
            raise VerificationError(f"{image} has no {what}", hint=hint)
        raise VerificationError(
            f"{image} has no {what} that the policy accepts: "
            + "; ".join(dict.fromkeys(refusal.message for refusal in refusals)),
            hint=_way_out(refusals),
        )

    def proof_of(
        self, image: Pinned, descriptor: Descriptor, predicate_type: str, trusted: Sequence[Signatory]
    ) -> Proof | None:
        """Returns the statement that a listed attachment carries, or None when the registry does not hold it.

        Raises:
            RefusedError: It proves nothing.
        """
        try:
            attachment = Attachment(descriptor, self._referrers.fetch(image, descriptor))
        except NotFoundError:
            return None
        return self._proof(image, attachment, predicate_type, trusted)

    def prove(self, image: Pinned, manifest: Digest, predicate_type: str, trusted: Sequence[Signatory]) -> Proof | None:
        """Returns the statement that this attachment carries, or None when the registry does not list or hold it.

        Raises:
            RefusedError: It is listed, and it proves nothing.
        """
        listed = next((one for one in self._listed(image) if one.digest == manifest), None)
        return self.proof_of(image, listed, predicate_type, trusted) if listed else None

    def opened(
        self, bundle: Bundle, image: Pinned, predicate_type: str, trusted: Sequence[Signatory]
    ) -> VerifiedStatement:
        """Returns the statement of a bundle that is attached to nothing yet.

        Raises:
            VerificationError: It is not about the image, of another type, or signed by nobody of the trusted.
        """
        return self._verifier.verify(bundle, image.digest, predicate_type, trusted)

    def findings(
        self, image: Pinned, trusted: Sequence[Signatory], kinds: Sequence[str] | None = None, *, since: str = ""
    ) -> tuple[Finding, ...]:
        """Returns what is attached to the image, in the registry's order, and what each came to; not what is gone.

        Args:
            image: The image.
            trusted: Whose statements count.
            kinds: The predicate types wanted; what the list calls otherwise is not read. The list tells what a
                manifest says of itself, and that stays as it was attached.
            since: What the list says was made before is not read; ISO 8601 in UTC, "" for everything.
        """
        listed = ((descriptor, _said(descriptor)) for descriptor in self._listed(image))
        wanted = [
            (descriptor, kind)
            for descriptor, kind in listed
            if (kinds is None or kind is None or kind in kinds)
            and descriptor.annotations.get(media.CREATED_ANNOTATION, since) >= since
        ]
        outcomes = fanout.each(wanted, lambda one: self._finding(image, *one, trusted), jobs=_JOBS)
        findings = (found for outcome in outcomes if (found := outcome.unwrap()) is not None)
        # Where a list tells no types, it turns out only now what something is.
        return tuple(one for one in findings if kinds is None or one.kind is None or one.kind in kinds)

    def _finding(
        self, image: Pinned, descriptor: Descriptor, kind: str | None, trusted: Sequence[Signatory]
    ) -> Finding | None:
        try:
            attachment = Attachment(descriptor, self._referrers.fetch(image, descriptor))
            claimed = kind or attachment.predicate_hint
            if not attachment.is_bundle or claimed is None:
                return Finding(descriptor, claimed, None, "it is no signed statement that says what it is")
            return Finding(descriptor, claimed, self._proof(image, attachment, claimed, trusted))
        except NotFoundError:
            return None  # as where a registry strikes from its list what is deleted
        except RefusedError as error:
            return Finding(descriptor, kind, None, error.message, unread=not isinstance(error, VerificationError))

    def _sift(
        self, image: Pinned, predicate_type: str, trusted: Sequence[Signatory], refusals: list[ImagepipeError]
    ) -> Iterator[Proof]:
        for attachment in self._readable(image, refusals, first=predicate_type):
            if not attachment.is_bundle:
                continue
            try:
                yield self._proof(image, attachment, predicate_type, trusted)
            except VerificationError as error:
                # A bundle that says it is of another kind is not a failed candidate, only another document.
                if attachment.predicate_hint in (None, predicate_type):
                    refusals.append(error)

    def _proof(self, image: Pinned, attachment: Attachment, predicate_type: str, trusted: Sequence[Signatory]) -> Proof:
        bundle = Bundle(attachment.artifact.content)
        return Proof(self._verifier.verify(bundle, image.digest, predicate_type, trusted), attachment)

    def _readable(
        self, image: Pinned, refusals: list[ImagepipeError] | None = None, *, first: str | None = None
    ) -> Iterator[Attachment]:
        """Yields what can be read, one by one; what the list calls of the predicate type `first` comes first.

        An image gathers a record with every promotion; the list's word decides only about the order.
        """
        listed = self._listed(image)
        for descriptor in listed if first is None else sorted(listed, key=lambda one: _rank(one, first)):
            try:
                yield Attachment(descriptor, self._referrers.fetch(image, descriptor))
            except (NotFoundError, RefusedError) as error:
                if refusals is not None:
                    refusals.append(error)

    def _listed(self, image: Pinned) -> tuple[Descriptor, ...]:
        descriptors = self._referrers.list(image)
        if len(descriptors) > MAX_REFERRERS:
            raise UnsupportedError(
                f"{image} has {len(descriptors)} attachments, more than the {MAX_REFERRERS} that are read",
                hint="delete the attachments that nobody needs",
            )
        return descriptors


def _way_out(refusals: Sequence[ImagepipeError]) -> str:
    """Returns the hint for an image that nothing vouches for: where what is there may not be read, that comes first."""
    withheld = (one for one in refusals if isinstance(one, RefusedError) and not isinstance(one, VerificationError))
    return next(
        (one.hint for one in withheld if one.hint),
        "sign it as an identity that the policy trusts, or ask who owns the policy",
    )


def _rank(descriptor: Descriptor, predicate_type: str) -> int:
    """Returns 0 for an attachment that its list entry calls of this type, 1 when that is silent, 2 for the others."""
    said = _said(descriptor)
    return 0 if said == predicate_type else 1 if said is None else 2


def _said(descriptor: Descriptor) -> str | None:
    """Returns the predicate type that the list claims."""
    return descriptor.annotations.get(media.BUNDLE_PREDICATE_ANNOTATION)


_NAMES = {
    "https://sigstore.dev/cosign/sign/v1": "signature",
    "https://slsa.dev/provenance/v1": "provenance",
    "https://imagepipe.dev/promotion/v1": "promotion record",
    "https://imagepipe.dev/rejection/v1": "rejection",
    "https://imagepipe.dev/approval/v1": "approval",
}
_HEALS = {
    "https://sigstore.dev/cosign/sign/v1": "sign it with `imagepipe sign` as an identity that the policy trusts",
    "https://slsa.dev/provenance/v1": "build it with `imagepipe run` as an identity that the policy trusts",
}
