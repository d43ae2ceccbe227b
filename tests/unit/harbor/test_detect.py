from collections.abc import Callable
from typing import Any

import httpx
import pytest

from imagepipe.errors import CredentialsError, InputError, UnavailableError, UnsupportedError
from imagepipe.harbor.administration import open_administration
from imagepipe.harbor.connection import Connection
from imagepipe.harbor.detect import Detected, clean_version, detect
from imagepipe.harbor.features import SINCE, Gate
from imagepipe.model.result import Credential
from imagepipe.ports.administration import Administration
from tests.unit.harbor.fake import FakeHarbor, refused

Answers = dict[str, httpx.Response]
V1 = {"harbor_version": "v1.7.8-5d4ff4b4", "auth_mode": "ldap_auth", "with_admiral": False}
VIC = {**V1, "with_admiral": True, "admiral_endpoint": "https://vic.example:8282"}


def of(answers: dict[str, Callable[[], httpx.Response]], asked: list[httpx.Request] | None = None) -> Connection:
    def answer(request: httpx.Request) -> httpx.Response:
        if asked is not None:
            asked.append(request)
        return answers[request.url.path]() if request.url.path in answers else httpx.Response(404, text="<html>")

    credential = Credential("admin", "Harbor12345")
    return Connection(url="https://h.example", credential=credential, transport=httpx.MockTransport(answer))


def says(body: Any) -> Callable[[], httpx.Response]:
    return lambda: httpx.Response(200, json=body)


def test_harbor_2_is_known_by_its_version_endpoint_and_asked_as_nobody() -> None:
    asked: list[httpx.Request] = []
    found = detect(
        of({"/api/version": says({"version": "v2.0"}), "/api/v2.0/systeminfo": says({"auth_mode": "oidc_auth"})}, asked)
    )
    assert found == Detected("harbor-2", "", "oidc_auth")
    assert not any("authorization" in request.headers for request in asked)


def test_harbor_1_tells_its_version_to_everybody() -> None:
    assert detect(of({"/api/systeminfo": says(V1)})) == Detected("harbor-1", "1.7.8", "ldap_auth")


def test_a_harbor_with_admiral_is_told_from_a_plain_one() -> None:
    found = detect(of({"/api/systeminfo": says(VIC)}))
    assert (found.dialect, found.admiral_url) == ("admiral", "https://vic.example:8282")


@pytest.mark.parametrize("dialect", ["harbor-2", "harbor-1", "admiral"])
def test_a_dialect_can_be_forced_on_anything(dialect: str) -> None:
    assert detect(of({}), dialect=dialect) == Detected(dialect, forced=True)


def test_a_forced_dialect_that_is_not_spoken_is_named_with_the_way_back() -> None:
    connection = of({"/api/version": says({"version": "v2.0"})})
    with pytest.raises(InputError, match="as harbor-1: log in to Harbor") as caught:
        open_administration(
            url=connection.url,
            credential=connection.credential,
            dialect="harbor-1",
            transport=connection.transport,
        )
    assert "leave harbor.dialect out" in str(caught.value.hint)


def test_what_is_no_harbor_is_not_taken_for_one() -> None:
    with pytest.raises(UnavailableError, match="neither"):
        detect(of({}))
    with pytest.raises(UnavailableError, match="not JSON"):
        detect(of({"/api/version": lambda: httpx.Response(200, text="<html>")}))


@pytest.mark.parametrize("body", [{"version": "v3.0"}, {}, ["v2.0"]])
def test_an_api_from_the_future_is_refused_by_name(body: Any) -> None:
    with pytest.raises(UnsupportedError, match="version"):
        detect(of({"/api/version": says(body)}))


def test_a_dialect_that_there_is_not_is_refused() -> None:
    with pytest.raises(InputError, match="harbor-9"):
        detect(of({}), dialect="harbor-9")


