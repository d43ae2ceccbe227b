import time
from concurrent.futures import ThreadPoolExecutor
from itertools import count

import httpx
import pytest

from imagepipe import __version__
from imagepipe.errors import (
    DigestMismatchError,
    ImagepipeError,
    NotFoundError,
    PermissionRefusedError,
    RefusedError,
    UnavailableError,
    UnsupportedError,
)
from imagepipe.model import media
from imagepipe.model.digest import Digest
from imagepipe.model.manifest import Descriptor
from imagepipe.model.reference import Reference, Repository
from imagepipe.registry.client import RegistryClient
from imagepipe.registry.connection import Connections
from tests.contract.registry_memory import MemoryRegistry
from tests.unit.registry.script import REPOSITORY, Script, body, harbor, head, image


def test_every_read_accepts_all_four_kinds_of_manifests() -> None:
    made = image()
    script = Script({("GET", "manifests/1"): body(made)})
    script.client.resolve(REPOSITORY.tagged("1"))
    assert script.methods == ["HEAD", "GET"]
    assert {request.headers["accept"] for request in script.asked} == {media.ACCEPT_MANIFESTS}


@pytest.mark.parametrize("missing", ["Docker-Content-Digest", "Content-Type"])
def test_a_head_that_tells_too_little_is_followed_by_a_get(missing: str) -> None:
    made = image()
    told = body(made)
    del told.headers[missing]
    script = Script({("HEAD", "manifests/1"): told, ("GET", "manifests/1"): body(made)})
    assert script.client.resolve(REPOSITORY.tagged("1")) == made.descriptor


def test_whether_a_tag_is_there_is_one_question() -> None:
    made = image()
    script = Script({("HEAD", "manifests/1"): head(made.digest), ("HEAD", "manifests/2"): httpx.Response(404)})
    found = script.client.find(REPOSITORY.tagged("1"))
    assert found is not None
    assert found.digest == made.digest
    assert script.client.find(REPOSITORY.tagged("2")) is None
    assert script.methods == ["HEAD", "HEAD"]


def test_where_a_head_is_not_answered_a_tag_is_looked_for_with_a_get() -> None:
    made = image()
    script = Script({("HEAD", "manifests/1"): httpx.Response(405), ("GET", "manifests/1"): body(made)})
    assert script.client.find(REPOSITORY.tagged("1")) == made.descriptor


def test_a_head_about_another_digest_is_not_believed() -> None:
    made, other = image(), Digest.of(b"other")
    script = Script({("HEAD", f"manifests/{made.digest}"): head(other)})
    with pytest.raises(DigestMismatchError, match=other.hex):
        script.client.resolve(Reference(REPOSITORY, digest=made.digest))


def test_a_header_that_names_another_digest_than_the_bytes_is_a_mismatch() -> None:
    made = image()
    other = str(Digest.of(b"other"))
    script = Script({("GET", f"manifests/{made.digest}"): body(made, **{"Docker-Content-Digest": other})})
    with pytest.raises(DigestMismatchError, match="the registry says sha256"):
        script.client.manifest(REPOSITORY.pin(made.digest))


def test_a_manifest_of_another_kind_than_its_header_says_is_a_mismatch() -> None:
    made = image()
    script = Script({("GET", f"manifests/{made.digest}"): body(made, **{"Content-Type": media.DOCKER_MANIFEST})})
    with pytest.raises(DigestMismatchError, match="read vic"):
        script.client.manifest(REPOSITORY.pin(made.digest))


def test_a_manifest_with_a_digest_of_another_kind_is_refused() -> None:
    raw = image().raw.replace(b"sha256:", b"sha999:")
    answer = httpx.Response(200, content=raw, headers={"Content-Type": media.OCI_MANIFEST})
    script = Script({("GET", f"manifests/{Digest.of(raw)}"): answer})
    with pytest.raises(RefusedError, match="sha999"):
        script.client.manifest(REPOSITORY.pin(Digest.of(raw)))


