"""One suite for the ports Signer and Verifier, run against every way of signing."""

import base64
import json
from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from time import monotonic

import pytest

from imagepipe.errors import IdentityError, VerificationError
from imagepipe.model.evidence import (
    PROMOTION_PREDICATE,
    PROVENANCE_PREDICATE,
    SIGNATURE_PREDICATE,
    Bundle,
    Identity,
    PublicKey,
    VerifiedStatement,
)
from imagepipe.signing import worker
from imagepipe.signing.identity import IdentityTokens
from imagepipe.signing.keyless import KeylessSigner
from tests.contract.signing_memory import MemorySigner
from tests.contract.signing_worlds import (
    HELLO,
    OTHER,
    KeylessWorld,
    KeyWorld,
    MemoryWorld,
    SystemClock,
    World,
    statement,
    trusted,
    worked_for,
)
from tests.contract.sigstore_server import EMAIL_CLAIMS, Sigstore, served


@pytest.fixture(scope="module")
def sigstore(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Sigstore]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("NO_PROXY", "127.0.0.1")
        with served(tmp_path_factory.mktemp("sigstore") / "state") as running:
            yield running


@pytest.fixture(params=["memory", "key", "keyless", "keyless, by a worker"])
def world(request: pytest.FixtureRequest) -> Iterator[World]:
    if request.param == "keyless, by a worker":
        with worked_for():
            yield KeylessWorld(request.getfixturevalue("sigstore"))
    elif request.param == "keyless":
        yield KeylessWorld(request.getfixturevalue("sigstore"))
    else:
        yield MemoryWorld() if request.param == "memory" else KeyWorld()


def verified(world: World, bundle: Bundle, *signatories: Identity | PublicKey) -> VerifiedStatement:
    return world.verifier.verify(bundle, HELLO.digest, SIGNATURE_PREDICATE, signatories or trusted(world.signer))


def certificate_of(bundle: Bundle) -> object:
    return json.loads(bundle.raw)["verificationMaterial"]["certificate"]


def test_what_is_signed_is_proven_with_its_exact_bytes(world: World) -> None:
    wanted = statement(note="größer & <smaller>")
    [bundle] = world.signer.sign([wanted])
    proven = verified(world, bundle)
    assert proven.statement == wanted
    assert proven.statement.payload == wanted.payload
    assert proven.signatory == world.signer.signatory()


def test_every_statement_gets_its_own_bundle_in_order(world: World) -> None:
    wanted = [statement(), statement(OTHER), statement(HELLO, PROVENANCE_PREDICATE)]
    bundles = world.signer.sign(wanted)
    who = trusted(world.signer)
    for bundle, image, said in zip(bundles, (HELLO, OTHER, HELLO), wanted, strict=True):
        assert world.verifier.verify(bundle, image.digest, said.predicate_type, who).statement == said


def test_no_statements_make_no_bundles(world: World) -> None:
    assert world.signer.sign([]) == ()


def test_who_prepared_signs_as_who_did_not(world: World) -> None:
    signer = world.signer
    signer.prepare()
    assert signer.signatory() == world.signer.signatory()
    [bundle] = signer.sign([statement()])
    assert verified(world, bundle).signatory == world.signer.signatory()


def test_the_one_of_many_trusted_who_signed_is_named(world: World) -> None:
    [bundle] = world.stranger.sign([statement()])
    assert verified(world, bundle, *trusted(world.signer, world.stranger)).signatory == world.stranger.signatory()


def test_a_policy_that_trusts_nobody_refuses_a_good_bundle(world: World) -> None:
    [bundle] = world.signer.sign([statement()])
    with pytest.raises(VerificationError, match="the policy trusts nobody"):
        world.verifier.verify(bundle, HELLO.digest, SIGNATURE_PREDICATE, [])


def test_a_bundle_by_a_stranger_is_refused(world: World) -> None:
    [bundle] = world.stranger.sign([statement()])
    with pytest.raises(VerificationError, match=r"the policy (does not trust|trusts \(ci\))"):
        verified(world, bundle)


def test_a_bundle_moved_from_another_image_is_refused_and_says_from_which(world: World) -> None:
    [bundle] = world.signer.sign([statement(OTHER)])
    with pytest.raises(VerificationError, match=f"is about another image: {OTHER.digest}"):
        verified(world, bundle)


