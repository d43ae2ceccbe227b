"""The gates: questions about an image that must all be answered with yes before a host is touched.

Every gate is asked, also after one said no, so that an operator sees everything at once.

>>> from imagepipe.promote.gates import evaluate
>>> evaluate.__name__
'evaluate'
"""

from collections.abc import Iterator, Sequence
from dataclasses import replace

from imagepipe.errors import RefusedError, SettingsError
from imagepipe.model.digest import Digest
from imagepipe.model.evidence import (
    PROVENANCE_PREDICATE,
    REJECTION_PREDICATE,
    SIGNATURE_PREDICATE,
    BuildSource,
    TrustPolicy,
)
from imagepipe.model.host import Target, TargetKind
from imagepipe.model.ledger import Hold
from imagepipe.model.manifest import ImageConfig, Index, Manifest
from imagepipe.model.promotion import GateVerdict, Terms
from imagepipe.model.reference import Pinned
from imagepipe.model.vch import vch_verdicts
from imagepipe.promote.approvals import approval_gate
from imagepipe.promote.ports import World
from imagepipe.promote.scanning import scan_gate
from imagepipe.promote.soaking import soak_gates

__all__ = ["evaluate", "hold_gate", "image_gates", "rejection_gate"]


def evaluate(
    image: Pinned,
    manifest: Manifest | Index,
    platform: Manifest,
    targets: Sequence[Target],
    world: World,
    terms: Terms,
) -> tuple[GateVerdict, ...]:
    """Returns the verdict of every gate that the targets ask for, each policy once.

    Raises:
        SettingsError: A target has no policy, or names one that is not configured.
        UnavailableError: The registry is away: that is not a verdict.
    """
    verdicts: list[GateVerdict] = []
    for policy in _policies(targets, world):
        verdicts.extend(_policy_gates(image, policy, world))
        verdicts.extend(_time_gates(image, policy, world, terms))
        verdicts.append(rejection_gate([image, image.repository.pin(platform.digest)], policy, world))
    if any(target.kind is TargetKind.VCH for target in targets):
        config = ImageConfig.parse(world.source.blob(image.repository, platform.config))
        verdicts.extend(vch_verdicts(manifest, platform, config))
    return tuple(verdicts)


def _policies(targets: Sequence[Target], world: World) -> list[TrustPolicy]:
    found: dict[str, TrustPolicy] = {}
    for target in targets:
        if target.policy is None:
            raise SettingsError(
                f"target {target.name} has no policy, so nothing may be promoted to it",
                hint=f'set policy = "…" in [targets.{target.name}] and say in [policies.…] whose signature counts',
            )
        if target.policy not in world.policies:
            raise SettingsError(
                f"target {target.name} names policy {target.policy!r}, which is not configured",
                hint=f"add [policies.{target.policy}] with signed_by",
            )
        found[target.policy] = world.policies[target.policy]
    return list(found.values())


def image_gates(image: Pinned, platform: Digest, policy: TrustPolicy, world: World) -> tuple[GateVerdict, ...]:
    """Returns what one policy asks of an image itself, wherever and whenever it is to go.

    Raises:
        UnavailableError: The registry is away: that is not a verdict.
    """
    return (
        *_policy_gates(image, policy, world),
        rejection_gate([image, image.repository.pin(platform)], policy, world),
    )


def _policy_gates(image: Pinned, policy: TrustPolicy, world: World) -> Iterator[GateVerdict]:
    yield _evidence_gate(f"signature ({policy.name})", image, SIGNATURE_PREDICATE, policy, world)
    if policy.provenance is not None:
        yield _source_gate(image, policy, policy.provenance, world)
    elif policy.require_provenance:
        yield _evidence_gate(f"provenance ({policy.name})", image, PROVENANCE_PREDICATE, policy, world)
    for predicate_type in policy.require:
        yield _evidence_gate(f"attestation {predicate_type} ({policy.name})", image, predicate_type, policy, world)
    if policy.max_severity is not None:
        yield scan_gate(image, policy, policy.max_severity, world)