def test_a_manifest_above_four_mebibytes_is_refused() -> None:
    raw = b" " * (4 * 1024 * 1024 + 1)
    script = Script({("GET", f"manifests/{Digest.of(raw)}"): httpx.Response(200, content=raw)})
    with pytest.raises(RefusedError, match="larger"):
        script.client.manifest(REPOSITORY.pin(Digest.of(raw)))


def test_a_blob_of_another_size_than_its_descriptor_says_is_a_mismatch() -> None:
    script = Script({("GET", f"blobs/{Digest.of(b'four')}"): httpx.Response(200, content=b"four")})
    with pytest.raises(DigestMismatchError, match="4 bytes"):
        script.client.blob(REPOSITORY, Descriptor("application/json", Digest.of(b"four"), 5))


def test_content_trust_refuses_in_harbors_words() -> None:
    said = harbor(412, "PROJECTPOLICYVIOLATION", "The image is not signed by cosign.")
    script = Script({("HEAD", "manifests/1"): httpx.Response(412), ("GET", "manifests/1"): said})
    with pytest.raises(RefusedError, match="not signed by cosign"):
        script.client.resolve(REPOSITORY.tagged("1"))


@pytest.mark.parametrize(("status", "kind"), [(403, PermissionRefusedError), (507, UnavailableError)])
def test_a_registry_in_trouble_is_not_asked_in_two_ways(status: int, kind: type[ImagepipeError]) -> None:
    script = Script({("HEAD", "manifests/1"): httpx.Response(status)})
    for ask in (
        lambda: script.client.resolve(REPOSITORY.tagged("1")),
        lambda: script.client.tag(REPOSITORY, image(), "1"),
    ):
        with pytest.raises(kind):
            ask()
    assert script.methods == ["HEAD", "HEAD"]


def test_a_tag_that_already_points_there_is_not_written() -> None:
    made = image()
    script = Script({("HEAD", "manifests/1"): head(made.digest)})
    script.client.tag(REPOSITORY, made, "1")
    assert script.methods == ["HEAD"]


def test_threads_that_make_one_tag_at_once_write_it_once() -> None:
    made, script = image(), Script({("HEAD", "manifests/1"): httpx.Response(404)})

    def put(request: httpx.Request) -> httpx.Response:
        if request.method == "PUT":
            time.sleep(0.05)  # the other one looks meanwhile
            script.answers = {("HEAD", "manifests/1"): head(made.digest)}
            script.asked.append(request)
            return httpx.Response(201, headers={"Docker-Content-Digest": str(made.digest)})
        return script(request)

    client = RegistryClient(Connections(transport_for=lambda _: httpx.MockTransport(put)))
    with ThreadPoolExecutor(2) as threads:
        list(threads.map(lambda _: client.tag(REPOSITORY, made, "1"), range(2)))
    assert script.methods == ["HEAD", "PUT", "HEAD"]


def test_an_immutable_tag_that_a_rival_put_there_first_is_as_good_as_ours() -> None:
    made = image()
    immutable = harbor(412, "PRECONDITION", "Failed to process request due to 'r:1' configured as immutable.")
    script = Script(
        {("HEAD", "manifests/1"): [httpx.Response(404), head(made.digest)], ("PUT", "manifests/1"): immutable}
    )
    script.client.tag(REPOSITORY, made, "1")
    assert script.methods == ["HEAD", "PUT", "HEAD"]


def test_an_immutable_tag_that_points_elsewhere_is_refused_in_harbors_words() -> None:
    immutable = harbor(412, "PRECONDITION", "Failed to process request due to 'r:1' configured as immutable.")
    script = Script({("HEAD", "manifests/1"): head(Digest.of(b"other")), ("PUT", "manifests/1"): immutable})
    with pytest.raises(RefusedError, match="configured as immutable"):
        script.client.tag(REPOSITORY, image(), "1")


