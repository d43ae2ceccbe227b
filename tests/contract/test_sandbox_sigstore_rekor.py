"""What the sandbox's Rekor answers, without a client in between."""

import base64
import hashlib
import itertools
import json
from collections.abc import Iterator
from typing import Any

import httpx
import pytest
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, rsa

from tests.contract.sigstore_merkle import root_from_inclusion, roots_from_consistency
from tests.contract.sigstore_server import Sigstore, b64, pem, served, sign

ENTRIES = "/api/v1/log/entries"


@pytest.fixture(scope="module")
def sigstore(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Sigstore]:
    with served(tmp_path_factory.mktemp("sigstore")) as running:
        yield running


@pytest.fixture
def client(sigstore: Sigstore) -> Iterator[httpx.Client]:
    with httpx.Client(base_url=sigstore.url) as opened:
        yield opened


@pytest.fixture(scope="module")
def key() -> ec.EllipticCurvePrivateKey:
    return ec.generate_private_key(ec.SECP256R1())


_counter = itertools.count()


def _hashedrekord(key: ec.EllipticCurvePrivateKey, message: bytes | None = None) -> dict[str, Any]:
    message = b"artifact %d" % next(_counter) if message is None else message
    return {
        "apiVersion": "0.0.1",
        "kind": "hashedrekord",
        "spec": {
            "data": {"hash": {"algorithm": "sha256", "value": hashlib.sha256(message).hexdigest()}},
            "signature": {"content": b64(sign(key, message)), "publicKey": {"content": b64(pem(key.public_key()))}},
        },
    }


def _dsse(key: ec.EllipticCurvePrivateKey, payload: bytes = b"{}") -> dict[str, Any]:
    pae = b"DSSEv1 28 application/vnd.in-toto+json %d %s" % (len(payload), payload)
    envelope = {
        "payload": b64(payload),
        "payloadType": "application/vnd.in-toto+json",
        "signatures": [{"sig": b64(sign(key, pae))}],
    }
    content = {"envelope": json.dumps(envelope), "verifiers": [b64(pem(key.public_key()))]}
    return {"apiVersion": "0.0.1", "kind": "dsse", "spec": {"proposedContent": content}}


def _only(document: dict[str, Any]) -> tuple[str, dict[str, Any]]:
    [(entry_id, entry)] = document.items()
    return entry_id, entry


def test_nobodys_entry_is_at_the_first_two_indexes(client: httpx.Client, key: ec.EllipticCurvePrivateKey) -> None:
    assert client.get("/api/v1/log").json()["treeSize"] >= 2
    _, entry = _only(client.post(ENTRIES, json=_hashedrekord(key)).json())
    assert entry["logIndex"] >= 2
    assert entry["verification"]["inclusionProof"]["hashes"]


def test_a_new_entry_is_201_with_its_place_and_the_same_again_is_409_with_that_place(
    client: httpx.Client, key: ec.EllipticCurvePrivateKey
) -> None:
    proposed = _hashedrekord(key)
    first = client.post(ENTRIES, json=proposed)
    entry_id, _ = _only(first.json())
    assert first.status_code == 201
    assert first.headers["location"] == f"{ENTRIES}/{entry_id}"
    again = client.post(ENTRIES, json=proposed)
    assert again.status_code == 409
    assert again.headers["location"] == f"{ENTRIES}/{entry_id}"
    assert again.json() == {
        "code": 409,
        "message": f"an equivalent entry already exists in the transparency log with UUID {entry_id}",
    }


def test_an_entry_is_found_by_id_leaf_hash_index_proposal_and_body(
    client: httpx.Client, key: ec.EllipticCurvePrivateKey
) -> None:
    proposed = _dsse(key, b'{"found": true}')
    entry_id, entry = _only(client.post(ENTRIES, json=proposed).json())
    answers = [
        client.get(f"{ENTRIES}/{entry_id}").json(),
        client.get(f"{ENTRIES}/{entry_id[16:]}").json(),
        client.get(ENTRIES, params={"logIndex": entry["logIndex"]}).json(),
        *client.post(f"{ENTRIES}/retrieve/", json={"entries": [proposed]}).json(),
        *client.post(f"{ENTRIES}/retrieve", json={"entries": [json.loads(base64.b64decode(entry["body"]))]}).json(),
        *client.post(f"{ENTRIES}/retrieve", json={"entryUUIDs": [entry_id]}).json(),
        *client.post(f"{ENTRIES}/retrieve", json={"logIndexes": [entry["logIndex"]]}).json(),
    ]
    assert len(answers) == 7
    for found_id, found in map(_only, answers):
        assert found_id == entry_id
        assert (found["body"], found["integratedTime"]) == (entry["body"], entry["integratedTime"])
    assert client.post(f"{ENTRIES}/retrieve/", json={"entries": [_hashedrekord(key)], "logIndexes": []}).json() == []


