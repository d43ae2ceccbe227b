"""The sandbox's Sigstore, held to what sigstore-python, cosign and Rekor's clients were seen to rely on."""

import base64
import hashlib
import json
import signal
import stat
import subprocess
import sys
import time
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import httpx
import jwt
import pytest
from cryptography import x509
from sigstore import dsse
from sigstore.errors import VerificationError
from sigstore.models import Bundle
from sigstore.oidc import IdentityError, IdentityToken
from sigstore.verify import policy

from imagepipe.sandbox.sigstore import SigstoreConfig
from tests.contract.sigstore_merkle import roots_from_consistency
from tests.contract.sigstore_server import EMAIL_CLAIMS, Sigstore, bound_socket, served, wait_until_ready

STATEMENT = {
    "_type": "https://in-toto.io/Statement/v1",
    "subject": [{"name": "es-sandbox/hello", "digest": {"sha256": "f4" * 32}}],
    "predicateType": "https://sigstore.dev/cosign/sign/v1",
    "predicate": {},
}
GITHUB_CLAIMS = {
    "sub": "repo:acme/app:ref:refs/heads/main",
    "event_name": "push",
    "sha": "a1" * 20,
    "workflow": "release",
    "repository": "acme/app",
    "repository_owner": "acme",
    "ref": "refs/heads/main",
    "run_id": "7",
    "run_attempt": "2",
    # longer than 127 bytes, where DER lengths change their form
    "job_workflow_ref": f"acme/app/.github/workflows/{'release-' * 14}.yml@refs/heads/main",
}
GITLAB_CLAIMS = {
    "sub": "project_path:acme/app:ref_type:branch:ref:main",
    "ci_config_ref_uri": "gitlab.com/acme/app//.gitlab-ci.yml@refs/heads/main",
    "project_path": "acme/app",
    "ref": "main",
    "ref_type": "branch",
}


