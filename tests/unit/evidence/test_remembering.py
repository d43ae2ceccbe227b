import gc
import weakref
from threading import Event

import pytest

from imagepipe import fanout
from imagepipe.errors import UnavailableError, VerificationError
from imagepipe.evidence.reader import EvidenceReader
from imagepipe.evidence.remembering import RememberingReferrers
from imagepipe.model.evidence import SIGNATURE_PREDICATE, Artifact, Identity, Statement
from imagepipe.model.reference import Pinned, Repository
from imagepipe.once import Once
from tests.contract.registry_memory import MemoryRegistry
from tests.contract.signing_memory import MemorySigner, MemoryVerifier
from tests.unit.promote.world import SteppingClock

CI = Identity("ci@example.com", "https://issuer.example")
PLACE = Repository("vic.example", "es/hello")


def signed(registry: MemoryRegistry, who: Identity = CI) -> Pinned:
    manifest = registry.add_image(PLACE)
    image = PLACE.pin(manifest.digest)
    (bundle,) = MemorySigner(who).sign([Statement.about(image, SIGNATURE_PREDICATE, {})])
    registry.attach(image, manifest.descriptor, bundle.as_artifact(SIGNATURE_PREDICATE, SteppingClock().now()))
    registry.calls.clear()
    return image


def test_each_question_is_asked_once_however_many_ask_at_a_time() -> None:
    asked, go = list[int](), Event()

    def slowly(number: int) -> int:
        asked.append(number)
        go.wait(0.1)
        return number * number

    once = Once(slowly)
    outcomes = fanout.each([2, 2, 2, 3], once, jobs=4)
    assert [outcome.unwrap() for outcome in outcomes] == [4, 4, 4, 9]
    assert sorted(asked) == [2, 3]


def test_what_failed_is_asked_again() -> None:
    answers = [UnavailableError("away"), None]

    def flapping(_: str) -> str:
        error = answers.pop(0)
        if error:
            raise error
        return "here"

    once = Once(flapping)
    with pytest.raises(UnavailableError):
        once("x")
    assert (once("x"), once("x")) == ("here", "here")


def test_a_remembering_reader_reads_and_proves_an_image_once_and_sees_nothing_newer() -> None:
    registry, verifier = MemoryRegistry(), MemoryVerifier()
    image = signed(registry)
    reader = EvidenceReader(referrers=registry, verifier=verifier).remembering()
    for _ in range(3):
        assert reader.first(image, SIGNATURE_PREDICATE, (CI,)) is not None
        assert len(reader.findings(image, (CI,))) == 1
    assert registry.calls == ["list", "fetch"]
    (bundle,) = MemorySigner(CI).sign([Statement.about(image, SIGNATURE_PREDICATE, {"again": True})])
    subject = registry.manifest(image).descriptor
    registry.attach(image, subject, bundle.as_artifact(SIGNATURE_PREDICATE, SteppingClock().now()))
    assert len(reader.findings(image, (CI,))) == 1


def test_a_remembering_reader_believes_nobody_else_for_having_proven_something() -> None:
    registry = MemoryRegistry()
    image = signed(registry)
    reader = EvidenceReader(referrers=registry, verifier=MemoryVerifier()).remembering()
    assert reader.proofs(image, SIGNATURE_PREDICATE, (CI,))
    stranger = Identity("eve@example.com", "https://issuer.example")
    assert not reader.proofs(image, SIGNATURE_PREDICATE, (stranger,))
    with pytest.raises(VerificationError):
        reader.require(image, SIGNATURE_PREDICATE, ())


def test_what_is_large_is_read_again_and_not_kept() -> None:
    """A crowd of attachments, 8 MiB each, would fill any memory."""
    registry = MemoryRegistry()
    manifest = registry.add_image(PLACE)
    image = PLACE.pin(manifest.digest)
    small, large = (
        registry.attach(image, manifest.descriptor, Artifact("x", "x", b"x" * size)) for size in (10_000, 100_000)
    )
    remembering = RememberingReferrers(registry)
    registry.calls.clear()
    for _ in range(3):
        assert len(remembering.fetch(image, small).content) == 10_000
    assert registry.calls == ["fetch"]
    for _ in range(3):
        assert len(remembering.fetch(image, large).content) == 100_000
    assert registry.calls == ["fetch"] * 4


class Question:
    """Something that is asked, and may be gone afterwards."""


def test_of_a_question_that_was_not_answered_nothing_is_kept() -> None:
    """A bundle that proves nothing is a question, too."""

    def fails(_: Question) -> None:
        raise VerificationError("no")

    once, question = Once(fails), Question()
    gone = weakref.ref(question)
    with pytest.raises(VerificationError):
        once(question)
    del question
    gc.collect()
    assert gone() is None


def test_attaching_goes_through() -> None:
    registry = MemoryRegistry()
    manifest = registry.add_image(PLACE)
    image = PLACE.pin(manifest.digest)
    (bundle,) = MemorySigner(CI).sign([Statement.about(image, SIGNATURE_PREDICATE, {})])
    artifact = bundle.as_artifact(SIGNATURE_PREDICATE, SteppingClock().now())
    remembering = RememberingReferrers(registry)
    made = remembering.attach(image, manifest.descriptor, artifact)
    assert [one.digest for one in registry.list(image)] == [made.digest]
    remembering.remembering().relist(image, [made])
    assert "relist" in registry.calls