def test_an_attestation_does_not_pass_as_a_signature(world: World) -> None:
    [bundle] = world.signer.sign([statement(HELLO, PROMOTION_PREDICATE)])
    with pytest.raises(VerificationError, match=f"carries predicate type {PROMOTION_PREDICATE}"):
        verified(world, bundle)


def test_a_payload_of_another_type_is_refused(world: World) -> None:
    bundle = world.seal("application/json", statement().payload)
    with pytest.raises(VerificationError, match="carries payload type"):
        verified(world, bundle)


def test_a_signed_payload_that_is_no_statement_is_refused(world: World) -> None:
    bundle = world.seal("application/vnd.in-toto+json", b'{"_type": "https://example.com/v9"}')
    with pytest.raises(VerificationError, match="not an in-toto statement"):
        verified(world, bundle)


def test_a_payload_changed_after_signing_is_refused(world: World) -> None:
    [bundle] = world.signer.sign([statement(OTHER)])
    forged = world.with_payload(bundle, base64.b64encode(statement(HELLO).payload).decode())
    with pytest.raises(VerificationError, match=r"was changed|does not trust"):
        verified(world, forged)


@pytest.mark.parametrize("raw", [b"", b"{", b"[]", b"null", b"{}", b'{"verificationMaterial": 7}', b"[" * 100_000])
def test_what_is_no_bundle_is_refused(world: World, raw: bytes) -> None:
    with pytest.raises(VerificationError):
        verified(world, Bundle(raw))


def test_a_signer_says_who_it_is_before_it_signs(world: World) -> None:
    assert world.signer.signatory() == world.signer.signatory()
    assert world.signer.signatory() != world.stranger.signatory()


def test_a_log_says_when_and_a_bare_key_does_not(world: World) -> None:
    [bundle] = world.signer.sign([statement()])
    signed_at = verified(world, bundle).signed_at
    if isinstance(world, KeyWorld):
        assert signed_at is None
    elif isinstance(world, KeylessWorld):
        assert signed_at is not None
        assert abs(datetime.now(UTC) - signed_at) < timedelta(minutes=1)
    else:
        assert signed_at is not None


def test_the_twin_fails_on_request_and_remembers() -> None:
    signer = MemorySigner(Identity("ci@example.com", "https://idp.example"))
    signer.sign([statement()])
    assert signer.signed == [statement()]
    signer.failure = VerificationError("told to")
    with pytest.raises(VerificationError, match="told to"):
        signer.sign([statement()])
    with pytest.raises(VerificationError, match="told to"):
        signer.signatory()


# Keyless


@pytest.fixture
def keyless(sigstore: Sigstore) -> KeylessWorld:
    return KeylessWorld(sigstore)


@pytest.mark.parametrize(
    ("claims", "identity"),
    [
        ({"sub": "7", "email": "dev@example.com", "email_verified": True}, "dev@example.com"),
        (
            {
                "sub": "repo:uf/es:ref:refs/heads/main",
                "job_workflow_ref": "uf/es/.github/workflows/i.yml@refs/heads/main",
            },
            "https://github.com/uf/es/.github/workflows/i.yml@refs/heads/main",
        ),
        (
            {"sub": "project_path:uf/es", "ci_config_ref_uri": "gitlab.com/uf/es//.gitlab-ci.yml@refs/heads/main"},
            "https://gitlab.com/uf/es//.gitlab-ci.yml@refs/heads/main",
        ),
        ({"sub": "https://robots.example/builder"}, "https://robots.example/builder"),
    ],
    ids=["email", "github", "gitlab", "uri"],
)
def test_the_certificate_names_whom_the_signer_said(
    keyless: KeylessWorld, claims: dict[str, object], identity: str
) -> None:
    signer = keyless.signer_as(**claims)
    assert signer.signatory() == Identity(identity, keyless.sigstore.url)
    [bundle] = signer.sign([statement()])
    assert verified(keyless, bundle, signer.signatory()).signatory == signer.signatory()


def test_one_certificate_signs_all_statements(keyless: KeylessWorld) -> None:
    first, second = keyless.signer.sign([statement(), statement(OTHER)])
    assert certificate_of(first) == certificate_of(second)


class Later(SystemClock):
    """Goes on by hand."""

    passed = timedelta()

    def now(self) -> datetime:
        return super().now() + self.passed


