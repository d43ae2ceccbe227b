import json
from datetime import UTC, datetime
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from imagepipe.errors import SettingsError, VerificationError
from imagepipe.model import media
from imagepipe.model.digest import Digest
from imagepipe.model.evidence import (
    PROVENANCE_PREDICATE,
    SIGNATURE_PREDICATE,
    Bundle,
    Identity,
    PublicKey,
    Statement,
    TrustPolicy,
    VerifiedStatement,
)
from imagepipe.model.reference import Pinned
from tests.unit.model.strategies import pinned

IMAGE = Pinned.parse(f"vic.example/es-sandbox/hello@{Digest.of(b'm')}")
_json = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=2) | st.dictionaries(st.text(max_size=3), inner, max_size=2),
    max_leaves=5,
)


@given(pinned, st.dictionaries(st.text(max_size=5), _json, max_size=3))
def test_a_statement_survives_its_payload(image: Pinned, predicate: dict[str, Any]) -> None:
    statement = Statement.about(image, PROVENANCE_PREDICATE, predicate)
    assert Statement.parse(statement.payload) == statement
    assert statement.speaks_of(image.digest)
    assert not statement.speaks_of(Digest.of(b"another"))
    assert (statement.predicate, statement.predicate_type) == (predicate, PROVENANCE_PREDICATE)


def test_a_statement_names_the_repository_and_the_digest() -> None:
    body = json.loads(Statement.about(IMAGE, SIGNATURE_PREDICATE, {}).payload)
    assert body["_type"] == "https://in-toto.io/Statement/v1"
    assert body["subject"] == [{"name": "vic.example/es-sandbox/hello", "digest": {"sha256": IMAGE.digest.hex}}]


def test_the_statement_version_that_older_cosign_writes_is_read() -> None:
    payload = json.dumps(
        {
            "_type": "https://in-toto.io/Statement/v0.1",
            "subject": [{"digest": {"sha512": "00"}}, {"digest": {"sha256": IMAGE.digest.hex}}],
            "predicateType": "x",
            "predicate": None,
        }
    ).encode()
    statement = Statement.parse(payload)
    assert statement.subjects == (("", IMAGE.digest),)
    assert statement.predicate == {}


@pytest.mark.parametrize(
    "payload",
    [
        b"",
        b"[]",
        b"{}",
        b'{"_type":"https://example.com/other"}',
        b'{"_type":"https://in-toto.io/Statement/v1"}',
        b'{"_type":"https://in-toto.io/Statement/v1","subject":5,"predicateType":"x"}',
        b'{"_type":"https://in-toto.io/Statement/v1","subject":[5],"predicateType":"x"}',
        b'{"_type":"https://in-toto.io/Statement/v1","subject":[{"digest":{"sha256":"abc"}}],"predicateType":"x"}',
    ],
)
def test_what_is_no_statement_is_refused(payload: bytes) -> None:
    with pytest.raises(VerificationError):
        Statement.parse(payload)


@pytest.mark.parametrize(("identity", "issuer"), [("", "https://issuer.example"), ("a@example.com", "")])
def test_an_identity_needs_its_issuer(identity: str, issuer: str) -> None:
    with pytest.raises(SettingsError, match="needs both"):
        Identity(identity, issuer)


def test_signatories_are_told_by_name() -> None:
    assert str(Identity("a@example.com", "https://issuer.example")) == "a@example.com (by https://issuer.example)"
    key = PublicKey("ci", b"-----BEGIN PUBLIC KEY-----")
    assert str(key) == "key ci"
    assert "BEGIN" not in repr(key)


def test_a_bundle_is_carried_as_cosign_carries_it() -> None:
    bundle = Bundle(b'{"mediaType":"x"}')
    artifact = bundle.as_artifact(SIGNATURE_PREDICATE, datetime(2026, 11, 22, 16, 0, 3, tzinfo=UTC))
    assert bundle.digest == Digest.of(bundle.raw)
    assert (artifact.artifact_type, artifact.layer_media_type) == (media.SIGSTORE_BUNDLE, media.SIGSTORE_BUNDLE)
    assert artifact.content == bundle.raw
    assert artifact.annotations == {
        "dev.sigstore.bundle.content": "dsse-envelope",
        "dev.sigstore.bundle.predicateType": SIGNATURE_PREDICATE,
        "org.opencontainers.image.created": "2026-11-22T16:00:03Z",
    }


def test_a_policy_asks_for_a_signature_alone_unless_told() -> None:
    policy = TrustPolicy("prod", ())
    assert (policy.require_provenance, policy.max_severity) == (False, None)


def test_a_proof_by_a_bare_key_has_no_time() -> None:
    statement = Statement.about(IMAGE, SIGNATURE_PREDICATE, {})
    assert VerifiedStatement(statement, PublicKey("ci", b""), None).signed_at is None