def test_an_entry_is_named_and_signed_as_rekor_does(
    sigstore: Sigstore, client: httpx.Client, key: ec.EllipticCurvePrivateKey
) -> None:
    entry_id, entry = _only(client.post(ENTRIES, json=_hashedrekord(key)).json())
    body = base64.b64decode(entry["body"])
    tree_id = int(client.get("/api/v1/log").json()["treeID"])
    assert 0 < tree_id < 1 << 63
    assert entry_id == f"{tree_id:016x}" + hashlib.sha256(b"\x00" + body).hexdigest()
    log_key = serialization.load_pem_public_key((sigstore.state_dir / "rekor.pub").read_bytes())
    assert isinstance(log_key, ec.EllipticCurvePublicKey)
    promise = {name: entry[name] for name in ("body", "integratedTime", "logID", "logIndex")}
    signed = json.dumps(promise, separators=(",", ":"), sort_keys=True).encode()
    stamp = base64.b64decode(entry["verification"]["signedEntryTimestamp"])
    log_key.verify(stamp, signed, ec.ECDSA(hashes.SHA256()))
    proof = entry["verification"]["inclusionProof"]
    note, _, signature = proof["checkpoint"].partition("\n\n")
    assert note == f"127.0.0.1 - {tree_id}\n{proof['treeSize']}\n{b64(bytes.fromhex(proof['rootHash']))}"
    dash, name, blob = signature.removesuffix("\n").split(" ")
    assert (dash, name) == ("\N{EM DASH}", "127.0.0.1")
    assert base64.b64decode(blob)[:4].hex() == entry["logID"][:8]
    log_key.verify(base64.b64decode(blob)[4:], f"{note}\n".encode(), ec.ECDSA(hashes.SHA256()))


def test_entries_are_written_down_in_canonical_form(client: httpx.Client, key: ec.EllipticCurvePrivateKey) -> None:
    proposed = _hashedrekord(key)
    proposed["spec"]["signature"]["publicKey"]["url"] = None
    _, entry = _only(client.post(ENTRIES, json=proposed).json())
    del proposed["spec"]["signature"]["publicKey"]["url"]
    canonical = json.dumps(proposed, separators=(",", ":"), sort_keys=True).encode()
    assert base64.b64decode(entry["body"]) == canonical
    proposed = _dsse(key, b'{"canonical": 1}')
    content = proposed["spec"]["proposedContent"]
    [signature] = json.loads(content["envelope"])["signatures"]
    _, entry = _only(client.post(ENTRIES, json=proposed).json())
    digests = (hashlib.sha256(each).hexdigest() for each in (content["envelope"].encode(), b'{"canonical": 1}'))
    envelope_hash, payload_hash = ({"algorithm": "sha256", "value": each} for each in digests)
    assert json.loads(base64.b64decode(entry["body"])) == {
        "apiVersion": "0.0.1",
        "kind": "dsse",
        "spec": {
            "envelopeHash": envelope_hash,
            "payloadHash": payload_hash,
            "signatures": [{"signature": signature["sig"], "verifier": content["verifiers"][0]}],
        },
    }


def _refused_envelopes() -> dict[str, Any]:
    key, rsa_key = ec.generate_private_key(ec.SECP256R1()), rsa.generate_private_key(65537, 2048)

    def dsse(changes: dict[str, Any], verifier: str | None = None) -> dict[str, Any]:
        proposed = _dsse(key)
        content = proposed["spec"]["proposedContent"]
        content["envelope"] = json.dumps(json.loads(content["envelope"]) | changes)
        content["verifiers"] = [verifier or content["verifiers"][0]]
        return proposed

    broken = _dsse(key)
    broken["spec"]["proposedContent"]["envelope"] = "{"
    return {
        "an envelope that is not JSON": broken,
        "an envelope that is not Unicode": dsse({"payloadType": "\ud800"}),
        "an envelope without signatures": dsse({"signatures": []}),
        "an envelope with another payload": dsse({"payload": b64(b"another")}),
        "an envelope with a payload that is not base64": dsse({"payload": "%"}),
        "a verifier that is no key": dsse({}, b64(b"key")),
        "a verifier that is an RSA key": dsse({}, b64(pem(rsa_key.public_key()))),
    }


def _refused_entries() -> dict[str, Any]:
    key, other = (ec.generate_private_key(ec.SECP256R1()) for _ in range(2))
    good, envelope = _hashedrekord(key, b"x"), _dsse(key)
    stolen, foreign = _hashedrekord(key, b"x"), _dsse(key)
    stolen["spec"]["signature"]["content"] = b64(sign(other, b"x"))
    foreign["spec"]["proposedContent"]["verifiers"] = [b64(pem(other.public_key()))]
    digest = {"algorithm": "sha256", "value": "00" * 32}
    signatures = [{"signature": "AAAA", "verifier": b64(pem(key.public_key()))}]
    settled = {**envelope, "spec": {"envelopeHash": digest, "payloadHash": digest, "signatures": signatures}}
    short = _hashedrekord(key, b"x")
    short["spec"]["data"]["hash"]["value"] = "00"
    return _refused_envelopes() | {
        "another kind": {**good, "kind": "intoto"},
        "another version": {**good, "apiVersion": "0.0.2"},
        "no spec": {"apiVersion": "0.0.1", "kind": "hashedrekord"},
        "an empty spec": {**good, "spec": {}},
        "an empty dsse spec": {**envelope, "spec": {}},
        "another key's signature": stolen,
        "a verifier that did not sign": foreign,
        "a hash that is too short": short,
        "a dsse entry that is settled already": settled,
        "a list": [],
    }


