from dataclasses import replace
from datetime import UTC, datetime

import pytest

from imagepipe.errors import (
    IdentityError,
    NotFoundError,
    RefusedError,
    UnavailableError,
    UnsupportedError,
    VerificationError,
)
from imagepipe.evidence import reader as reader_module
from imagepipe.model.digest import Digest
from imagepipe.model.evidence import (
    PROMOTION_PREDICATE,
    PROVENANCE_PREDICATE,
    REJECTION_PREDICATE,
    SIGNATURE_PREDICATE,
    Artifact,
    Statement,
)
from imagepipe.model.manifest import Descriptor
from imagepipe.model.reference import Pinned, Reference
from imagepipe.promote.gates import rejection_gate
from tests.contract.registry_memory import MemoryRegistry
from tests.unit.promote.world import CI, REPOSITORY, STRANGER, Small

BARE = Reference.parse(REPOSITORY).repository


def statements(image: Pinned) -> list[Statement]:
    return [Statement.about(image, kind, {}) for kind in (SIGNATURE_PREDICATE, PROVENANCE_PREDICATE)]


def test_what_is_attached_is_proven_from_what_the_registry_returns() -> None:
    small = Small()
    manifest = small.registry.add_image(REPOSITORY)
    image = BARE.pin(manifest.digest)
    results = small.world().writer.ensure(image, manifest.descriptor, statements(image))
    assert [one.created for one in results] == [True, True]
    assert {one.digest for one in small.registry.list(image)} == {one.manifest for one in results}


def test_running_again_attaches_only_what_is_missing() -> None:
    small = Small()
    manifest = small.registry.add_image(REPOSITORY)
    image = small.sign(manifest)
    results = small.world().writer.ensure(image, manifest.descriptor, statements(image))
    assert [one.created for one in results] == [False, True]
    again = small.world().writer.ensure(image, manifest.descriptor, statements(image))
    assert [one.created for one in again] == [False, False]
    assert len(small.registry.list(image)) == 2
    assert small.registry.calls.count("relist") == 1  # nothing was attached, which would have done it


def test_a_build_that_was_asked_for_otherwise_is_another_provenance() -> None:
    small = Small()
    manifest = small.registry.add_image(REPOSITORY)
    image = BARE.pin(manifest.digest)

    def built_on(branch: str, run: int) -> bool:
        asked = {"externalParameters": {"source": {"branch": branch}}}
        predicate = {"buildDefinition": asked, "runDetails": {"metadata": {"invocationId": run}}}
        statement = Statement.about(image, PROVENANCE_PREDICATE, predicate)
        return small.world().writer.ensure(image, manifest.descriptor, [statement])[0].created

    assert [built_on(*one) for one in (("feature", 1), ("feature", 2), ("main", 3), ("main", 4), ("feature", 5))] == [
        True,
        False,
        True,
        False,
        False,
    ]


def test_a_strangers_signature_does_not_spare_ours() -> None:
    small = Small()
    manifest = small.registry.add_image(REPOSITORY)
    image = small.sign(manifest, STRANGER)
    (result, _) = small.world().writer.ensure(image, manifest.descriptor, statements(image))
    assert result.created
    assert result.signatory == CI


def test_an_expired_identity_attaches_nothing() -> None:
    small = Small()
    manifest = small.registry.add_image(REPOSITORY)
    small.signer.failure = IdentityError("expired")
    with pytest.raises(IdentityError):
        small.world().writer.ensure(BARE.pin(manifest.digest), manifest.descriptor, [])
    assert small.registry.list(BARE.pin(manifest.digest)) == ()


class ForgetfulRegistry(MemoryRegistry):
    """Takes attachments, lists them, and holds them no more."""

    def fetch(self, image: Pinned, descriptor: Descriptor) -> Artifact:
        raise NotFoundError(f"read {descriptor.digest}: manifest unknown")


def test_a_registry_that_forgets_attachments_is_found_out() -> None:
    small = Small(registry=ForgetfulRegistry())
    manifest = small.registry.add_image(REPOSITORY)
    image = BARE.pin(manifest.digest)
    with pytest.raises(VerificationError, match="does not return"):
        small.world().writer.ensure(image, manifest.descriptor, statements(image))


