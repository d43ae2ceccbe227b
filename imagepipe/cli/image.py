"""`imagepipe verify`, `digest`, `tree` and `sign`: one image and what is attached to it."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Annotated, Any

import typer

from imagepipe.cli.command import command
from imagepipe.cli.printing import clean
from imagepipe.cli.session import Session
from imagepipe.errors import RefusedError, VerificationError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from imagepipe.evidence.reader import EvidenceReader, Proof
    from imagepipe.model.digest import Digest
    from imagepipe.model.evidence import TrustPolicy
    from imagepipe.model.manifest import Index, Manifest
    from imagepipe.model.promotion import GateVerdict
    from imagepipe.model.reference import Pinned
    from imagepipe.wiring import Wiring

__all__ = ["register"]

Image = Annotated[str, typer.Argument(help="host/project/name:tag or …@sha256:…", show_default=False)]


def register(app: typer.Typer) -> None:
    """Adds the commands of this module."""
    command(app, "sign")(sign)
    command(app, "verify")(verify)
    command(app, "digest")(digest)
    command(app, "tree")(tree)


def verify(
    session: Session,
    image: Image,
    policy: Annotated[str | None, typer.Option("--policy", help="A policy; default: the only one.")] = None,
) -> None:
    """Prove that an image carries what a policy asks for.

    Signature, provenance, further attestations, Harbor's scan, and that it is not rejected; not where it stood
    before, what is frozen, or who approved: that is asked when it is promoted.
    """
    from imagepipe.promote.gates import image_gates

    wiring = session.wiring(session.settings())
    chosen = wiring.policy(policy)
    pinned = wiring.pin(image)
    world = wiring.promotion_world(reads_only=True, policies=[chosen])
    world = replace(world, reader=world.reader.remembering())
    gates = image_gates(pinned, _for_hosts(wiring.registry.manifest(pinned)), chosen, world)
    _refuse_any(pinned, gates)
    proofs = _proofs(pinned, chosen, world.reader)
    document = {
        "schema": "imagepipe.verify/v1",
        "image": str(pinned),
        "policy": chosen.name,
        "gates": [gate.to_json() for gate in gates],
        "proofs": [
            {
                "predicate_type": proof.verified.statement.predicate_type,
                "signed_by": _signatory(proof.verified.signatory),
                "signed_at": proof.verified.signed_at.isoformat() if proof.verified.signed_at else None,
                "manifest": str(proof.attachment.descriptor.digest),
            }
            for proof in proofs
        ],
    }
    for gate in gates:
        session.say(f"ok {gate.gate}: {clean(gate.reason)}")
    session.answer(document, str(pinned))


def _for_hosts(manifest: Manifest | Index) -> Digest:
    """Returns the digest that hosts hold of an image; of an index for other platforms, its own."""
    from imagepipe.model.host import VCH_PLATFORM
    from imagepipe.model.manifest import Index, Platform

    child = manifest.for_platform(Platform.parse(VCH_PLATFORM)) if isinstance(manifest, Index) else None
    return child.digest if child else manifest.digest


def _refuse_any(image: Pinned, gates: Sequence[GateVerdict]) -> None:
    """Returns when every gate passed.

    Raises:
        VerificationError: One did not; the message holds each reason.
    """
    refused = [gate for gate in gates if not gate.passed]
    if refused:
        told = "; ".join(f"{gate.gate}: {gate.reason.removeprefix(f'{image} ')}" for gate in refused)
        raise VerificationError(f"verify {image}: refused: {told}", hint=refused[0].hint)


def _proofs(image: Pinned, policy: TrustPolicy, reader: EvidenceReader) -> list[Proof]:
    """Returns the statements that the policy asks for, once every gate has passed."""
    from imagepipe.model.evidence import PROVENANCE_PREDICATE, SIGNATURE_PREDICATE, BuildSource

    proofs = [reader.require(image, SIGNATURE_PREDICATE, policy.signed_by)]
    if (source := policy.provenance) is not None:
        told = reader.proofs(image, PROVENANCE_PREDICATE, policy.signed_by)
        proofs.append(next(one for one in told if source.admits(BuildSource.of(one.verified.statement.predicate))))
    elif policy.require_provenance:
        proofs.append(reader.require(image, PROVENANCE_PREDICATE, policy.signed_by))
    return proofs + [reader.require(image, kind, policy.signed_by) for kind in policy.require]


def sign(session: Session, image: Image) -> None:
    """Sign an image that is in the registry.

    Then proves that the signature is there.
    """
    from imagepipe.model.evidence import SIGNATURE_PREDICATE, Statement

    wiring = session.wiring(session.settings())
    pinned = wiring.pin(image)
    manifest = wiring.registry.manifest(pinned)
    statement = Statement.about(pinned, SIGNATURE_PREDICATE, {})
    (result,) = wiring.writer.ensure(pinned, manifest.descriptor, [statement])
    document = {
        "schema": "imagepipe.sign/v1",
        "image": str(pinned),
        "signed_by": _signatory(result.signatory),
        "manifest": str(result.manifest),
        "created": result.created,
    }
    session.say(f"{'signed' if result.created else 'already signed'} by {result.signatory}")
    session.answer(document, str(pinned))


def digest(session: Session, image: Image) -> None:
    """Show the index, manifest and image id digests, named apart.

    An artifact that is no image has a manifest only.
    """
    from imagepipe.model.manifest import Index

    wiring = session.wiring(session.settings())
    pinned = wiring.pin(image)
    manifest = wiring.registry.manifest(pinned)
    platforms = _platforms(pinned, manifest, wiring)
    index = str(manifest.digest) if isinstance(manifest, Index) else None
    document = {
        "schema": "imagepipe.digest/v1",
        "image": str(pinned),
        "index": index,
        "media_type": manifest.media_type,
        "platforms": platforms,
    }
    lines = [f"image      {pinned}"] + ([f"index      {index}"] if index else [])
    for one in platforms:
        what = one["platform"] or f"{one['artifact_type']}: no image"
        lines.append(clean(f"manifest   {one['manifest']}  {what}"))
        if one["image_id"]:
            lines.append(clean(f"image id   {one['image_id']}  {what}"))
    session.answer(document, "\n".join(lines))


def tree(session: Session, image: Image) -> None:
    """Show everything attached to an image.

    Also tells what of it a configured policy can prove.
    """
    from imagepipe.promote.history import attached

    wiring = session.wiring(session.settings())
    pinned = wiring.pin(image)
    trusted = wiring.all_signatories
    found = attached(pinned, trusted, wiring.all_approvers, wiring.reader) if trusted else ()
    proven = {one.descriptor.digest: _signatory(one.proof.verified.signatory) for one in found if one.proof}
    entries: list[dict[str, Any]] = []
    for attachment in wiring.reader.attachments(pinned):
        signer = proven.get(attachment.descriptor.digest)
        entries.append(
            {
                "digest": str(attachment.descriptor.digest),
                "artifact_type": attachment.artifact.artifact_type,
                "predicate_type": attachment.predicate_hint,
                "created": attachment.artifact.annotations.get("org.opencontainers.image.created"),
                "verified": signer is not None,
                "signed_by": signer,
            }
        )
    if not entries:
        wiring.registry.manifest(pinned)  # nothing is attached to what is not there either, and that is no answer
    lines = [str(pinned)]
    for one in entries:
        what = one["predicate_type"] or one["artifact_type"]
        proof_text = f"verified, by {one['signed_by']['identity']}" if one["signed_by"] else "not verified"
        lines.append(clean(f"  {what}  {one['digest']}  {proof_text}"))
    session.answer({"schema": "imagepipe.tree/v1", "image": str(pinned), "attached": entries}, "\n".join(lines))


def _platforms(pinned: Pinned, manifest: Manifest | Index, wiring: Wiring) -> list[dict[str, str | None]]:
    from imagepipe.model import media
    from imagepipe.model.manifest import ImageConfig, Index

    if isinstance(manifest, Index):
        children = (pinned.repository.pin(child.digest) for child in manifest.manifests)
        return [entry for child in children for entry in _platforms(child, wiring.registry.manifest(child), wiring)]
    if manifest.config.media_type not in media.IMAGE_CONFIGS:
        kind = manifest.artifact_type or manifest.config.media_type
        return [{"platform": None, "manifest": str(manifest.digest), "image_id": None, "artifact_type": kind}]
    try:
        config = ImageConfig.parse(wiring.registry.blob(pinned.repository, manifest.config))
    except RefusedError as error:
        raise error.doing(f"read the config of {pinned}") from error
    return [{"platform": str(config.platform), "manifest": str(manifest.digest), "image_id": str(manifest.image_id)}]


def _signatory(signatory: Any) -> dict[str, str]:
    from imagepipe.model.evidence import Identity

    if isinstance(signatory, Identity):
        return {"identity": signatory.identity, "issuer": signatory.issuer}
    return {"identity": str(signatory), "issuer": ""}
