"""Bundles that cosign 2.5.0 made are proven here, and refused where they must be."""

import base64
import hashlib
import json
from datetime import UTC, datetime
from pathlib import Path

import pytest

from imagepipe.errors import VerificationError
from imagepipe.model.digest import Digest
from imagepipe.model.evidence import (
    PROMOTION_PREDICATE,
    PROVENANCE_PREDICATE,
    SIGNATURE_PREDICATE,
    Bundle,
    Identity,
    Signatory,
    VerifiedStatement,
)
from imagepipe.signing.key import KeySigner, load_public_key
from imagepipe.signing.trust import SigstoreTrust
from imagepipe.signing.verifier import SigstoreVerifier

FIXTURES = Path(__file__).parents[2] / "fixtures" / "signing"
IMAGE = Digest.parse("sha256:18d7a990988b387eecd9226db3114b8ae8980961a239024b4fff2da8798bc7b9")
DEV = Identity("dev@example.com", "http://127.0.0.1:15031")


def verified(
    name: str, signatory: Signatory, predicate_type: str = PROVENANCE_PREDICATE, *, trust: str = "trust_config.json"
) -> VerifiedStatement:
    verifier = SigstoreVerifier(trust=SigstoreTrust.load(FIXTURES / trust))
    return verifier.verify(Bundle((FIXTURES / name).read_bytes()), IMAGE, predicate_type, [signatory])


@pytest.mark.parametrize("trust", ["trust_config.json", "trusted_root_by_cosign.json"])
def test_a_keyless_bundle_by_cosign_is_proven(trust: str) -> None:
    proven = verified("cosign_keyless.json", DEV, trust=trust)
    assert proven.signatory == DEV
    assert proven.signed_at == datetime(2026, 11, 22, 17, 18, 14, tzinfo=UTC)
    assert proven.statement.predicate["buildDefinition"]["buildType"] == "https://example.com/b"


def test_a_verifier_that_was_prepared_proves_the_same() -> None:
    verifier, raw = SigstoreVerifier(trust=SigstoreTrust.load(FIXTURES / "trust_config.json")), "cosign_keyless.json"
    verifier.prepare()
    proven = verifier.verify(Bundle((FIXTURES / raw).read_bytes()), IMAGE, PROVENANCE_PREDICATE, [DEV])
    assert proven == verified(raw, DEV)


@pytest.mark.parametrize(
    ("name", "predicate_type"),
    [("cosign_key.json", PROVENANCE_PREDICATE), ("cosign_key_logged.json", PROMOTION_PREDICATE)],
)
def test_a_key_bundle_by_cosign_is_proven_with_its_key(name: str, predicate_type: str) -> None:
    key = load_public_key(FIXTURES / "cosign.pub")
    proven = verified(name, key, predicate_type)
    assert proven.signatory == key
    assert proven.signed_at is None


@pytest.mark.parametrize(
    "signatory",
    [
        Identity("eve@example.com", DEV.issuer),
        Identity(DEV.identity, "https://accounts.example"),
        KeySigner.generate("other").signatory(),
    ],
    ids=["name", "issuer", "key"],
)
@pytest.mark.parametrize("name", ["cosign_keyless.json", "cosign_key.json", "cosign_key_logged.json"])
def test_a_bundle_by_cosign_is_refused_for_anybody_else(name: str, signatory: Signatory) -> None:
    with pytest.raises(VerificationError):
        verified(name, signatory)


def test_provenance_by_cosign_is_no_signature() -> None:
    with pytest.raises(VerificationError, match="carries predicate type https://slsa"):
        verified("cosign_keyless.json", DEV, SIGNATURE_PREDICATE)


def test_our_hint_at_a_key_is_made_as_cosign_makes_it() -> None:
    lines = (FIXTURES / "cosign.pub").read_text().splitlines()
    der = base64.b64decode("".join(lines[1:-1]))
    by_cosign = json.loads((FIXTURES / "cosign_key.json").read_bytes())["verificationMaterial"]["publicKey"]["hint"]
    assert by_cosign == base64.b64encode(hashlib.sha256(der).digest()).decode()