def test_one_broken_attachment_does_not_hide_a_good_one() -> None:
    small = Small()
    manifest = small.registry.add_image(REPOSITORY)
    image = small.sign(manifest, STRANGER)
    (broken,) = small.registry.list(image)
    small.registry.corrupt(broken.digest)
    small.sign(manifest, CI)
    assert small.world().reader.require(image, SIGNATURE_PREDICATE, (CI,)).verified.signatory == CI


def test_an_unsigned_image_and_a_badly_signed_one_are_told_apart() -> None:
    small = Small()
    manifest = small.registry.add_image(REPOSITORY)
    image = BARE.pin(manifest.digest)
    with pytest.raises(VerificationError, match=r"has no signature$"):
        small.world().reader.require(image, SIGNATURE_PREDICATE, (CI,))
    small.sign(manifest, STRANGER)
    with pytest.raises(VerificationError, match=r"that the policy accepts: .*eve@example.com"):
        small.world().reader.require(image, SIGNATURE_PREDICATE, (CI,))


class WithholdingRegistry(MemoryRegistry):
    """Lists attachments, and lets nobody read them."""

    def fetch(self, image: Pinned, descriptor: Descriptor) -> Artifact:
        raise RefusedError(f"read {descriptor.digest}: a policy forbids it", hint="end the policy")


def test_evidence_that_may_not_be_read_is_told_with_the_way_to_read_it() -> None:
    small = Small(registry=WithholdingRegistry())
    image = small.sign(small.registry.add_image(REPOSITORY))
    with pytest.raises(VerificationError, match=r"that the policy accepts: .* a policy forbids it") as refused:
        small.world().reader.require(image, SIGNATURE_PREDICATE, (CI,))
    assert refused.value.hint == "end the policy"


class StaleRegistry(MemoryRegistry):
    """Lists what was deleted as well, as a list at a tag does."""

    gone: Digest | None = None

    def fetch(self, image: Pinned, descriptor: Descriptor) -> Artifact:
        if descriptor.digest == self.gone:
            raise NotFoundError(f"read {descriptor.digest}: MANIFEST_UNKNOWN")
        return super().fetch(image, descriptor)


def test_what_was_deleted_and_is_still_listed_takes_nothing_away_from_the_rest() -> None:
    registry = StaleRegistry()
    small = Small(registry=registry)
    manifest = registry.add_image(REPOSITORY)
    image = small.sign(manifest, STRANGER)
    (deleted,) = registry.list(image)
    registry.gone = deleted.digest
    reader = small.world().reader
    with pytest.raises(VerificationError, match=r"that the policy accepts: .*MANIFEST_UNKNOWN") as refused:
        reader.require(image, SIGNATURE_PREDICATE, (CI,))
    assert "sign it" in str(refused.value.hint)
    small.sign(manifest, CI)
    assert reader.require(image, SIGNATURE_PREDICATE, (CI,)).verified.signatory == CI
    assert len(reader.attachments(image)) == 1
    assert reader.prove(image, deleted.digest, SIGNATURE_PREDICATE, (STRANGER,)) is None
    (told,) = reader.findings(image, (CI, STRANGER))
    assert told.proof is not None
    assert told.proof.verified.signatory == CI


def test_a_registry_that_is_away_is_not_an_unsigned_image() -> None:
    small = Small()
    image = small.sign(small.registry.add_image(REPOSITORY))
    small.registry.failure = UnavailableError("503")
    with pytest.raises(UnavailableError):
        small.world().reader.require(image, SIGNATURE_PREDICATE, (CI,))


def test_provenance_is_no_signature() -> None:
    small = Small()
    manifest = small.registry.add_image(REPOSITORY)
    image = small.sign(manifest, CI, PROVENANCE_PREDICATE)
    with pytest.raises(VerificationError, match=r"has no signature$"):
        small.world().reader.require(image, SIGNATURE_PREDICATE, (CI,))