def _time_gates(image: Pinned, policy: TrustPolicy, world: World, terms: Terms) -> Iterator[GateVerdict]:
    """Asks what a rollback is not made to wait for: at three in the morning there may be nobody to approve it."""
    if terms.way_back:
        return
    if policy.after is not None:
        yield from (replace(gate, waits=True) for gate in soak_gates(image, policy, policy.after, world))
    if policy.freezes:
        yield _freeze_gate(policy, world, terms)
    if policy.approvals is not None:
        yield approval_gate(image, policy, policy.approvals, terms.request, world)


def _freeze_gate(policy: TrustPolicy, world: World, terms: Terms) -> GateVerdict:
    now = world.clock.now()
    freeze = next((one for one in policy.freezes if one.since <= now < one.until), None)
    overridden = "overridden; " if freeze and terms.override_freeze else ""
    verdict = _verdict(
        f"freeze ({policy.name})",
        freeze is None or terms.override_freeze,
        f"{overridden}{freeze}" if freeze else f"not frozen at {now:%Y-%m-%dT%H:%M:%SZ}",
        "wait until it is over, or promote with --override-freeze and --reason",
    )
    return replace(verdict, waits=True)


def _evidence_gate(gate: str, image: Pinned, predicate: str, policy: TrustPolicy, world: World) -> GateVerdict:
    try:
        proof = world.reader.require(image, predicate, policy.signed_by)
    except RefusedError as error:
        return GateVerdict(gate, passed=False, reason=error.message, hint=error.hint)
    return GateVerdict(gate, passed=True, reason=f"by {proof.verified.signatory}")


def _source_gate(image: Pinned, policy: TrustPolicy, wanted: BuildSource, world: World) -> GateVerdict:
    """Returns yes when a proven provenance says that the image was built from there; one of several is enough."""
    gate = f"provenance ({policy.name})"
    proofs = world.reader.proofs(image, PROVENANCE_PREDICATE, policy.signed_by)
    if not proofs:
        return _evidence_gate(gate, image, PROVENANCE_PREDICATE, policy, world)
    told = {BuildSource.of(proof.verified.statement.predicate): proof.verified.signatory for proof in proofs}
    for built, signatory in told.items():
        if wanted.admits(built):
            return _verdict(gate, True, f"built from {built}, by {signatory}", "")
    return _verdict(
        gate,
        False,
        f"built from {' and from '.join(map(str, told))}, and not from {wanted}",
        "build it where the policy says, and promote that image",
    )


def rejection_gate(images: Sequence[Pinned], policy: TrustPolicy, world: World) -> GateVerdict:
    """Returns no for ever once one of the policy's signers rejected one of the images: an index, or its platform's."""
    for image in dict.fromkeys(images):
        for finding in world.reader.findings(image, policy.signed_by, (REJECTION_PREDICATE,)):
            if finding.proof is not None:
                said = finding.proof.verified
                told = said.statement.predicate
                return _verdict(
                    f"rejection ({policy.name})",
                    False,
                    f"rejected {told.get('rejectedOn', '')} by {said.signatory}: {told.get('reason', '')}",
                    "promote another image: a rejection is for ever",
                )
    return _verdict(f"rejection ({policy.name})", True, "nobody rejected it", "")


def hold_gate(target: Target, holds: Sequence[Hold], digests: Sequence[Digest], *, release: bool) -> GateVerdict:
    """Returns no for what this target was rolled back from, until somebody says that it may come back.

    Args:
        target: Where the image would go.
        holds: What is held there.
        digests: The image, and its platform's manifest.
        release: Whether somebody said so.
    """
    hold = next((one for one in holds if one.covers(*digests)), None)
    return _verdict(
        f"hold ({target.name})",
        hold is None or release,
        f"released; {hold}" if hold and release else str(hold) if hold else "not rolled back from here",
        "find out whether the reason still holds, then promote with --release-hold",
    )


def _verdict(gate: str, passed: bool, reason: str, hint: str) -> GateVerdict:
    return GateVerdict(gate, passed=passed, reason=reason, hint=None if passed else hint)