@pytest.fixture(autouse=True)
def _no_proxy(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")


@pytest.fixture(scope="module")
def sigstore(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Sigstore]:
    with served(tmp_path_factory.mktemp("sigstore") / "state") as running:
        yield running


def _statement() -> dsse.Statement:
    return dsse.Statement(json.dumps(STATEMENT).encode())


def _signed(sigstore: Sigstore, **claims: Any) -> Bundle:
    with sigstore.signing_context().signer(sigstore.identity(**claims)) as signer:
        return signer.sign_dsse(_statement())


def _email(sigstore: Sigstore, identity: str = "ci@example.com") -> policy.Identity:
    return policy.Identity(identity=identity, issuer=sigstore.url)


# Signing and verifying with sigstore-python


def test_a_statement_that_sigstore_python_signs_here_is_verified_by_it(sigstore: Sigstore) -> None:
    raw = _signed(sigstore).to_json()
    payload_type, payload = sigstore.verifier().verify_dsse(Bundle.from_json(raw), _email(sigstore))
    assert payload_type == "application/vnd.in-toto+json"
    assert json.loads(payload) == STATEMENT


def test_an_artifact_that_sigstore_python_signs_here_is_verified_by_it(sigstore: Sigstore) -> None:
    with sigstore.signing_context().signer(sigstore.identity()) as signer:
        bundle = signer.sign_artifact(b"payload")
    sigstore.verifier().verify_artifact(b"payload", bundle, _email(sigstore))
    with pytest.raises(VerificationError):
        sigstore.verifier().verify_artifact(b"another payload", bundle, _email(sigstore))


def test_one_certificate_signs_several_statements(sigstore: Sigstore) -> None:
    with sigstore.signing_context().signer(sigstore.identity()) as signer:
        bundles = [signer.sign_dsse(_statement()) for _ in range(3)]
    assert len({bundle.signing_certificate.serial_number for bundle in bundles}) == 1
    for bundle in bundles:
        sigstore.verifier().verify_dsse(bundle, _email(sigstore))


@pytest.mark.parametrize(
    ("identity", "issuer"), [("eve@example.com", None), ("ci@example.com", "https://accounts.google.com")]
)
def test_another_identity_or_issuer_is_rejected(sigstore: Sigstore, identity: str, issuer: str | None) -> None:
    wanted = policy.Identity(identity=identity, issuer=issuer or sigstore.url)
    with pytest.raises(VerificationError):
        sigstore.verifier().verify_dsse(_signed(sigstore), wanted)


def test_a_bundle_is_rejected_by_whoever_trusts_another_sigstore(sigstore: Sigstore, tmp_path: Path) -> None:
    with served(tmp_path / "other") as other, pytest.raises(VerificationError):
        other.verifier().verify_dsse(_signed(sigstore), _email(sigstore))


@pytest.mark.parametrize(
    ("claims", "identity"),
    [
        (EMAIL_CLAIMS, "ci@example.com"),
        ({"sub": "https://ci.example.com/team/job"}, "https://ci.example.com/team/job"),
        (GITHUB_CLAIMS, f"https://github.com/{GITHUB_CLAIMS['job_workflow_ref']}"),
        (GITLAB_CLAIMS, "https://gitlab.com/acme/app//.gitlab-ci.yml@refs/heads/main"),
    ],
    ids=["verified email", "URI subject", "GitHub workflow", "GitLab job"],
)
def test_the_certificate_names_whom_the_token_names(sigstore: Sigstore, claims: dict[str, Any], identity: str) -> None:
    wanted = policy.AllOf([_email(sigstore, identity), policy.OIDCIssuerV2(sigstore.url)])
    sigstore.verifier().verify_dsse(_signed(sigstore, **claims), wanted)


def test_the_claims_of_a_github_workflow_can_be_required(sigstore: Sigstore) -> None:
    bundle = _signed(sigstore, **GITHUB_CLAIMS)
    required: list[policy.VerificationPolicy] = [
        policy.GitHubWorkflowTrigger("push"),
        policy.GitHubWorkflowSHA(GITHUB_CLAIMS["sha"]),
        policy.GitHubWorkflowName("release"),
        policy.GitHubWorkflowRepository("acme/app"),
        policy.GitHubWorkflowRef("refs/heads/main"),
        policy.OIDCBuildSignerURI(f"https://github.com/{GITHUB_CLAIMS['job_workflow_ref']}"),
        policy.OIDCSourceRepositoryURI("https://github.com/acme/app"),
        policy.OIDCSourceRepositoryDigest(GITHUB_CLAIMS["sha"]),
        policy.OIDCSourceRepositoryOwnerURI("https://github.com/acme"),
        policy.OIDCRunInvocationURI("https://github.com/acme/app/actions/runs/7/attempts/2"),
    ]
    sigstore.verifier().verify_dsse(bundle, policy.AllOf(required))
    with pytest.raises(VerificationError):
        sigstore.verifier().verify_dsse(bundle, policy.OIDCRunnerEnvironment("github-hosted"))


def test_with_a_timestamp_authority_a_bundle_carries_a_timestamp_that_verifies_alone(tmp_path: Path) -> None:
    with served(tmp_path, tsa=True) as sigstore:
        document = json.loads(_signed(sigstore).to_json())
        assert len(document["verificationMaterial"]["timestampVerificationData"]["rfc3161Timestamps"]) == 1
        # Without the log's own promise the stamp is the only time left to judge the certificate by.
        [entry] = document["verificationMaterial"]["tlogEntries"]
        del entry["inclusionPromise"]
        stripped = Bundle.from_json(json.dumps(document))
        sigstore.verifier().verify_dsse(stripped, _email(sigstore))
        another = json.loads(_signed(sigstore).to_json())["verificationMaterial"]["timestampVerificationData"]
        document["verificationMaterial"]["timestampVerificationData"] = another
        with pytest.raises(VerificationError, match="not enough sources of verified time"):
            sigstore.verifier().verify_dsse(Bundle.from_json(json.dumps(document)), _email(sigstore))


def test_without_a_timestamp_authority_none_is_named(sigstore: Sigstore) -> None:
    document = json.loads((sigstore.state_dir / "trust_config.json").read_text())
    assert "tsaUrls" not in document["signingConfig"]
    assert document["trustedRoot"]["timestampAuthorities"] == []
    assert httpx.post(f"{sigstore.url}/api/v1/timestamp").status_code == 404


# The identity provider


def test_the_issuer_publishes_the_key_that_its_tokens_are_signed_with(sigstore: Sigstore) -> None:
    discovery = httpx.get(f"{sigstore.url}/.well-known/openid-configuration").json()
    assert discovery["issuer"] == sigstore.url
    keys = jwt.PyJWKSet.from_dict(httpx.get(discovery["jwks_uri"]).json())
    token = sigstore.mint(**EMAIL_CLAIMS, team="es")
    key = keys[jwt.get_unverified_header(token)["kid"]]
    claims = jwt.decode(token, key, algorithms=["ES256"], audience="sigstore", issuer=sigstore.url)
    assert claims.items() >= {**EMAIL_CLAIMS, "team": "es"}.items()
    assert claims["exp"] - claims["iat"] == 600


def test_a_token_may_live_for_years(sigstore: Sigstore) -> None:
    years_s = 10 * 365 * 24 * 3600
    bundle = _signed(sigstore, **EMAIL_CLAIMS, exp_s=years_s)
    lifetime = bundle.signing_certificate.not_valid_after_utc - bundle.signing_certificate.not_valid_before_utc
    assert lifetime == timedelta(minutes=10)


@pytest.mark.parametrize("wanted", [b"{}", b"[]", b"nonsense", b'{"sub":""}', b'{"sub":"ci","exp_s":"1h"}'])
def test_a_token_is_not_minted_for_nobody_or_for_an_odd_time(sigstore: Sigstore, wanted: bytes) -> None:
    answer = httpx.post(f"{sigstore.url}/mint", content=wanted)
    assert answer.status_code == 400
    assert answer.json()["error"] == "invalid_request"


def test_sigstore_python_refuses_an_expired_token_before_it_asks(sigstore: Sigstore) -> None:
    with pytest.raises(IdentityError):
        IdentityToken(sigstore.mint(**EMAIL_CLAIMS, exp_s=-60))


# State


def test_private_files_are_for_their_owner_alone(sigstore: Sigstore) -> None:
    for folder in (sigstore.state_dir, sigstore.state_dir / "keys"):
        assert stat.S_IMODE(folder.stat().st_mode) == 0o700
    private = [path for path in sigstore.state_dir.rglob("*.pem") if b"PRIVATE KEY" in path.read_bytes()]
    assert {path.name for path in private} >= {"oidc.pem", "rekor.pem", "ctlog.pem", "fulcio-intermediate.pem"}
    assert {stat.S_IMODE(path.stat().st_mode) for path in private} == {0o600}


def test_the_trust_files_agree_with_each_other(sigstore: Sigstore) -> None:
    root = json.loads((sigstore.state_dir / "trusted_root.json").read_text())
    assert json.loads((sigstore.state_dir / "trust_config.json").read_text())["trustedRoot"] == root
    [authority] = root["certificateAuthorities"]
    chain = x509.load_pem_x509_certificates((sigstore.state_dir / "ca_chain.pem").read_bytes())
    named = [base64.b64decode(each["rawBytes"]) for each in authority["certChain"]["certificates"]]
    assert [x509.load_der_x509_certificate(each) for each in named] == chain
    for log, name in ((root["tlogs"][0], "rekor.pub"), (root["ctlogs"][0], "ctlog.pub")):
        body = "".join((sigstore.state_dir / name).read_text().splitlines()[1:-1])
        assert log["publicKey"]["rawBytes"] == body
        assert base64.b64decode(log["logId"]["keyId"]) == hashlib.sha256(base64.b64decode(body)).digest()
    assert httpx.get(f"{sigstore.url}/api/v1/log/publicKey").content == (sigstore.state_dir / "rekor.pub").read_bytes()


class _Process:
    """The stand-in as the sandbox starts it."""

    def __init__(self, folder: Path, port: int) -> None:
        self.sigstore = Sigstore(f"http://127.0.0.1:{port}", folder / "state")
        config = {
            "listen": {"host": "127.0.0.1", "port": port},
            "external_url": self.sigstore.url,
            "state_dir": str(self.sigstore.state_dir),
            "clock_offset_s": 0,
        }
        path = folder / "sigstore.json"
        path.write_text(json.dumps(config))
        command = [sys.executable, "-m", "imagepipe.sandbox.sigstore", "--config", str(path)]
        self._process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)

    def __enter__(self) -> Sigstore:
        wait_until_ready(self.sigstore.url)
        return self.sigstore

    def __exit__(self, *_: object) -> None:
        self._process.kill()
        self._process.wait()

    def end(self, number: signal.Signals) -> tuple[int, float]:
        """Returns the exit status and the seconds it took."""
        start = time.monotonic()
        self._process.send_signal(number)
        return self._process.wait(timeout=10), time.monotonic() - start


