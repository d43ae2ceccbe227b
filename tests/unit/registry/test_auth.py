import base64
import json
import time
from collections.abc import Callable

import httpx
import pytest

from imagepipe.errors import CredentialsError, PermissionRefusedError, RefusedError, UnavailableError
from imagepipe.http.client import open_client
from imagepipe.model.result import Credential
from imagepipe.registry.auth import Challenge, RegistryAuth, Wanted
from imagepipe.registry.token import parse_token
from tests.unit.registry.harbor_double import HarborDouble, jwt

BOB = Credential("bob", "pa55")
MANIFEST = "/v2/p/r/manifests/1"


class Now:
    def __init__(self) -> None:
        self.seconds = 1000.0

    def __call__(self) -> float:
        return self.seconds


def client(
    harbor: HarborDouble, credential: Credential | None = BOB, now: Now | None = None, url: str = "https://vic.example"
) -> httpx.Client:
    auth = RegistryAuth("vic.example", url, credential, clock=now or Now())
    return open_client(url, auth=auth, transport=httpx.MockTransport(harbor))


def test_the_token_that_the_challenge_asks_for_is_fetched_and_sent() -> None:
    harbor = HarborDouble()
    assert client(harbor).get(MANIFEST).status_code == 200
    (asked,) = harbor.token_requests
    assert dict(asked.url.params) == {"service": "harbor-registry", "scope": "repository:p/r:pull"}
    assert asked.headers["authorization"].startswith("Basic ")
    assert harbor.seen[-1].headers["authorization"].startswith("Bearer ")


def test_without_credentials_the_token_is_asked_for_anonymously() -> None:
    harbor = HarborDouble(rights={})
    with pytest.raises(CredentialsError, match="without credentials"):
        client(harbor, None).get(MANIFEST)
    assert "authorization" not in harbor.token_requests[0].headers


def test_a_token_is_used_again_for_the_same_repository() -> None:
    harbor = HarborDouble()
    registry = client(harbor)
    for _ in range(3):
        registry.get(MANIFEST)
    assert len(harbor.token_requests) == 1
    assert len(harbor.seen) == 5


def test_a_token_to_push_serves_for_pulling_too() -> None:
    harbor = HarborDouble()
    registry = client(harbor)
    registry.put(MANIFEST, content=b"{}")
    registry.get(MANIFEST)
    assert [request.url.params["scope"] for request in harbor.token_requests] == ["repository:p/r:pull,push"]


def test_a_token_to_pull_does_not_serve_for_pushing() -> None:
    harbor = HarborDouble()
    registry = client(harbor)
    registry.get(MANIFEST)
    registry.put(MANIFEST, content=b"{}")
    assert len(harbor.token_requests) == 2


def test_who_wanted_a_token_once_is_not_asked_without_one_again() -> None:
    harbor, now = HarborDouble(expires_in=300), Now()
    registry = client(harbor, now=now)
    registry.get(MANIFEST)
    registry.put(MANIFEST, content=b"{}")
    now.seconds += 300
    registry.get(MANIFEST)
    assert [request.url.path for request in harbor.seen] == [MANIFEST, *["/service/token", MANIFEST] * 3]


def test_a_right_that_is_missing_for_the_second_thing_is_told_with_one_question() -> None:
    harbor = HarborDouble(rights={("bob", "pa55"): ["pull"]})
    registry = client(harbor)
    registry.get(MANIFEST)
    with pytest.raises(PermissionRefusedError, match=r"bob may not push p/r at vic\.example"):
        registry.put(MANIFEST, content=b"{}")
    assert len(harbor.token_requests) == 2
    harbor.rights["bob", "pa55"] = ["pull", "push"]
    assert registry.put(MANIFEST, content=b"{}").status_code == 200


def test_a_token_is_fetched_anew_before_it_expires() -> None:
    harbor, now = HarborDouble(expires_in=300), Now()
    registry = client(harbor, now=now)
    registry.get(MANIFEST)
    now.seconds += 289
    registry.get(MANIFEST)
    assert len(harbor.token_requests) == 1
    now.seconds += 2
    registry.get(MANIFEST)
    assert len(harbor.token_requests) == 2


def test_a_token_that_is_no_longer_taken_is_fetched_anew_once_though_harbor_then_asks_for_basic() -> None:
    harbor = HarborDouble()
    registry = client(harbor)
    registry.get(MANIFEST)
    harbor.revoked.add(harbor.seen[-1].headers["authorization"].removeprefix("Bearer "))
    assert registry.get(MANIFEST).status_code == 200
    assert len(harbor.token_requests) == 2


def test_a_wrong_password_is_told_though_harbor_hands_out_a_token_for_it() -> None:
    harbor = HarborDouble()
    with pytest.raises(CredentialsError, match="did not accept the user name and password of bob") as caught:
        client(harbor, Credential("bob", "wr0ng")).get(MANIFEST)
    assert "wr0ng" not in str(caught.value)
    assert len(harbor.token_requests) == 1