def test_a_token_that_ends_is_no_hindrance_to_who_prepared(keyless: KeylessWorld) -> None:
    clock = Later()
    tokens = IdentityTokens(clock=clock, raw=keyless.sigstore.mint(**EMAIL_CLAIMS, exp_s=60))
    signer = KeylessSigner(tokens=tokens, trust=keyless.trust, timeout_s=10)
    who = signer.signatory()
    signer.prepare()
    clock.passed = timedelta(minutes=2)
    with pytest.raises(IdentityError, match="expired at"):
        tokens.token()
    assert signer.signatory() == who
    (first,), (second,) = signer.sign([statement()]), signer.sign([statement(OTHER)])
    assert certificate_of(first) == certificate_of(second)
    assert verified(keyless, first, who).signatory == who


def test_a_certificate_that_is_about_to_end_is_not_signed_with(
    keyless: KeylessWorld, monkeypatch: pytest.MonkeyPatch
) -> None:
    signer = keyless.signer
    signer.prepare()
    (before,) = signer.sign([statement()])
    passed = monotonic() + timedelta(minutes=9, seconds=10).total_seconds()
    monkeypatch.setattr(worker, "monotonic", lambda: passed)
    (after,) = signer.sign([statement()])
    assert certificate_of(before) != certificate_of(after)
    assert verified(keyless, after, signer.signatory()).signatory == signer.signatory()


def test_what_a_worker_proves_and_refuses_is_what_would_be_here(keyless: KeylessWorld) -> None:
    (bundle,) = keyless.signer.sign([statement()])
    eve = Identity("eve@example.com", keyless.sigstore.url)
    with pytest.raises(VerificationError) as here:
        verified(keyless, bundle, eve)
    with worked_for() as asked:
        ours = keyless.verifier
        assert ours.verify(bundle, HELLO.digest, SIGNATURE_PREDICATE, trusted(keyless.signer)).signed_at
        with pytest.raises(VerificationError) as there:
            ours.verify(bundle, HELLO.digest, SIGNATURE_PREDICATE, [eve])
        assert worker.begun() is asked
    assert (there.value.message, there.value.hint) == (here.value.message, here.value.hint)


def test_a_worker_that_dies_is_done_without(keyless: KeylessWorld) -> None:
    with worked_for() as asked:
        signer, verifier, who = keyless.signer, keyless.verifier, trusted(keyless.signer)
        signer.prepare()
        (before,) = signer.sign([statement()])
        assert verifier.verify(before, HELLO.digest, SIGNATURE_PREDICATE, who)
        asked.end()
        (after,) = signer.sign([statement()])
        (again,) = signer.sign([statement()])
        assert verifier.verify(after, HELLO.digest, SIGNATURE_PREDICATE, who)
        assert verifier.verify(after, HELLO.digest, SIGNATURE_PREDICATE, who)
        assert keyless.verifier.verify(again, HELLO.digest, SIGNATURE_PREDICATE, who)
    assert certificate_of(before) != certificate_of(after) == certificate_of(again), "the key went with the worker"


def test_the_refusal_names_who_signed_and_who_vouched(keyless: KeylessWorld) -> None:
    [bundle] = keyless.signer.sign([statement()])
    expected = rf"signed by ci@example\.com \(issuer {keyless.sigstore.url}\), which the policy does not trust"
    with pytest.raises(VerificationError, match=expected):
        verified(keyless, bundle, Identity("eve@example.com", keyless.sigstore.url))


def test_the_right_name_vouched_for_by_another_issuer_is_refused(keyless: KeylessWorld) -> None:
    [bundle] = keyless.signer.sign([statement()])
    with pytest.raises(VerificationError, match=r"signed by ci@example\.com \(issuer http://127"):
        verified(keyless, bundle, Identity("ci@example.com", "https://accounts.example"))


def test_a_bundle_without_a_log_entry_is_refused(keyless: KeylessWorld) -> None:
    [bundle] = keyless.signer.sign([statement()])
    nothings: list[dict[str, list[str]]] = [{"tlogEntries": []}, {}]
    for entries in nothings:
        document = json.loads(bundle.raw)
        del document["verificationMaterial"]["tlogEntries"]
        document["verificationMaterial"].update(entries)
        with pytest.raises(VerificationError, match="no entry of a transparency log"):
            verified(keyless, Bundle(json.dumps(document).encode()))


