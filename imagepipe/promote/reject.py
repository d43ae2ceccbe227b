"""Rejects an image for ever: a signed statement that a gate of every later promotion finds.

>>> from imagepipe.promote.reject import reject
>>> reject.__name__
'reject'
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from imagepipe.errors import IdentityError, InputError
from imagepipe.events import step
from imagepipe.model.digest import Digest
from imagepipe.model.evidence import REJECTION_PREDICATE, Signatory, Statement
from imagepipe.model.ledger import Previous
from imagepipe.model.reference import Pinned, Reference
from imagepipe.promote.names import other_names
from imagepipe.promote.ports import World
from imagepipe.promote.rejections import Rank, enlist, next_rank
from imagepipe.subject import find_subject

__all__ = ["Rejection", "reject"]


@dataclass(frozen=True, slots=True)
class Rejection:
    """What was rejected, by whom, and where that is written.

    Attributes:
        image: What was named.
        signatory: Who said it.
        records: The statement's manifest by the image that it is at: of an index, also at its platform's image.
        elsewhere: What else the image is called; under these names it is not rejected by this.
    """

    image: Pinned
    signatory: Signatory
    records: tuple[tuple[Pinned, Digest], ...]
    elsewhere: tuple[Pinned, ...] = ()


def reject(reference: Reference, reason: str, world: World) -> Rejection:
    """Attaches a signed rejection to the image, and to the platform that hosts would hold of an index.

    One that says the same is kept, and given its tags where we were stopped before it had them.

    Raises:
        InputError: There is no reason.
        IdentityError: No policy trusts who would sign it, so it would stop nothing.
        NotFoundError: There is no such image.
    """
    if not reason.strip():
        raise InputError("a rejection without a reason", hint="say why with --reason: it stands there for ever")
    signatory = world.writer.signatory()
    if not any(signatory in policy.signed_by for policy in world.policies.values()):
        raise IdentityError(
            f"no policy trusts {signatory}, so its rejection would stop nothing",
            hint="reject as somebody whom a policy's signed_by names",
        )
    subject = find_subject(reference, world.source)
    now = world.clock.now().strftime("%Y-%m-%dT%H:%M:%SZ")
    manifests = dict.fromkeys((subject.manifest.descriptor, subject.platform.descriptor))
    repository, records = subject.image.repository, list[tuple[Pinned, Digest]]()
    rank = next_rank(repository, world, signatory)
    for descriptor in manifests:
        image = repository.pin(descriptor.digest)
        said = {"version": 1, "image": str(subject.image), "reason": reason}
        record = _existing(image, said, signatory, world)
        if record is not None:
            enlist(repository, record, world, newest=not rank.after)
        else:
            statement = Statement.about(image, REJECTION_PREDICATE, said | {"rejectedOn": now} | rank.to_json())
            with step(world.events, "reject", str(image)):
                record = world.writer.add(image, descriptor, statement).manifest
            enlist(repository, record, world, newest=True)
            rank = Rank(rank.sequence + 1, (Previous(record, image.digest),))
        records.append((image, record))
    trusted = [who for policy in world.policies.values() for who in policy.signed_by]
    return Rejection(subject.image, signatory, tuple(records), other_names(subject.image, trusted, world))


def _existing(image: Pinned, said: Mapping[str, Any], signatory: Signatory, world: World) -> Digest | None:
    """Returns our rejection of the image that says the same and has a place, or None."""
    for finding in world.reader.findings(image, (signatory,), (REJECTION_PREDICATE,)):
        told = finding.proof.verified.statement.predicate if finding.proof else {}
        if told.get("sequence") and {key: told.get(key) for key in said} == said:
            return finding.descriptor.digest
    return None
