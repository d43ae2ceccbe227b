"""cosign reads what we sign, and we read what cosign signs."""

import json

import pytest

from tests.interop.world import PROMOTION, PROVENANCE, SIGNATURE, Answer, Box

pytestmark = [pytest.mark.sandbox, pytest.mark.interop]
KINDS = [SIGNATURE, PROVENANCE, PROMOTION]


def verify(box: Box, image: str, kind: str, *, identity: str | None = None, issuer: str | None = None) -> Answer:
    return box.harbor.cosign(
        *("verify-attestation", "--new-bundle-format", "--trusted-root", str(box.trust / "trusted_root.json")),
        *("--certificate-identity", identity or box.identity, "--certificate-oidc-issuer", issuer or box.issuer),
        *("--type", kind, image),
        trust=box.trust,
    )


def attest(box: Box, image: str, kind: str, email: str) -> Answer:
    predicate = box.folder / "predicate.json"
    predicate.write_text(json.dumps({}))
    return box.harbor.cosign(
        *("attest", "-y", "--new-bundle-format", "--fulcio-url", box.issuer, "--rekor-url", box.issuer),
        *("--identity-token", str(box.token(email)), "--predicate", str(predicate), "--type", kind, image),
        trust=box.trust,
    )


@pytest.mark.parametrize("kind", KINDS)
def test_cosign_accepts_what_we_attached_by_whom_it_was_signed(box: Box, hello: str, kind: str) -> None:
    answer = verify(box, hello, kind)
    assert answer.code == 0, answer.text


def test_cosign_takes_our_provenance_for_slsa(box: Box, hello: str) -> None:
    answer = verify(box, hello, "slsaprovenance1")
    assert answer.code == 0, answer.text


@pytest.mark.parametrize("kind", KINDS)
def test_cosign_refuses_another_identity(box: Box, hello: str, kind: str) -> None:
    answer = verify(box, hello, kind, identity="mallory@es-sandbox.test")
    assert answer.code != 0
    assert f'expected SAN value "mallory@es-sandbox.test", got "{box.identity}"' in answer.err


def test_cosign_refuses_another_issuer(box: Box, hello: str) -> None:
    answer = verify(box, hello, SIGNATURE, issuer="https://accounts.example")
    assert answer.code != 0
    assert "https://accounts.example" in answer.err


def test_cosign_refuses_a_kind_that_nobody_attached(box: Box, hello: str) -> None:
    answer = verify(box, hello, "https://example.test/other/v1")
    assert answer.code != 0


def test_cosign_finds_nothing_on_an_unsigned_image(box: Box) -> None:
    answer = verify(box, box.unsigned("bare"), SIGNATURE)
    assert answer.code != 0


def test_imagepipe_accepts_a_signature_made_by_cosign(box: Box) -> None:
    image = box.unsigned("by-cosign")
    before = box.imagepipe("verify", image)
    assert before.code == 6, before.text
    signed = attest(box, image, SIGNATURE, box.identity)
    assert signed.code == 0, signed.text
    after = box.imagepipe("verify", image, "--json")
    assert after.code == 0, after.text
    (proof,) = after.json()["proofs"]
    assert proof["predicate_type"] == SIGNATURE
    assert proof["signed_by"] == {"identity": box.identity, "issuer": box.issuer}


def test_imagepipe_refuses_a_signature_made_by_cosign_as_somebody_else(box: Box) -> None:
    image = box.unsigned("by-mallory")
    signed = attest(box, image, SIGNATURE, "mallory@es-sandbox.test")
    assert signed.code == 0, signed.text
    answer = box.imagepipe("verify", image)
    assert answer.code == 6, answer.text
    assert "mallory@es-sandbox.test" in answer.err


def test_an_image_signed_by_cosign_is_promoted(box: Box) -> None:
    image = box.unsigned("promoted-for-cosign")
    signed = attest(box, image, SIGNATURE, box.identity)
    assert signed.code == 0, signed.text
    answer = box.imagepipe("promote", image, "--to", "engine-a", "--yes")
    assert answer.code == 0, answer.text
    assert verify(box, image, PROMOTION).code == 0
