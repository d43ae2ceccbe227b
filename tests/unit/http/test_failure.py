import ssl

import httpx
import pytest

from imagepipe.errors import (
    AccessError,
    CredentialsError,
    DeadlineError,
    ImagepipeError,
    NotFoundError,
    PermissionRefusedError,
    RefusedError,
    UnavailableError,
    UnsupportedError,
)
from imagepipe.http.failure import asking, complaints, refusal, words


def harbor(status: int, code: str, message: str) -> httpx.Response:
    return httpx.Response(status, json={"errors": [{"code": code, "message": message}]})


@pytest.mark.parametrize(
    ("status", "kind"),
    [
        (302, UnavailableError),
        (400, RefusedError),
        (401, CredentialsError),
        (403, PermissionRefusedError),
        (404, NotFoundError),
        (405, UnsupportedError),
        (408, DeadlineError),
        (409, RefusedError),
        (412, RefusedError),
        (415, UnsupportedError),
        (422, RefusedError),
        (429, UnavailableError),
        (500, UnavailableError),
        (501, UnsupportedError),
        (503, UnavailableError),
    ],
)
def test_each_status_has_its_error(status: int, kind: type[ImagepipeError]) -> None:
    assert type(refusal(httpx.Response(status), "push p/r")) is kind


def test_the_message_says_what_we_did_and_what_the_other_side_said() -> None:
    error = refusal(harbor(404, "NOT_FOUND", "project es-sandbox not found"), "list es-sandbox")
    assert str(error) == "list es-sandbox: NOT_FOUND: project es-sandbox not found (HTTP 404)"


def test_the_object_in_which_harbor_1_10_wraps_its_words_is_taken_off() -> None:
    answer = httpx.Response(403, text='{"code":403,"message":"admin"}\n')
    assert str(refusal(answer, "list members")) == "list members: admin (HTTP 403)"


def test_a_manifest_of_a_type_that_harbor_1_10_does_not_know_is_unsupported_and_no_outage() -> None:
    said = "Error occurred when to handle request in size quota handler: unsupported content type for manifest: x"
    error = refusal(harbor(500, "InternalError", said), "push p/r")
    assert type(error) is UnsupportedError
    assert "Harbor 2.0" in (error.hint or "")


def test_an_answer_without_words_is_told_by_its_status() -> None:
    assert str(refusal(httpx.Response(404), "read p/r")) == "read p/r: HTTP 404 Not Found"


def test_a_full_quota_is_a_refusal_and_no_lack_of_rights() -> None:
    said = "adding 10.0 MiB of storage resource, which when updated to current usage of 5.0 MiB will exceed the "
    error = refusal(harbor(403, "DENIED", f"{said}configured upper limit of 10.0 MiB."), "push p/r")
    assert type(error) is RefusedError
    assert "10.0 MiB" in str(error)
    assert error.hint is not None
    assert "quota" in error.hint


def test_the_read_only_mode_is_a_refusal() -> None:
    answer = harbor(403, "DENIED", "The system is in read only mode. Any modification is prohibited.")
    assert type(refusal(answer, "push p/r")) is RefusedError


@pytest.mark.parametrize("code", ["PROJECTPOLICYVIOLATION", "PROJECT_POLICY_VIOLATION"])
def test_content_trust_is_a_refusal_in_harbors_words(code: str) -> None:
    error = refusal(harbor(412, code, "The image is not signed by cosign."), "read p/r")
    assert type(error) is RefusedError
    assert "not signed by cosign" in str(error)
    assert error.hint is not None
    assert "sign" in error.hint


def test_plain_text_is_taken_as_it_is_and_html_is_not() -> None:
    assert complaints(httpx.Response(400, text="project_id is missing"))[0].message == "project_id is missing"
    assert complaints(httpx.Response(502, text="<html><body>nginx</body></html>")) == ()
    assert complaints(httpx.Response(401)) == ()


@pytest.mark.parametrize(
    "body",
    [
        '{"errors": null}',
        '{"errors": [3]}',
        '["x"]',
        '"x"',
        '{"errors": "no"}',
        "{",
        pytest.param("[" * 9999, id="deep"),
    ],
)
def test_a_body_of_another_shape_is_quoted(body: str) -> None:
    assert body[:1] in words(httpx.Response(400, text=body))


def test_words_are_bounded_on_one_line_and_without_secrets() -> None:
    text = words(httpx.Response(500, text="line one\r\n\x1b[31mpassword=hunter2 " + "x" * 5000))
    assert text.startswith("line one [31mpassword=***")
    assert len(text) < 330
    assert "\n" not in text


@pytest.mark.parametrize(
    ("raised", "kind"),
    [
        (httpx.ReadTimeout("timed out"), DeadlineError),
        (httpx.ConnectTimeout("timed out"), DeadlineError),
        (httpx.ConnectError("Connection refused"), UnavailableError),
        (httpx.RemoteProtocolError("Server disconnected"), UnavailableError),
        (httpx.TooManyRedirects("too many"), UnavailableError),
        (httpx.InvalidURL("no host"), UnavailableError),
    ],
)
def test_what_httpx_raises_becomes_ours(raised: Exception, kind: type[ImagepipeError]) -> None:
    with pytest.raises(ImagepipeError, match="push p/r: ") as caught, asking("push p/r"):
        raise raised
    assert type(caught.value) is kind


def _caused_by(cause: ssl.SSLError) -> httpx.ConnectError:
    error = httpx.ConnectError(str(cause))
    error.__cause__ = cause
    return error


def test_a_certificate_that_is_not_trusted_leads_to_ca_file() -> None:
    cause = ssl.SSLCertVerificationError(1, "certificate verify failed: self-signed certificate")
    cause.verify_message = "self-signed certificate"
    with pytest.raises(AccessError, match="self-signed certificate") as caught, asking("ping vic.example"):
        raise _caused_by(cause)
    assert caught.value.hint is not None
    assert "ca_file" in caught.value.hint


def test_a_client_certificate_that_is_wanted_is_a_matter_of_credentials() -> None:
    cause = ssl.SSLError(1, "[SSL: TLSV13_ALERT_CERTIFICATE_REQUIRED] tlsv13 alert certificate required")
    cause.reason = "TLSV13_ALERT_CERTIFICATE_REQUIRED"
    with pytest.raises(CredentialsError), asking("ping vic.example"):
        raise _caused_by(cause)


def test_a_port_that_speaks_no_tls_is_away() -> None:
    cause = ssl.SSLError(1, "[SSL: WRONG_VERSION_NUMBER] wrong version number")
    cause.reason = "WRONG_VERSION_NUMBER"
    with pytest.raises(UnavailableError, match="TLS failed"), asking("ping vic.example"):
        raise _caused_by(cause)


def test_our_own_errors_say_what_we_were_doing_and_stay_what_they_are() -> None:
    with pytest.raises(RefusedError, match="push p/r: no") as caught, asking("push p/r"):
        raise RefusedError("no", hint="stop")
    assert caught.value.hint == "stop"
