"""What hosts say, word for word, and what we make of it."""

import pytest

from imagepipe.engine.failure import classify, redact
from imagepipe.errors import (
    AccessError,
    CredentialsError,
    DeadlineError,
    DigestMismatchError,
    ImagepipeError,
    NotFoundError,
    PermissionRefusedError,
    RefusedError,
    SettingsError,
    StorageFullError,
    UnavailableError,
    UnsupportedError,
)

VIC = {
    "Access denied to unauthorized registry (vic.example) while VCH is in whitelist mode": RefusedError,
    "Head https://vic.example/v2/: x509: certificate signed by unknown authority": AccessError,
    "Head https://vic.example/v2/: http: server gave HTTP response to HTTPS client": AccessError,
    "Head https://vic.example/v2/: dial tcp: lookup vic.example: no such host": UnavailableError,
    "Failed to obtain OAuth endpoint: Get https://vic.example/service/token: EOF": UnavailableError,
    "Error while pulling image manifest: pull access denied for vic.example/es/hello, repository does not exist or may "
    "require 'docker login'": PermissionRefusedError,
    "Tag 1.4 not found in repository es/hello": NotFoundError,
    "Error while pulling image manifest: missing signature key": UnsupportedError,
    "Error while pulling image manifest: Unexpected http code: 412 (Precondition Failed), URL: "
    "https://vic.example/v2/es/hello/manifests/1.0Message: The image is not signed in Notary.": RefusedError,
    "Error while pulling image manifest: Unexpected http code: 412 (Precondition Failed), URL: https://v/v2/Message: "
    'The severity of vulnerability of the image: "high" is equal or higher than the threshold in project setting: '
    '"medium".': RefusedError,
    "Error while pulling image manifest: Unexpected http code: 400 (Bad Request), URL: https://v/v2/Message: manifest "
    "invalid": UnsupportedError,
    "Error while pulling image manifest: Unexpected http code: 503 (Service Unavailable), URL: x": UnavailableError,
    "Failed to write to image store: [POST /storage/{store_name}][500] WriteImage default  &{Code:500 Message:Failed "
    "to add disk 'scsi0:0'.}": RefusedError,
    "Failed to write to image store: The parent of this virtual disk could not be opened": UnavailableError,
    "es/hello/0123 returned write /tmp/x: no space left on device": StorageFullError,
    "Storage quota exceeds. Storage quota: 10 GB": RefusedError,
    "Missing Docker-Distribution-API-Version header": UnsupportedError,
    "FetchToken (https://v) failed: www-authenticate header is missing": UnsupportedError,
    "Failed to validate layer checksum. Expected sha256:a got sha256:b": DigestMismatchError,
    "vSphere Integrated Containers does not yet implement PushImage": UnsupportedError,
    "No such container: No such image: 0123abcd": NotFoundError,
    "No volume store named (default) exists": RefusedError,
    "Get https://vic.example/v2/: unauthorized: incorrect username or password": CredentialsError,
}
DOCKERD = {
    "manifest for vic.example/es/hello:9 not found: manifest unknown: manifest unknown": NotFoundError,
    "manifest for vic.example/es/timeout:9 not found: manifest unknown: manifest unknown": NotFoundError,
    "repository vic.example/es/nope not found: name unknown: repository name not known to registry": NotFoundError,
    "manifest unknown: OCI manifest found, but accept header does not support OCI manifests": UnsupportedError,
    "No such image: vic.example/es/hello@sha256:0123": NotFoundError,
    "pull access denied for vic.example/es/hello, repository does not exist or may require 'docker login': denied: "
    "requested access to the resource is denied": PermissionRefusedError,
    "denied: requested access to the resource is denied": PermissionRefusedError,
    "unauthorized: unauthorized to access repository: es/hello, action: push: unauthorized to access repository: "
    "es/hello, action: push": PermissionRefusedError,
    "unauthorized: authentication required": CredentialsError,
    "no basic auth credentials": CredentialsError,
    'Get "https://vic.example/v2/": x509: certificate signed by unknown authority': AccessError,
    'Get "https://v/v2/": tls: failed to verify certificate: x509: certificate has expired': AccessError,
    "unknown: The image is not signed by cosign.": RefusedError,
    "unknown: current image without vulnerability scanning cannot be pulled due to configured policy in 'Prevent "
    'images with vulnerability severity of "High" or higher from running.\'': RefusedError,
    "unknown: Failed to process request due to 'hello:1.0' configured as immutable.": RefusedError,
    "denied: adding 10.0 MiB of storage resource, which when updated to current usage of 5.0 MiB will exceed the "
    "configured upper limit of 10.0 MiB.": RefusedError,
    "denied: The system is in read only mode. Any modification is prohibited.": RefusedError,
    "toomanyrequests: You have reached your pull rate limit": UnavailableError,
    "received unexpected HTTP status: 502 Bad Gateway": UnavailableError,
    "error parsing HTTP 429 response body: invalid character": UnavailableError,
    'Get "http://127.0.0.1:5000/v2/": dial tcp 127.0.0.1:5000: connect: connection refused': UnavailableError,
    'Get "https://v/v2/": net/http: request canceled while waiting for connection (Client.Timeout exceeded while '
    "awaiting headers)": UnavailableError,
    "read tcp 10.0.0.1:1->10.0.0.2:443: read: connection reset by peer": UnavailableError,
    "unexpected EOF": UnavailableError,
    "context deadline exceeded": UnavailableError,
    "failed to register layer: Error processing tar file: write /a: no space left on device": StorageFullError,
    "no matching manifest for linux/amd64 in the manifest list entries": UnsupportedError,
    "filesystem layer verification failed for digest sha256:abc": DigestMismatchError,
    "Client sent an HTTP request to an HTTPS server.": SettingsError,
}


@pytest.mark.parametrize(("words", "error"), [*VIC.items(), *DOCKERD.items()])
def test_known_words_mean_one_kind_of_error_and_bring_a_hint(words: str, error: type[ImagepipeError]) -> None:
    found = classify(words)

    assert type(found) is error
    assert found.hint
    assert " ".join(words.split()) in found.message


@pytest.mark.parametrize(
    ("status", "error"),
    [
        (None, RefusedError),
        (400, RefusedError),
        (401, CredentialsError),
        (403, PermissionRefusedError),
        (404, NotFoundError),
        (409, RefusedError),
        (500, UnavailableError),
        (503, UnavailableError),
        (504, DeadlineError),
    ],
)
def test_words_that_nobody_knows_go_by_their_status(status: int | None, error: type[ImagepipeError]) -> None:
    assert type(classify("the frobnicator is cross", status=status)) is error


def test_a_denial_without_credentials_is_about_credentials() -> None:
    words = "denied: requested access to the resource is denied"

    assert isinstance(classify(words), PermissionRefusedError)
    assert isinstance(classify(words, anonymous=True), CredentialsError)


def test_passwords_in_urls_floods_and_terminal_controls_are_kept_out_of_messages() -> None:
    said = redact("Get \x1b[31mhttps://ci:hunter2@vic.example/v2/\x1b[0m failed\r\n" + "x" * 5000)

    assert "hunter2" not in said
    assert "ci:" not in said
    assert "\x1b" not in said
    assert said.startswith("Get https://vic.example/v2/ failed")
    assert len(said) < 1100