def test_a_registry_that_stores_something_else_is_found_out() -> None:
    stored = httpx.Response(201, headers={"Docker-Content-Digest": str(Digest.of(b"other"))})
    script = Script({("PUT", "manifests/1"): stored})
    with pytest.raises(DigestMismatchError, match="stored"):
        script.client.tag(REPOSITORY, image(), "1")


def test_a_registry_without_oci_manifests_is_told_apart() -> None:
    invalid = harbor(400, "MANIFEST_INVALID", "manifest invalid")
    script = Script({("PUT", "manifests/1"): invalid})
    with pytest.raises(UnsupportedError, match="MANIFEST_INVALID"):
        script.client.tag(REPOSITORY, image(), "1")
    docker = MemoryRegistry().add_image(REPOSITORY)
    with pytest.raises(RefusedError) as caught:
        script.client.tag(REPOSITORY, docker, "1")
    assert not isinstance(caught.value, UnsupportedError)


def upload(location: str, *, put: httpx.Response, known: list[int]) -> Script:
    return Script(
        {
            ("HEAD", f"blobs/{Digest.of(b'blob')}"): [httpx.Response(status) for status in known],
            ("POST", "blobs/uploads/"): httpx.Response(202, headers={"Location": location}),
            ("PUT", "blobs/uploads/7"): put,
        }
    )


@pytest.mark.parametrize(
    "location", ["/v2/p/r/blobs/uploads/7?state=x", "https://vic.example/v2/p/r/blobs/uploads/7?state=x"]
)
def test_a_blob_is_sent_in_one_piece_to_where_the_registry_says(location: str) -> None:
    script = upload(location, put=httpx.Response(201), known=[404])
    made = script.client.put_blob(REPOSITORY, b"blob", "text/plain")
    assert made == Descriptor("text/plain", Digest.of(b"blob"), 4)
    assert dict(script.asked[-1].url.params) == {"state": "x", "digest": str(made.digest)}
    assert script.asked[-1].content == b"blob"


def test_a_blob_that_is_there_is_not_sent() -> None:
    script = upload("/v2/p/r/blobs/uploads/7", put=httpx.Response(201), known=[200])
    script.client.put_blob(REPOSITORY, b"blob", "text/plain")
    assert script.methods == ["HEAD"]


def test_a_blob_that_nobody_can_have_stored_is_not_looked_for() -> None:
    script = upload("/v2/p/r/blobs/uploads/7", put=httpx.Response(201), known=[200])
    script.client.put_blob(REPOSITORY, b"blob", "text/plain", new=True)
    assert script.methods == ["POST", "PUT"]


def test_a_blob_whose_upload_is_gone_may_have_arrived() -> None:
    script = upload("/v2/p/r/blobs/uploads/7", put=httpx.Response(404), known=[404, 200])
    script.client.put_blob(REPOSITORY, b"blob", "text/plain")
    script = upload("/v2/p/r/blobs/uploads/7", put=httpx.Response(404), known=[404, 404])
    with pytest.raises(NotFoundError):
        script.client.put_blob(REPOSITORY, b"blob", "text/plain")


def test_an_upload_is_not_sent_to_another_host() -> None:
    script = upload("http://vic.example/v2/p/r/blobs/uploads/7", put=httpx.Response(201), known=[404])
    with pytest.raises(RefusedError, match="elsewhere"):
        script.client.put_blob(REPOSITORY, b"blob", "text/plain")


def test_docker_hub_is_asked_where_it_answers_and_for_its_library() -> None:
    script = Script({})
    with pytest.raises(NotFoundError):
        script.client.resolve(Reference(Repository("docker.io", "busybox")))
    assert str(script.asked[0].url) == "https://registry-1.docker.io/v2/library/busybox/manifests/latest"