REFUSED_ENTRIES = _refused_entries()


@pytest.mark.parametrize("which", REFUSED_ENTRIES)
def test_rekor_does_not_take(client: httpx.Client, which: str) -> None:
    size = client.get("/api/v1/log").json()["treeSize"]
    answer = client.post(ENTRIES, json=REFUSED_ENTRIES[which])
    assert answer.status_code == 400
    assert answer.json()["code"] == 400
    assert client.get("/api/v1/log").json()["treeSize"] == size


@pytest.mark.parametrize(
    ("path", "status", "body"),
    [
        (f"{ENTRIES}?logIndex=99999", 404, None),
        (f"{ENTRIES}/{'0' * 64}", 404, None),
        (f"{ENTRIES}/{'0' * 80}", 404, None),
        (ENTRIES, 422, {"code": 602, "message": "logIndex in query is required"}),
        (
            f"{ENTRIES}?logIndex=-1",
            422,
            {"code": 609, "message": "logIndex in query should be greater than or equal to 0"},
        ),
        (
            f"{ENTRIES}?logIndex=x",
            422,
            {"code": 601, "message": 'logIndex in query must be of type int64: "x"'},
        ),
        (
            f"{ENTRIES}/xyz",
            422,
            {"code": 605, "message": "entryUUID in path should match '^([0-9a-fA-F]{64}|[0-9a-fA-F]{80})$'"},
        ),
        ("/api/v1/log/proof", 422, {"code": 602, "message": "lastSize in query is required"}),
        (
            "/api/v1/log/proof?firstSize=2&lastSize=1",
            400,
            {"code": 400, "message": "firstSize(2) must be less than lastSize(1)"},
        ),
    ],
)
def test_a_question_without_an_answer(client: httpx.Client, path: str, status: int, body: Any) -> None:
    answer = client.get(path)
    assert answer.status_code == status
    assert (answer.json() if answer.content else None) == body


def test_a_proof_up_to_a_size_that_is_not_reached_is_refused(client: httpx.Client) -> None:
    size = client.get("/api/v1/log").json()["treeSize"]
    answer = client.get("/api/v1/log/proof", params={"lastSize": size + 1})
    wanted = f"the tree size requested({size + 1}) was greater than what is currently observable({size})"
    assert (answer.status_code, answer.json()) == (400, {"code": 400, "message": wanted})


def test_the_log_proves_that_it_only_grew(client: httpx.Client, key: ec.EllipticCurvePrivateKey) -> None:
    before = client.get("/api/v1/log").json()
    for _ in range(5):
        client.post(ENTRIES, json=_hashedrekord(key))
    after = client.get("/api/v1/log").json()
    first, last = before["treeSize"], after["treeSize"]
    proof = client.get("/api/v1/log/proof", params={"firstSize": first, "lastSize": last}).json()
    assert proof["rootHash"] == after["rootHash"]
    roots = bytes.fromhex(before["rootHash"]), bytes.fromhex(after["rootHash"])
    path = [bytes.fromhex(each) for each in proof["hashes"]]
    assert roots_from_consistency(first, last, path, roots[0]) == roots


def test_an_entry_is_proved_to_be_in_the_tree_of_now(client: httpx.Client, key: ec.EllipticCurvePrivateKey) -> None:
    entry_id, _ = _only(client.post(ENTRIES, json=_hashedrekord(key)).json())
    for _ in range(5):
        client.post(ENTRIES, json=_hashedrekord(key))
    now = client.get("/api/v1/log").json()
    entry = client.get(f"{ENTRIES}/{entry_id}").json()[entry_id]
    proof = entry["verification"]["inclusionProof"]
    assert (proof["rootHash"], proof["treeSize"]) == (now["rootHash"], now["treeSize"])
    path = [bytes.fromhex(each) for each in proof["hashes"]]
    root = root_from_inclusion(bytes.fromhex(entry_id[16:]), entry["logIndex"], proof["treeSize"], path)
    assert root.hex() == proof["rootHash"]


def test_too_many_questions_at_once_are_refused(client: httpx.Client) -> None:
    answer = client.post(f"{ENTRIES}/retrieve", json={"logIndexes": list(range(11))})
    assert (answer.status_code, answer.json()["message"]) == (422, "more than max allowed 10 entries in request")


@pytest.mark.parametrize("path", [ENTRIES, f"{ENTRIES}/retrieve", "/api/v2/signingCert", "/api/v1/signingCert"])
@pytest.mark.parametrize("body", [b"", b"{", b"[]", b"\xff"])
def test_a_body_that_is_not_a_json_object_is_a_400(client: httpx.Client, path: str, body: bytes) -> None:
    answer = client.post(path, content=body)
    assert answer.status_code == 400
    assert isinstance(answer.json()["message"], str)