def test_a_missing_right_is_told_with_repository_action_and_user() -> None:
    harbor = HarborDouble(rights={("bob", "pa55"): ["pull"]})
    with pytest.raises(PermissionRefusedError, match=r"bob may not push p/r at vic\.example"):
        client(harbor).put(MANIFEST, content=b"{}")


def test_a_registry_that_refuses_what_its_own_token_grants_is_told_apart() -> None:
    harbor = HarborDouble()
    registry = client(harbor)
    harbor.revoked.update(jwt("bob", "p/r", ["pull", "push", f"serial-{number}"]) for number in range(5))
    with pytest.raises(CredentialsError, match="rejects the token that it gave to bob"):
        registry.get(MANIFEST)
    assert len(harbor.token_requests) == 1


def test_after_a_refusal_the_next_request_asks_for_a_token_again() -> None:
    harbor = HarborDouble(rights={("bob", "pa55"): []})
    registry = client(harbor)
    with pytest.raises(PermissionRefusedError):
        registry.get(MANIFEST)
    harbor.rights["bob", "pa55"] = ["pull"]
    assert registry.get(MANIFEST).status_code == 200


def test_an_access_token_is_taken_where_there_is_no_token() -> None:
    harbor = HarborDouble(token_field="access_token")
    assert client(harbor).get(MANIFEST).status_code == 200


def test_basic_is_answered_with_basic_and_remembered() -> None:
    harbor = HarborDouble(challenge="Basic")
    registry = client(harbor)
    for _ in range(2):
        assert registry.get(MANIFEST).status_code == 200
    assert len(harbor.seen) == 3


def test_basic_that_is_refused_is_a_matter_of_credentials() -> None:
    harbor = HarborDouble(challenge="Basic")
    with pytest.raises(CredentialsError, match="did not accept"):
        client(harbor, Credential("bob", "wr0ng")).get(MANIFEST)
    with pytest.raises(CredentialsError, match="without credentials"):
        client(harbor, None).get(MANIFEST)


@pytest.mark.parametrize(
    ("registry", "realm"),
    [
        ("https://vic.example", "http://evil.example/service/token"),
        ("https://vic.example", "http://vic.example/service/token"),
        ("http://vic.example", "https://evil.example/service/token"),
        ("http://vic.example", "http://evil.example/service/token"),
        ("https://vic.example", "ftp://vic.example/service/token"),
    ],
)
def test_a_password_is_not_sent_where_it_could_be_read(registry: str, realm: str) -> None:
    harbor = HarborDouble(realm=realm)
    with pytest.raises(RefusedError, match="no password is sent there"):
        client(harbor, url=registry).get(MANIFEST)
    assert harbor.token_requests == []


@pytest.mark.parametrize(
    ("registry", "realm"),
    [
        ("https://vic.example", "https://auth.example/service/token"),
        ("http://127.0.0.1:5000", "http://127.0.0.1:5001/service/token"),
        ("http://vic.example", "https://vic.example/service/token"),
    ],
)
def test_a_token_service_over_tls_or_on_the_same_plain_host_is_asked(registry: str, realm: str) -> None:
    assert client(HarborDouble(realm=realm), url=registry).get(MANIFEST).status_code == 200


def test_nothing_is_told_to_another_host_even_if_it_asks() -> None:
    asked: list[httpx.Request] = []

    def storage(request: httpx.Request) -> httpx.Response:
        asked.append(request)
        if request.url.host == "vic.example":
            return httpx.Response(307, headers={"Location": "https://storage.example/v2/p/r/blobs/x"})
        return httpx.Response(401, headers={"WWW-Authenticate": 'Bearer realm="https://storage.example/token"'})

    auth = RegistryAuth("vic.example", "https://vic.example", BOB)
    registry = open_client("https://vic.example", auth=auth, transport=httpx.MockTransport(storage))
    assert registry.get("/v2/p/r/blobs/x", follow_redirects=True).status_code == 401
    assert [request.url.host for request in asked] == ["vic.example", "storage.example"]
    assert registry.get("https://storage.example/v2/p/r/manifests/1").status_code == 401
    assert all("authorization" not in request.headers for request in asked)


@pytest.mark.parametrize("status", [401, 403, 500])
def test_a_token_service_that_refuses_is_quoted(status: int) -> None:
    kinds = {401: CredentialsError, 403: PermissionRefusedError, 500: UnavailableError}

    def handle(request: httpx.Request) -> httpx.Response:
        if request.url.path == "/token":
            return httpx.Response(status, json={"errors": [{"code": "NO", "message": "go away"}]})
        return httpx.Response(401, headers={"WWW-Authenticate": 'Bearer realm="https://vic.example/token"'})

    auth = RegistryAuth("vic.example", "https://vic.example", BOB)
    registry = open_client("https://vic.example", auth=auth, transport=httpx.MockTransport(handle))
    with pytest.raises(kinds[status], match="go away"):
        registry.get(MANIFEST)