def test_old_bundles_and_the_log_outlive_the_process(tmp_path: Path) -> None:
    with bound_socket() as held:
        port = held.getsockname()[1]
    first = _Process(tmp_path, port)
    with first as sigstore, httpx.Client(base_url=sigstore.url) as client:
        old = _signed(sigstore).to_json()
        entry_index = json.loads(old)["verificationMaterial"]["tlogEntries"][0]["logIndex"]
        before = client.get("/api/v1/log").json()
        [(entry_id, entry)] = client.get("/api/v1/log/entries", params={"logIndex": entry_index}).json().items()
        root = (sigstore.state_dir / "trusted_root.json").read_bytes()
        # The client's connection is still open, as a pool's is.
        status, took_s = first.end(signal.SIGTERM)
        # A quarter of a second when nothing else runs; a server that waits for its clients would never end.
        assert (status, took_s < 2) == (0, True)
    second = _Process(tmp_path, port)
    with second as sigstore:
        assert (sigstore.state_dir / "trusted_root.json").read_bytes() == root
        sigstore.verifier().verify_dsse(Bundle.from_json(old), _email(sigstore))
        after = httpx.get(f"{sigstore.url}/api/v1/log").json()
        assert (after["rootHash"], after["treeSize"]) == (before["rootHash"], before["treeSize"])
        again = httpx.get(f"{sigstore.url}/api/v1/log/entries/{entry_id}").json()[entry_id]
        for name in ("body", "integratedTime", "logID", "logIndex"):
            assert again[name] == entry[name]
        _signed(sigstore)
        second.end(signal.SIGKILL)
    third = _Process(tmp_path, port)
    with third as sigstore:
        grown = httpx.get(f"{sigstore.url}/api/v1/log").json()
        assert grown["treeSize"] == before["treeSize"] + 1
        old_size, new_size = before["treeSize"], grown["treeSize"]
        sizes = {"firstSize": old_size, "lastSize": new_size}
        proof = httpx.get(f"{sigstore.url}/api/v1/log/proof", params=sizes).json()
        roots = bytes.fromhex(before["rootHash"]), bytes.fromhex(grown["rootHash"])
        path = [bytes.fromhex(each) for each in proof["hashes"]]
        assert roots_from_consistency(old_size, new_size, path, roots[0]) == roots
        sigstore.verifier().verify_dsse(_signed(sigstore), _email(sigstore))


