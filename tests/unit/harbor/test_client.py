import httpx
import pytest

from imagepipe.errors import CredentialsError, PermissionRefusedError, UnavailableError
from imagepipe.harbor.client import Call
from imagepipe.harbor.connection import Connection
from imagepipe.model.result import Credential
from tests.unit.harbor.fake import FakeHarbor, refused

LIST = Call("GET", "/projects", "list projects")
MAKE = Call("POST", "/projects", "create project q", body={"project_name": "q", "metadata": {}})


def test_a_wrong_password_is_tried_once_and_the_lock_is_waited_out() -> None:
    harbor = FakeHarbor(user=None)
    client = harbor.client()
    with pytest.raises(CredentialsError, match="log in to Harbor"):
        client.prove()
    assert harbor.requests == ["GET /users/current"]
    assert harbor.clock.slept == []
    client.call(LIST)
    assert sum(harbor.clock.slept) > 1.5


def test_nobody_waits_once_the_lock_is_over() -> None:
    harbor = FakeHarbor(user=None)
    client = harbor.client()
    with pytest.raises(CredentialsError):
        client.prove()
    harbor.clock.now_s += 2
    client.call(LIST)
    assert harbor.clock.slept == []


def test_who_was_known_is_asked_again_after_somebody_else_locked_the_name() -> None:
    harbor = FakeHarbor()
    client = harbor.client()
    client.prove()
    harbor.once("POST /projects", refused(401, "unauthorized"))
    assert client.call(MAKE).status_code == 201
    assert harbor.count("POST /projects") == 2
    assert sum(harbor.clock.slept) > 1.5


def test_who_is_no_longer_known_is_told_after_one_more_try() -> None:
    harbor = FakeHarbor()
    client = harbor.client()
    client.prove()
    harbor.always("POST /projects", lambda: refused(401, "unauthorized"))
    with pytest.raises(CredentialsError, match="create project q"):
        client.call(MAKE)
    assert harbor.count("POST /projects") == 2


def test_a_403_before_any_proof_is_looked_into() -> None:
    harbor = FakeHarbor(user=None)
    with pytest.raises(CredentialsError, match="log in to Harbor"):
        harbor.client().call(Call("GET", "/projects/p2", "look at p2"))


def test_a_403_of_a_known_caller_is_a_missing_right() -> None:
    harbor = FakeHarbor()
    with pytest.raises(PermissionRefusedError, match="look at p2"):
        harbor.client().call(Call("GET", "/projects/p2", "look at p2"))
    assert harbor.count("GET /users/current") == 1


def test_a_read_that_breaks_is_repeated_and_a_write_is_not() -> None:
    harbor = FakeHarbor()
    client = harbor.client()
    harbor.once("GET /projects", refused(500))
    assert client.json(LIST)
    harbor.once("POST /projects", refused(500))
    with pytest.raises(UnavailableError, match="UNKNOWN"):
        client.call(MAKE)
    assert harbor.count("POST /projects") == 1


def test_a_read_that_stays_broken_says_so_in_harbors_words() -> None:
    harbor = FakeHarbor()
    harbor.always("GET /projects", lambda: refused(500, "internal server error"))
    with pytest.raises(UnavailableError, match=r"list projects: UNKNOWN: internal server error \(HTTP 500\)"):
        harbor.client().call(LIST)
    assert harbor.count("GET /projects") == 4


def test_a_read_that_gets_no_answer_says_so() -> None:
    harbor = FakeHarbor()

    def away(request: httpx.Request) -> httpx.Response:
        raise httpx.ConnectError("certificate verify failed: CERTIFICATE_VERIFY_FAILED")

    harbor.answers["GET /projects"] = away
    with pytest.raises(UnavailableError, match="list projects"):
        harbor.client().call(LIST)


@pytest.mark.parametrize("text", ["<html>welcome</html>", pytest.param("[" * 100_000, id="deep")])
def test_an_answer_that_is_no_json_is_not_harbors(text: str) -> None:
    harbor = FakeHarbor()
    harbor.always("GET /projects", lambda: httpx.Response(200, text=text))
    with pytest.raises(UnavailableError, match="not JSON"):
        harbor.client().json(LIST)


def test_names_are_names_flags_are_words_and_no_cookie_goes_along() -> None:
    harbor = FakeHarbor()
    harbor.always("GET /projects", lambda: httpx.Response(200, json=[], headers={"Set-Cookie": "sid=1; Path=/"}))
    client = harbor.client()
    for _ in range(2):
        client.call(Call("GET", "/projects", "list", {"with_detail": True, "page": 2}))
    assert harbor.requests[-1] == "GET /projects?with_detail=true&page=2"
    assert harbor.headers[-1]["x-is-resource-name"] == "true"
    assert "cookie" not in harbor.headers[-1]


def test_who_was_known_all_the_while_is_asked_about_only_when_the_proof_is_old() -> None:
    harbor = FakeHarbor()
    client = harbor.client()
    client.prove()
    assert client.still_known(after_s=1.0)
    assert len(harbor.requests) == 1
    harbor.clock.now_s += 1.1
    assert client.still_known(after_s=1.0)
    harbor.once("GET /users/current", refused(401))
    assert not client.still_known()
    assert sum(harbor.clock.slept) > 1.5


def test_a_password_shows_in_no_repr() -> None:
    connection = Connection(url="https://harbor.example", credential=Credential("ci", "hunter2"))
    assert "hunter2" not in repr(connection)
    assert "hunter2" not in repr(Call("POST", "/x", "x", body={"password": "hunter2"}))


def test_a_connection_closes_with_its_client() -> None:
    closed: list[bool] = []

    class Transport(httpx.MockTransport):
        def close(self) -> None:
            closed.append(True)

    transport = Transport(FakeHarbor())
    connection = Connection(url="https://harbor.example", credential=Credential("admin", "x"), transport=transport)
    client = connection.client("/api/v2.0")
    client.call(Call("GET", "/systeminfo", "x"))
    del client
    assert closed