def test_each_registry_is_connected_to_once() -> None:
    script = Script({})
    client = script.client
    for registry in ("a.example", "b.example", "a.example"):
        with pytest.raises(NotFoundError):
            client.resolve(Reference(Repository(registry, "p/r")))
    assert script.registries == ["a.example", "b.example"]


def test_while_signing_harbor_is_told_so_by_the_user_agent() -> None:
    script = Script({("HEAD", "manifests/1"): head(Digest.of(b"x"))})
    client = RegistryClient(Connections(transport_for=script.transport_for, signing=True))
    client.resolve(REPOSITORY.tagged("1"))
    assert script.asked[0].headers["user-agent"] == f"imagepipe/{__version__} cosign"


def test_closing_closes_and_a_later_request_connects_again() -> None:
    script = Script({("HEAD", "manifests/1"): head(Digest.of(b"x"))})
    connections = Connections(transport_for=script.transport_for)
    for _ in range(2):
        RegistryClient(connections).resolve(REPOSITORY.tagged("1"))
        connections.close()
    assert script.registries == ["vic.example", "vic.example"]


def test_tags_are_read_page_by_page() -> None:
    more = {"Link": '</v2/p/r/tags/list?last=2&n=2>; rel="next"'}
    pages = [httpx.Response(200, json={"tags": ["1", "2"]}, headers=more), httpx.Response(200, json={"tags": None})]
    assert Script({("GET", "tags/list"): pages}).client.tags(REPOSITORY) == ("1", "2")


def test_a_list_of_tags_that_repeats_itself_ends() -> None:
    again = httpx.Response(200, json={"tags": ["1"]}, headers={"Link": '</v2/p/r/tags/list?last=1>; rel="next"'})
    assert Script({("GET", "tags/list"): again}).client.tags(REPOSITORY) == ("1",)


@pytest.mark.parametrize("body", ["a web page", pytest.param("[" * 100_000, id="deep"), '{"tags": 3}', "[]"])
def test_what_is_no_list_of_tags_is_told(body: str) -> None:
    with pytest.raises(UnavailableError, match="no list of tags"):
        Script({("GET", "tags/list"): httpx.Response(200, text=body)}).client.tags(REPOSITORY)


@pytest.mark.parametrize("size", [1, 1024 * 1024])
def test_a_list_of_tags_that_never_ends_is_refused(size: int) -> None:
    asked = count()

    def answer(_: httpx.Request) -> httpx.Response:
        tags = [f"{next(asked)}" + "x" * size]
        return httpx.Response(200, json={"tags": tags}, headers={"Link": '</v2/p/r/tags/list?last=1>; rel="next"'})

    client = RegistryClient(Connections(transport_for=lambda _: httpx.MockTransport(answer)))
    with pytest.raises(RefusedError, match="longer than anybody needs"):
        client.tags(REPOSITORY)


@pytest.mark.parametrize("link", ["\x7f", pytest.param("a" * 70_000, id="long")])
def test_a_next_page_that_is_nowhere_is_told(link: str) -> None:
    page = httpx.Response(200, json={"tags": ["1"]}, headers={"Link": f'<{link}>; rel="next"'})
    with pytest.raises(UnavailableError, match="names no next page"):
        Script({("GET", "tags/list"): page}).client.tags(REPOSITORY)


@pytest.mark.parametrize("size", [pytest.param("9" * 5000, id="long"), "9" * 19, "-1"])
def test_a_size_that_nothing_has_is_none(size: str) -> None:
    made = MemoryRegistry().add_image(REPOSITORY)
    headers = {"Docker-Content-Digest": str(made.digest), "Content-Type": made.media_type}
    told = httpx.Response(200, headers=headers)
    told.headers["Content-Length"] = size
    read = httpx.Response(200, content=made.raw, headers={"Content-Type": made.media_type})
    script = Script({("HEAD", "manifests/1"): told, ("GET", "manifests/1"): read})
    assert script.client.resolve(REPOSITORY.tagged("1")) == made.descriptor