def test_a_log_entry_of_another_bundle_is_refused(keyless: KeylessWorld) -> None:
    mine, other = (json.loads(b.raw) for b in keyless.signer.sign([statement(), statement(OTHER)]))
    mine["verificationMaterial"]["tlogEntries"] = other["verificationMaterial"]["tlogEntries"]
    with pytest.raises(VerificationError, match="does not verify"):
        verified(keyless, Bundle(json.dumps(mine).encode()))


def test_a_later_time_written_over_the_log_s_is_refused(keyless: KeylessWorld) -> None:
    [bundle] = keyless.signer.sign([statement()])
    document = json.loads(bundle.raw)
    [entry] = document["verificationMaterial"]["tlogEntries"]
    entry["integratedTime"] = str(int(entry["integratedTime"]) + 60)
    with pytest.raises(VerificationError, match="invalid log entry"):
        verified(keyless, Bundle(json.dumps(document).encode()))


def test_a_time_without_the_log_s_promise_is_refused(keyless: KeylessWorld) -> None:
    [bundle] = keyless.signer.sign([statement()])
    document = json.loads(bundle.raw)
    del document["verificationMaterial"]["tlogEntries"][0]["inclusionPromise"]
    with pytest.raises(VerificationError, match="inclusion promise"):
        verified(keyless, Bundle(json.dumps(document).encode()))


def test_a_certificate_of_another_authority_is_refused(
    keyless: KeylessWorld, tmp_path_factory: pytest.TempPathFactory
) -> None:
    with served(tmp_path_factory.mktemp("rogue") / "state") as rogue:
        signer = KeylessWorld(rogue).signer_as(sub="ci", email="ci@example.com", email_verified=True, iss=rogue.url)
        [bundle] = signer.sign([statement()])
    with pytest.raises(VerificationError, match="authority that is not trusted"):
        verified(keyless, bundle, signer.signatory(), Identity("ci@example.com", keyless.sigstore.url))


def test_a_timestamp_authority_says_when_too(tmp_path_factory: pytest.TempPathFactory) -> None:
    with served(tmp_path_factory.mktemp("tsa") / "state", tsa=True) as running:
        world = KeylessWorld(running)
        signer = world.signer
        [bundle] = signer.sign([statement()])
    document = json.loads(bundle.raw)
    assert document["verificationMaterial"]["timestampVerificationData"]["rfc3161Timestamps"]
    signed_at = verified(world, bundle, signer.signatory()).signed_at
    assert signed_at is not None
    # Without the log's promise the authority's time is the only proven one.
    entry = document["verificationMaterial"]["tlogEntries"][0]
    del entry["inclusionPromise"]
    entry["integratedTime"] = "1"
    again = verified(world, Bundle(json.dumps(document).encode()), signer.signatory()).signed_at
    assert again is not None
    assert abs(again - signed_at) < timedelta(seconds=5)


# A rule's kind decides, never the bundle's


def test_a_key_bundle_is_refused_where_an_identity_is_trusted(keyless: KeylessWorld) -> None:
    [bundle] = KeyWorld().signer.sign([statement()])
    with pytest.raises(VerificationError, match="signed with a key, where the policy trusts an identity"):
        verified(keyless, bundle)


def test_a_keyless_bundle_is_refused_where_a_key_is_trusted(keyless: KeylessWorld) -> None:
    [bundle] = keyless.signer.sign([statement()])
    with pytest.raises(VerificationError, match="signed with a certificate, where the policy trusts a key"):
        verified(keyless, bundle, KeyWorld().signer.signatory())


def test_a_policy_may_trust_an_identity_and_a_key(keyless: KeylessWorld) -> None:
    key = KeyWorld().signer
    either = trusted(keyless.signer, key)
    for signer in (keyless.signer, key):
        [bundle] = signer.sign([statement()])
        assert verified(keyless, bundle, *either).signatory == signer.signatory()
    [bundle] = KeyWorld().stranger.sign([statement()])
    with pytest.raises(VerificationError, match=r"trusts an identity; .* not signed with a key that the policy trusts"):
        verified(keyless, bundle, *either)


def test_a_key_that_only_shares_the_name_is_another_key() -> None:
    world = KeyWorld()
    [bundle] = world.signer.sign([statement()])
    impostor = replace(world.stranger.signatory(), name="ci")
    with pytest.raises(VerificationError, match="not signed with a key that the policy trusts"):
        verified(world, bundle, impostor)