def test_a_line_that_a_crash_tore_is_cut_off_and_the_log_goes_on(tmp_path: Path) -> None:
    with served(tmp_path) as sigstore:
        _signed(sigstore)
        before = httpx.get(f"{sigstore.url}/api/v1/log").json()
    with (tmp_path / "log.jsonl").open("ab") as file:
        file.write(b'{"body": "torn')
    with served(tmp_path) as sigstore:
        after = httpx.get(f"{sigstore.url}/api/v1/log").json()
        assert (after["rootHash"], after["treeSize"]) == (before["rootHash"], before["treeSize"])
        sigstore.verifier().verify_dsse(_signed(sigstore), _email(sigstore))
    with served(tmp_path) as sigstore:
        assert httpx.get(f"{sigstore.url}/api/v1/log").json()["treeSize"] == before["treeSize"] + 1


def test_a_log_that_another_process_writes_is_not_forked(tmp_path: Path) -> None:
    with served(tmp_path) as sigstore:
        size = (tmp_path / "log.jsonl").stat().st_size
        with (tmp_path / "log.jsonl").open("ab") as file:
            file.write(b"\n")
        proposed = _entry_of(_signed_artifact_elsewhere(tmp_path / "elsewhere"))
        answer = httpx.post(f"{sigstore.url}/api/v1/log/entries", json=proposed)
        assert (answer.status_code, answer.json()["code"]) == (500, 500)
        assert (tmp_path / "log.jsonl").stat().st_size == size + 1


def _signed_artifact_elsewhere(folder: Path) -> Bundle:
    with served(folder) as other, other.signing_context().signer(other.identity()) as signer:
        return signer.sign_artifact(b"payload")


def _entry_of(bundle: Bundle) -> Any:
    [entry] = json.loads(bundle.to_json())["verificationMaterial"]["tlogEntries"]
    return json.loads(base64.b64decode(entry["canonicalizedBody"]))


# Settings


@pytest.mark.parametrize(
    "document",
    [
        {"external_url": "http://127.0.0.1:1", "state_dir": "x", "surprise": 1},
        {"external_url": "http://127.0.0.1:1"},
        {"external_url": "http://127.0.0.1:1/base", "state_dir": "x"},
        {"external_url": "127.0.0.1:1", "state_dir": "x"},
    ],
)
def test_a_config_with_a_mistake_is_refused(document: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=r"setting|external_url"):
        SigstoreConfig.parse(document)


def test_the_config_says_where_to_listen() -> None:
    document = {
        "listen": {"host": "198.18.4.3", "port": 5031},
        "external_url": "http://198.18.4.3:5031",
        "state_dir": "/state",
        "clock_offset_s": 60,
    }
    config = SigstoreConfig.parse(document)
    assert (config.host, config.port, config.hostname) == ("198.18.4.3", 5031, "198.18.4.3")
    assert (config.state_dir, config.clock_offset_s, config.tsa) == (Path("/state"), 60, False)