def test_a_token_request_has_a_deadline_too() -> None:
    harbor = HarborDouble()
    client(harbor).get(MANIFEST)
    assert harbor.token_requests[0].extensions["timeout"]["read"] == 65.0


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"{}",
        b"[]",
        b'{"token": 3}',
        b'{"token": ""}',
        b'{"token": "a\\r\\nb"}',
        pytest.param(b"[" * 99_999, id="deep"),
    ],
)
def test_a_token_service_without_a_token_is_broken(body: bytes) -> None:
    with pytest.raises(UnavailableError, match="without a token"):
        parse_token(body, 0.0, "vic.example")


@pytest.mark.parametrize("claims", [b"{", pytest.param(b"[" * 99_999, id="deep"), b'{"sub": "bob"}'])
def test_a_token_that_cannot_be_read_says_nothing_of_its_holder(claims: bytes) -> None:
    text = f"a.{base64.urlsafe_b64encode(claims).decode().rstrip('=')}.c"
    token = parse_token(json.dumps({"token": text}).encode(), 0.0, "vic.example")
    assert token.subject is None
    assert not token.allows("p/r", "pull")
    assert text not in repr(token)


def test_rights_and_a_lifetime_that_make_no_sense_are_none() -> None:
    claims = base64.urlsafe_b64encode(b'{"sub": "bob", "access": [{"name": "p/r", "actions": 5}]}').decode()
    token = parse_token(json.dumps({"token": f"a.{claims}.c"}).encode(), 0.0, "vic.example")
    assert (token.subject, token.granted) == ("bob", frozenset())
    with pytest.raises(UnavailableError, match="without a token"):
        parse_token(b'{"token": "a", "expires_in": 1' + b"0" * 400 + b"}", 0.0, "vic.example")


def parsing_s(header: str) -> float:
    """Returns the least processor time of three readings; the machine's other work is not in it."""
    least = []
    for _ in range(3):
        began = time.process_time()
        assert len(Challenge.parse([header])) == 1
        least.append(time.process_time() - began)
    return min(least)


@pytest.mark.parametrize(
    "header_of",
    [
        lambda size: f"Basic {'x' * size}",
        lambda size: f"Bearer {'x' * (size // 2)}=,{'x' * (size // 2)}",
        lambda size: "Bearer " + 'a="' * (size // 3),
    ],
)
def test_a_challenge_sixteen_times_as_long_is_not_hundreds_of_times_the_work(header_of: Callable[[int], str]) -> None:
    """For every place in it, a word was read to its end: minutes for a header of 100 kB."""
    assert parsing_s(header_of(16_000)) < 96 * parsing_s(header_of(1_000))


@pytest.mark.parametrize(
    ("method", "path", "wanted"),
    [
        ("GET", "/v2/p/r/manifests/1", Wanted("p/r", "pull")),
        ("HEAD", "/v2/p/a/b/blobs/sha256:x", Wanted("p/a/b", "pull")),
        ("POST", "/v2/p/r/blobs/uploads/", Wanted("p/r", "push")),
        ("DELETE", "/v2/p/r/manifests/sha256:x", Wanted("p/r", "delete")),
        ("GET", "/v2/p/r/referrers/sha256:x", Wanted("p/r", "pull")),
        ("GET", "/v2/", Wanted("", "pull")),
    ],
)
def test_what_a_request_needs_is_read_from_method_and_path(method: str, path: str, wanted: Wanted) -> None:
    assert Wanted.by(httpx.Request(method, f"https://vic.example{path}")) == wanted


@pytest.mark.parametrize(
    ("header", "schemes"),
    [
        ('Bearer realm="https://a/t",service="s",scope="repository:p/r:pull,push"', ["bearer"]),
        ('Bearer realm="https://a/t", Basic realm="x"', ["bearer", "basic"]),
        ('Basic realm="x", Bearer realm="https://a/t",service="s"', ["basic", "bearer"]),
        ("Negotiate", ["negotiate"]),
        ("", []),
        ("=", []),
    ],
)
def test_challenges_are_told_apart(header: str, schemes: list[str]) -> None:
    found = Challenge.parse([header])
    assert [challenge.scheme for challenge in found] == schemes
    for challenge in found:
        if challenge.scheme == "bearer":
            assert challenge.get("realm") == "https://a/t"


def test_a_mount_asks_for_the_right_to_read_where_the_blob_lies() -> None:
    request = httpx.Request("POST", "https://vic.example/v2/prod/r/blobs/uploads/?mount=sha256%3Ax&from=dev%2Fr")
    assert Wanted.by(request) == Wanted("prod/r", "push", "dev/r")
    assert Wanted.by(request).scopes == ["repository:prod/r:pull,push", "repository:dev/r:pull"]


def test_who_may_not_read_where_the_blob_lies_is_told_so() -> None:
    harbor = HarborDouble()
    with pytest.raises(PermissionRefusedError, match="bob may not pull dev/r"):
        client(harbor).post("/v2/p/r/blobs/uploads/?mount=sha256:x&from=dev/r")
    (asked,) = harbor.token_requests
    assert asked.url.params.get_list("scope") == ["repository:p/r:pull,push", "repository:dev/r:pull"]
