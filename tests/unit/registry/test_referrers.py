import httpx
import pytest

from imagepipe.errors import RefusedError, UnavailableError
from imagepipe.model import media
from imagepipe.model.digest import Digest
from imagepipe.model.manifest import Descriptor, Manifest
from imagepipe.registry.referrers import RegistryReferrers
from tests.contract.registry_memory import MemoryRegistry
from tests.unit.registry.script import ARTIFACT, REPOSITORY, Script, image


def index(*digests: Digest, **headers: str) -> httpx.Response:
    entries = [Descriptor(media.OCI_MANIFEST, digest, 7).to_json() for digest in digests]
    return httpx.Response(
        200,
        json={"schemaVersion": 2, "mediaType": media.OCI_INDEX, "manifests": entries},
        headers={"Content-Type": media.OCI_INDEX, **headers},
    )


def attachment(subject: Descriptor) -> Digest:
    memory = MemoryRegistry()
    return memory.attach(REPOSITORY.pin(subject.digest), subject, ARTIFACT).digest


def attaching(script: Script, made: Manifest) -> list[float]:
    """Lets the empty blob be known, every other and every manifest be taken; returns how long was waited between."""
    waits: list[float] = []
    script.answers["HEAD", f"blobs/{Digest.of(b'{}')}"] = httpx.Response(200)
    script.answers["POST", "blobs/uploads/"] = httpx.Response(202, headers={"Location": "/v2/p/r/blobs/uploads/7"})
    script.answers["PUT", "blobs/uploads/7"] = httpx.Response(201)
    script.answers["PUT", f"manifests/{attachment(made.descriptor)}"] = httpx.Response(201)
    referrers = RegistryReferrers(script.client, sleep=waits.append)
    referrers.attach(REPOSITORY.pin(made.digest), made.descriptor, ARTIFACT)
    return waits


def test_referrers_are_read_page_by_page_and_nothing_else_is_looked_at() -> None:
    subject, first, second = (Digest.of(text) for text in (b"s", b"1", b"2"))
    more = f'</v2/p/r/referrers/{subject}?page=2>; rel="next"'
    script = Script({("GET", f"referrers/{subject}"): [index(first, Link=more), index(second)]})
    listed = RegistryReferrers(script.client).list(REPOSITORY.pin(subject))
    assert [descriptor.digest for descriptor in listed] == [first, second]
    assert len(script.asked) == 2


def test_a_list_of_referrers_that_never_ends_is_refused() -> None:
    subject = Digest.of(b"s")
    script = Script({("GET", f"referrers/{subject}"): index(Link=f'</v2/p/r/referrers/{subject}?page=2>; rel="next"')})
    with pytest.raises(RefusedError, match="does not end"):
        RegistryReferrers(script.client).list(REPOSITORY.pin(subject))


@pytest.mark.parametrize(
    "answer",
    [
        httpx.Response(404),
        httpx.Response(404, text="404 page not found"),
        httpx.Response(404, json={"errors": [{"code": "NOT_FOUND", "message": "no such path"}]}),
        httpx.Response(405),
        httpx.Response(200, text="a web page"),
    ],
)
def test_without_the_api_the_tag_is_read(answer: httpx.Response) -> None:
    subject, attached = Digest.of(b"s"), Digest.of(b"1")
    script = Script(
        {("GET", f"referrers/{subject}"): answer, ("GET", f"manifests/sha256-{subject.hex}"): index(attached)}
    )
    listed = RegistryReferrers(script.client).list(REPOSITORY.pin(subject))
    assert [descriptor.digest for descriptor in listed] == [attached]


GONE = {"errors": [{"code": "NOT_FOUND", "message": f"artifact p/r@{Digest.of(b'2')} not found"}]}


def test_a_list_that_names_what_is_being_deleted_is_asked_for_again() -> None:
    subject, attached = Digest.of(b"s"), Digest.of(b"1")
    script = Script({("GET", f"referrers/{subject}"): [httpx.Response(404, json=GONE), index(attached)]})
    listed = RegistryReferrers(script.client, sleep=lambda _: None).list(REPOSITORY.pin(subject))
    assert [descriptor.digest for descriptor in listed] == [attached]


def test_a_list_that_harbor_cannot_give_is_not_taken_for_a_registry_without_lists() -> None:
    subject = Digest.of(b"s")
    script = Script({("GET", f"referrers/{subject}"): httpx.Response(404, json=GONE)})
    with pytest.raises(UnavailableError, match=r"list what is attached .*artifact p/r@sha256:\w+ not found") as caught:
        RegistryReferrers(script.client, sleep=lambda _: None).list(REPOSITORY.pin(subject))
    assert "artifact_accessory" in (caught.value.hint or "")
    assert script.methods == ["GET"] * 4


def test_a_list_of_referrers_that_is_larger_than_anybody_reads_is_refused() -> None:
    subject = Digest.of(b"s")
    page = index(*(Digest.of(str(number).encode()) for number in range(2000)), Link='<?page=2>; rel="next"')
    script = Script({("GET", f"referrers/{subject}"): page})
    with pytest.raises(RefusedError, match="larger than 8388608 bytes"):
        RegistryReferrers(script.client).list(REPOSITORY.pin(subject))
    assert len(script.asked) < 50


@pytest.mark.parametrize(
    "text",
    ["{", pytest.param("[" * 100_000, id="deep"), '{"size": 1e999}', "[]", '{"manifests": 3}', '{"manifests": [3]}'],
)
def test_a_list_of_referrers_that_is_none_is_told(text: str) -> None:
    subject = Digest.of(b"s")
    answer = httpx.Response(200, text=text, headers={"Content-Type": media.OCI_INDEX})
    with pytest.raises(UnavailableError, match="list what is attached"):
        RegistryReferrers(Script({("GET", f"referrers/{subject}"): answer}).client).list(REPOSITORY.pin(subject))


def test_with_the_api_attaching_writes_no_tag() -> None:
    made = image()
    listed = index(attachment(made.descriptor))
    script = Script({("GET", f"referrers/{made.digest}"): listed})
    assert attaching(script, made) == []
    assert script.methods == ["POST", "PUT", "HEAD", "PUT", "GET"]


def test_with_the_api_there_is_nothing_to_put_back() -> None:
    made = image()
    script = Script({("GET", f"referrers/{made.digest}"): index()})
    RegistryReferrers(script.client).relist(REPOSITORY.pin(made.digest), [made.descriptor])
    assert script.methods == ["GET"]


def test_an_api_that_lists_late_is_waited_for() -> None:
    made = image()
    script = Script({("GET", f"referrers/{made.digest}"): [index(), index(), index(attachment(made.descriptor))]})
    assert len(attaching(script, made)) == 2


def test_an_api_that_never_lists_it_is_an_error() -> None:
    made = image()
    with pytest.raises(UnavailableError, match=r"attach .* to vic\.example/p/r@sha256:.*not done after 8 attempts"):
        attaching(Script({("GET", f"referrers/{made.digest}"): index()}), made)