def test_other_artifacts_are_listed_but_prove_nothing() -> None:
    small = Small()
    manifest = small.registry.add_image(REPOSITORY)
    image = BARE.pin(manifest.digest)
    small.registry.attach(image, manifest.descriptor, Artifact("application/spdx+json", "application/spdx+json", b"{}"))
    (attachment,) = small.world().reader.attachments(image)
    assert not attachment.is_bundle
    assert attachment.predicate_hint is None
    assert small.world().reader.proofs(image, SIGNATURE_PREDICATE, (CI,)) == ()


class CrowdedRegistry(MemoryRegistry):
    """Lists more attachments than anybody would read."""

    def list(self, image: Pinned) -> tuple[Descriptor, ...]:
        return (Descriptor("application/json", Digest.of(b""), 1),) * (reader_module.MAX_REFERRERS + 1)


def test_a_crowd_of_attachments_is_refused_rather_than_cut_short() -> None:
    small = Small(registry=CrowdedRegistry())
    with pytest.raises(UnsupportedError, match="more than"):
        small.world().reader.attachments(BARE.pin(Digest.of(b"")))


class CountingRegistry(MemoryRegistry):
    """Counts what is read of the attachments."""

    fetched = 0

    def fetch(self, image: Pinned, descriptor: Descriptor) -> Artifact:
        self.fetched += 1
        return super().fetch(image, descriptor)


def test_a_signature_is_found_at_once_among_many_records() -> None:
    small = Small(registry=(registry := CountingRegistry()))
    manifest = registry.add_image(REPOSITORY)
    image = BARE.pin(manifest.digest)
    for number in range(20):
        record = Statement.about(image, PROMOTION_PREDICATE, {"number": number})
        small.world().writer.add(image, manifest.descriptor, record)
    small.sign(manifest)
    registry.fetched = 0
    small.world().reader.require(image, SIGNATURE_PREDICATE, (CI,))
    assert registry.fetched == 1


def test_a_record_is_proven_without_reading_the_others_again() -> None:
    small = Small(registry=(registry := CountingRegistry()))
    manifest = registry.add_image(REPOSITORY)
    image = BARE.pin(manifest.digest)
    for number in range(20):
        registry.fetched = 0
        record = Statement.about(image, PROMOTION_PREDICATE, {"number": number})
        small.world().writer.add(image, manifest.descriptor, record)
        assert registry.fetched == 1


def test_a_list_that_calls_a_signature_something_else_cannot_hide_it() -> None:
    small = Small()
    manifest = small.registry.add_image(REPOSITORY)
    image = BARE.pin(manifest.digest)
    (bundle,) = small.signer.sign([Statement.about(image, SIGNATURE_PREDICATE, {})])
    mislabelled = bundle.as_artifact("https://example.test/other/v1", datetime(2026, 1, 1, tzinfo=UTC))
    small.registry.attach(image, manifest.descriptor, mislabelled)
    assert small.world().reader.require(image, SIGNATURE_PREDICATE, (CI,)).verified.signatory == CI


class SilentRegistry(MemoryRegistry):
    """Lists what is attached without a word about what it is."""

    def list(self, image: Pinned) -> tuple[Descriptor, ...]:
        return tuple(replace(one, annotations={}) for one in super().list(image))


def test_where_a_list_tells_no_types_nothing_is_taken_for_what_was_asked_for() -> None:
    """A signature found by who looks for rejections would be one, and any statement that names a target a record."""
    small = Small(registry=SilentRegistry())
    manifest = small.registry.add_image(REPOSITORY)
    image = small.sign(manifest)
    small.sign(manifest, CI, REJECTION_PREDICATE, {"reason": "leaks"})
    reader = small.world().reader
    (found,) = reader.findings(image, (CI,), (REJECTION_PREDICATE,))
    assert found.kind == REJECTION_PREDICATE
    assert found.proof is not None
    assert [one.kind for one in reader.findings(image, (CI,))] == [SIGNATURE_PREDICATE, REJECTION_PREDICATE]
    unwanted = small.registry.add_image(REPOSITORY)
    signed = small.sign(unwanted)
    assert rejection_gate([signed], small.policy, small.world()).passed
