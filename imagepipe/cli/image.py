"""`imagepipe verify`, `digest`, `tree` and `sign`: one image and what is attached to it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

import typer

from imagepipe.cli.command import command
from imagepipe.cli.printing import clean
from imagepipe.cli.session import Session

if TYPE_CHECKING:
    from imagepipe.model.manifest import Index, Manifest
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
    """Prove that an image carries what a policy asks for."""
    from imagepipe.model.evidence import PROVENANCE_PREDICATE, SIGNATURE_PREDICATE

    wiring = session.wiring(session.settings())
    chosen = wiring.policy(policy)
    pinned = wiring.pin(image)
    kinds = [SIGNATURE_PREDICATE] + ([PROVENANCE_PREDICATE] if chosen.require_provenance else [])
    proofs = [wiring.reader.require(pinned, kind, chosen.signed_by) for kind in kinds]
    document = {
        "schema": "imagepipe.verify/v1",
        "image": str(pinned),
        "policy": chosen.name,
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
    for proof in proofs:
        session.say(f"ok {proof.verified.statement.predicate_type} by {proof.verified.signatory}")
    session.answer(document, str(pinned))


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
    """Show the index, manifest and image id digests, named apart."""
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
        lines.append(clean(f"manifest   {one['manifest']}  {one['platform']}"))
        lines.append(clean(f"image id   {one['image_id']}  {one['platform']}"))
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
    lines = [str(pinned)]
    for one in entries:
        what = one["predicate_type"] or one["artifact_type"]
        proof_text = f"verified, by {one['signed_by']['identity']}" if one["signed_by"] else "not verified"
        lines.append(clean(f"  {what}  {one['digest']}  {proof_text}"))
    session.answer({"schema": "imagepipe.tree/v1", "image": str(pinned), "attached": entries}, "\n".join(lines))


def _platforms(pinned: Pinned, manifest: Manifest | Index, wiring: Wiring) -> list[dict[str, str]]:
    from imagepipe.model.manifest import ImageConfig, Index

    if isinstance(manifest, Index):
        children = (pinned.repository.pin(child.digest) for child in manifest.manifests)
        return [entry for child in children for entry in _platforms(child, wiring.registry.manifest(child), wiring)]
    config = ImageConfig.parse(wiring.registry.blob(pinned.repository, manifest.config))
    return [{"platform": str(config.platform), "manifest": str(manifest.digest), "image_id": str(manifest.image_id)}]


def _signatory(signatory: Any) -> dict[str, str]:
    from imagepipe.model.evidence import Identity

    if isinstance(signatory, Identity):
        return {"identity": signatory.identity, "issuer": signatory.issuer}
    return {"identity": str(signatory), "issuer": ""}
