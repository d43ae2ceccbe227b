import pytest
from hypothesis import given
from hypothesis import strategies as st

from imagepipe.http.redact import redact

JWT = "eyJhbGciOiJSUzI1NiJ9.eyJzdWIiOiJib2IifQ.c2lnbmF0dXJl"


@pytest.mark.parametrize(
    "text",
    [
        "GET https://bob:hunter2@vic.example/v2/",
        "https://hunter2@vic.example/",
        "Authorization: Basic hunter2",
        "proxy-authorization: Bearer hunter2",
        "X-Registry-Auth: hunter2",
        "Set-Cookie: sid=hunter2; Path=/",
        "sent Bearer hunter2hunter2",
        '{"username": "bob", "password": "hunter2"}',
        "{'secret': 'hunter2'}",
        '{"auth":"hunter2"}',
        '{"identitytoken":"hunter2"}',
        "https://s3.example/blob?X-Amz-Signature=hunter2&x=1",
        "https://vic.example/token?access_token=hunter2",
    ],
)
def test_a_secret_does_not_come_through(text: str) -> None:
    assert "hunter2" not in redact(text)


def test_a_token_does_not_come_through_wherever_it_stands() -> None:
    assert redact(f"got {JWT}, why") == "got ***, why"


@pytest.mark.parametrize(
    "text",
    [
        "unauthorized to access repository: p/r, action: push",
        "https://vic.example:443/v2/p/r@sha256:abc",
        'Bearer realm="https://vic.example/service/token"',
        "resolve vic.example/p/r:1.4: HTTP 404",
    ],
)
def test_ordinary_words_stay(text: str) -> None:
    assert redact(text) == text


@given(st.text(max_size=200))
def test_doing_it_twice_changes_nothing_more(text: str) -> None:
    assert redact(redact(text)) == redact(text)