def opened(harbor: FakeHarbor, **more: Any) -> Administration:
    def answer(request: httpx.Request) -> httpx.Response:
        return httpx.Response(200, json={"version": "v2.0"}) if request.url.path == "/api/version" else harbor(request)

    credential = Credential("admin", "Harbor12345")
    return open_administration(
        url="https://h.example", **{"credential": credential, "transport": httpx.MockTransport(answer), **more}
    )


def test_opening_proves_who_we_are_before_it_asks_anything_else() -> None:
    harbor = FakeHarbor()
    assert opened(harbor).version == "2.15.2"
    assert harbor.requests == ["GET /systeminfo", "GET /users/current", "GET /systeminfo"]


def test_opening_with_a_wrong_password_fails_after_one_try() -> None:
    harbor = FakeHarbor(user=None)
    with pytest.raises(CredentialsError, match="as admin"):
        opened(harbor)
    assert harbor.count("GET /users/current") == 1


def test_under_oidc_the_hint_speaks_of_cli_secrets() -> None:
    with pytest.raises(CredentialsError) as caught:
        opened(FakeHarbor(user=None, auth_mode="oidc_auth"))
    assert "CLI secret" in (caught.value.hint or "")


def test_opening_without_credentials_says_what_to_set() -> None:
    with pytest.raises(CredentialsError) as caught:
        opened(FakeHarbor(), credential=None)
    assert "harbor.username" in (caught.value.hint or "")


def test_an_answer_with_another_shape_names_the_field_and_not_its_value() -> None:
    harbor = FakeHarbor()
    harbor.always("GET /users/current", lambda: httpx.Response(200, json={"username": 17, "secret": "hunter2"}))
    with pytest.raises(UnavailableError, match="username") as caught:
        opened(harbor)
    assert "hunter2" not in caught.value.message


@pytest.mark.parametrize(
    ("version", "robots", "audit", "settings"),
    [
        ("v2.15.2-5d4ff4b4", True, "auditlog-exts", {"auto_sbom", "require_cosign", "require_notation"}),
        ("v2.10.3", True, "logs", {"require_cosign", "require_notation"}),
        ("v2.8.4-rc1", True, "logs", {"require_cosign"}),
        ("v2.1.0", False, "logs", set[str]()),
        ("dev-5d4ff4b4", True, "auditlog-exts", {"auto_sbom", "require_cosign", "require_notation"}),
        ("", True, "auditlog-exts", {"auto_sbom", "require_cosign", "require_notation"}),
    ],
)
def test_the_version_decides_what_is_offered(version: str, robots: bool, audit: str, settings: set[str]) -> None:
    harbor = FakeHarbor(version=version)
    administration = opened(harbor)
    assert (administration.robots is not None) is robots
    assert settings == {"auto_sbom", "require_cosign", "require_notation"} & set(administration.settings)
    project = next(administration.projects.list(name="p"))
    harbor.always(f"GET /projects/p/{audit}", lambda: httpx.Response(200, json=[]))
    assert list(administration.require_audit().entries(project)) == []


def test_a_hidden_version_counts_as_the_newest() -> None:
    assert all(Gate("unknown").has(feature) for feature in SINCE)
    assert opened(FakeHarbor(version="")).version == "unknown"


def test_a_missing_feature_names_both_versions() -> None:
    with pytest.raises(UnsupportedError, match=r"needs Harbor ≥ 2\.13, this is 2\.12\.1") as caught:
        Gate("2.12.1").require("audit-ext", "read the audit log")
    assert "2.13" in (caught.value.hint or "")


def test_versions_lose_their_letter_and_their_commit() -> None:
    assert [clean_version(text) for text in ("v2.15.2-5d4ff4b4", "2.15.2", "", "v1.7.8-rc1-a")] == [
        "2.15.2",
        "2.15.2",
        "",
        "1.7.8",
    ]


def test_systeminfo_that_refuses_says_nothing() -> None:
    harbor = FakeHarbor()
    harbor.always("GET /systeminfo", lambda: refused(403))
    assert opened(harbor).version == "unknown"
