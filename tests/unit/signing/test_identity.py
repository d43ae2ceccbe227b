import base64
import json
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from imagepipe.errors import IdentityError
from imagepipe.model.evidence import Identity
from imagepipe.signing.identity import IdentityToken, IdentityTokens, ambient_token
from tests.contract.signing_faults import Faulty, broken

NOW = datetime(2026, 3, 1, 12, 0, tzinfo=UTC)
LATER = int(NOW.timestamp()) + 600


class FixedClock:
    def now(self) -> datetime:
        return NOW


def part(document: object) -> str:
    return base64.urlsafe_b64encode(json.dumps(document).encode()).rstrip(b"=").decode()


def jwt(**claims: Any) -> str:
    given = {"sub": "ci", "iss": "https://idp.example", "aud": "sigstore", "exp": LATER} | claims
    return f"{part({'alg': 'none'})}.{part({name: value for name, value in given.items() if value is not None})}.c2ln"


def tokens(file: Path | None = None, raw: str | None = None, ambient: str | None = None) -> IdentityTokens:
    return IdentityTokens(clock=FixedClock(), file=file, raw=raw, ambient=lambda: ambient)


@pytest.mark.parametrize(
    ("claims", "identity"),
    [
        ({"email": "dev@example.com", "email_verified": True}, "dev@example.com"),
        ({"email": "dev@example.com", "email_verified": "true"}, "dev@example.com"),
        ({"email": "dev@example.com", "email_verified": False}, "ci"),
        ({"email": "dev@example.com"}, "ci"),
        ({"job_workflow_ref": "uf/es/.github/workflows/i.yml@r"}, "https://github.com/uf/es/.github/workflows/i.yml@r"),
        ({"ci_config_ref_uri": "gitlab.com/uf/es//.gitlab-ci.yml@r"}, "https://gitlab.com/uf/es//.gitlab-ci.yml@r"),
        ({}, "ci"),
    ],
)
def test_a_token_names_whom_the_authority_would_write(claims: dict[str, Any], identity: str) -> None:
    assert IdentityToken.parse(jwt(**claims)).signatory == Identity(identity, "https://idp.example")


@pytest.mark.parametrize(
    ("federated", "issuer"),
    [
        ({"connector_id": "https://github.com/login/oauth"}, "https://github.com/login/oauth"),
        ({"connector_id": None}, "https://idp.example"),
        ("odd", "https://idp.example"),
    ],
)
def test_behind_a_federation_the_issuer_is_the_provider_that_was_asked(federated: object, issuer: str) -> None:
    assert IdentityToken.parse(jwt(federated_claims=federated)).signatory.issuer == issuer


def test_the_file_goes_before_the_environment_and_that_before_the_ci_system(tmp_path: Path) -> None:
    path = tmp_path / "token"
    path.write_text(jwt(sub="file") + "\n")
    found = [
        tokens(file=path, raw=jwt(sub="env"), ambient=jwt(sub="ci")),
        tokens(raw=jwt(sub="env") + "\n", ambient=jwt(sub="ci")),
        tokens(ambient=jwt(sub="ci")),
    ]
    assert [each.token().signatory.identity for each in found] == ["file", "env", "ci"]


def test_a_file_is_read_anew_each_time(tmp_path: Path) -> None:
    path = tmp_path / "token"
    source = tokens(file=path)
    for name in ("first", "second"):
        path.write_text(jwt(sub=name))
        assert source.token().signatory.identity == name


def test_a_named_file_that_is_missing_is_not_replaced_by_another_identity(tmp_path: Path) -> None:
    with pytest.raises(IdentityError, match="cannot read the identity token: No such file"):
        tokens(file=tmp_path / "token", raw=jwt(), ambient=jwt()).token()


def test_a_file_that_is_no_text_is_refused(tmp_path: Path) -> None:
    (tmp_path / "token").write_bytes(b"\xff\xfe")
    with pytest.raises(IdentityError, match="it is not text"):
        tokens(file=tmp_path / "token").token()


def test_without_any_identity_the_hint_says_where_to_get_one() -> None:
    with pytest.raises(IdentityError, match="no identity to sign with") as caught:
        tokens().token()
    assert "id-token: write" in str(caught.value.hint)


def test_an_expired_token_is_refused_with_its_time() -> None:
    with pytest.raises(IdentityError, match="of ci expired at 2026-03-01T12:00:00Z"):
        tokens(raw=jwt(exp=int(NOW.timestamp()))).token()


@pytest.mark.parametrize("claim", ["iat", "nbf"])
def test_a_token_of_the_future_is_told_with_both_times(claim: str) -> None:
    now = int(NOW.timestamp())
    with pytest.raises(IdentityError, match="valid from 2026-03-01T12:01:00Z on, and here it is 2026-03-01T12:00:00Z"):
        tokens(raw=jwt(**{claim: now + 60})).token()
    assert tokens(raw=jwt(**{claim: now + 3})).token().signatory.identity == "ci"


def test_a_token_for_another_audience_is_refused() -> None:
    with pytest.raises(IdentityError, match="for audience 'vault', not 'sigstore'"):
        tokens(raw=jwt(aud="vault")).token()


def test_a_token_for_several_audiences_is_taken() -> None:
    assert tokens(raw=jwt(aud=["vault", "sigstore"])).token().signatory.identity == "ci"


@pytest.mark.parametrize(
    "claims", [{"sub": None}, {"iss": None}, {"iss": ""}, {"exp": None}, {"exp": "soon"}, {"exp": 1e300}]
)
def test_a_token_that_names_nobody_is_refused(claims: dict[str, Any]) -> None:
    with pytest.raises(IdentityError, match="lacks a usable sub, iss or exp"):
        tokens(raw=jwt(**claims)).token()


@pytest.mark.parametrize("raw", ["secret", "a.b", "a.!!.c", "a.c2VjcmV0.c", f"a.{part([])}.c", "é.é.é"])
def test_what_is_no_token_is_refused_without_repeating_it(raw: str) -> None:
    with pytest.raises(IdentityError, match="the identity token is not a JWT") as caught:
        tokens(raw=raw).token()
    assert raw not in str(caught.value)
    assert caught.value.__suppress_context__


def test_a_token_stays_out_of_the_repr() -> None:
    raw = jwt()
    assert raw not in repr(IdentityToken.parse(raw))
    assert raw not in repr(tokens(raw=raw))


# The CI system; GitHub, because it is asked first on every machine


@pytest.fixture
def github(monkeypatch: pytest.MonkeyPatch) -> Faulty:
    monkeypatch.setenv("GITHUB_ACTIONS", "true")
    monkeypatch.delenv("ACTIONS_ID_TOKEN_REQUEST_URL", raising=False)
    monkeypatch.delenv("ACTIONS_ID_TOKEN_REQUEST_TOKEN", raising=False)
    return Faulty()


def test_the_ci_system_is_asked_for_a_token(github: Faulty, monkeypatch: pytest.MonkeyPatch) -> None:
    with broken() as server:
        server.answers(200, {"value": jwt()})
        monkeypatch.setenv("ACTIONS_ID_TOKEN_REQUEST_URL", server.url)
        monkeypatch.setenv("ACTIONS_ID_TOKEN_REQUEST_TOKEN", "request-secret")
        assert ambient_token() == jwt()
        assert server.headers["Authorization"] == "bearer request-secret"


def test_a_workflow_without_the_permission_is_told_which_one(github: Faulty) -> None:
    with pytest.raises(IdentityError, match="insufficient OIDC token permissions") as caught:
        ambient_token()
    assert "id-token: write" in str(caught.value.hint)
