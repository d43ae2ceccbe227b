"""Without a referrers API: whatever others write, whenever they do, nothing that was attached is lost from sight."""

import json
from dataclasses import replace

import httpx
import pytest
from hypothesis import given
from hypothesis import strategies as st

from imagepipe import fanout
from imagepipe.errors import RefusedError, UnavailableError, UnsupportedError
from imagepipe.model import media
from imagepipe.model.digest import Digest
from imagepipe.model.manifest import Descriptor, Manifest, parse_manifest
from imagepipe.registry.referrers import RegistryReferrers
from imagepipe.registry.tagschema import fallback_tag, named_by, own_tag
from tests.unit.registry.script import ARTIFACT, harbor
from tests.unit.registry.tags_only import PLACE, TagsOnly, pin

DIGESTS = st.binary(max_size=8).map(Digest.of)
# Source: OCI distribution-spec v1.1 "Pulling manifests"
TAG_LIMIT = 128


@given(DIGESTS, DIGESTS, DIGESTS)
def test_a_tag_of_its_own_tells_the_whole_digest_and_speaks_of_one_image(
    subject: Digest, attached: Digest, other: Digest
) -> None:
    tag = own_tag(subject, attached)
    assert len(tag) <= TAG_LIMIT
    assert named_by(subject, [tag]) == [attached]
    assert named_by(other, [tag]) == ([attached] if other == subject else [])


@pytest.mark.parametrize("ending", ["", ".", ".sig", ".att", f".{'a' * 51}", f".{'A' * 52}", f".{'1' * 52}"])
def test_other_tags_that_begin_like_it_name_nothing(ending: str) -> None:
    subject = Digest.of(b"s")
    assert named_by(subject, [f"{fallback_tag(subject)}{ending}", "1.4", ""]) == []


def test_who_overwrites_the_list_however_late_takes_nothing_from_our_sight() -> None:
    registry = TagsOnly()
    image = registry.image()
    before = registry.attach(image, "signature")
    for number in range(3):
        registry.attach(image, f"record {number}")
    registry.overwrite(image, before)
    assert registry.listed(image) == {before}
    assert registry.seen(image) == {"signature", "record 0", "record 1", "record 2"}


def test_who_writes_next_puts_back_what_was_overwritten_as_it_was() -> None:
    registry = TagsOnly()
    image = registry.image()
    before, lost = registry.attach(image, "signature"), registry.attach(image, "record")
    (whole,) = (one for one in registry.referrers.list(pin(image)) if one.digest == lost)
    registry.overwrite(image, before)
    after = registry.attach(image, "another record")
    assert registry.listed(image) == {before, lost, after}
    (again,) = (one for one in registry.referrers.list(pin(image)) if one.digest == lost)
    assert again == whole
    assert again.annotations == {"called": "record"}
    assert again.artifact_type == media.SIGSTORE_BUNDLE


def test_who_overwrites_the_list_cannot_say_in_it_what_ours_is() -> None:
    """Whoever only may push: a rejection that the list calls a signature, or made long ago, would not be read."""
    registry = TagsOnly()
    image = registry.image()
    rejection = registry.attach(image, "rejection")
    as_it_is = registry.referrers.list(pin(image))
    lie = {"called": "signature", media.CREATED_ANNOTATION: "1970-01-01T00:00:00Z"}
    made = parse_manifest(*registry.manifests[str(rejection)]).descriptor
    entries = [replace(made, annotations=lie, artifact_type="application/x").to_json()]
    raw = json.dumps({"schemaVersion": 2, "mediaType": media.OCI_INDEX, "manifests": entries}).encode()
    registry.client.put_manifest(PLACE, raw, media.OCI_INDEX, fallback_tag(image.digest))
    assert registry.listed(image) == {rejection}
    assert registry.referrers.list(pin(image)) == as_it_is
    assert as_it_is[0].annotations == {"called": "rejection"}


def test_what_is_listed_and_may_not_be_read_may_be_anything() -> None:
    registry = TagsOnly()
    image = registry.image()
    withheld = registry.attach(image, "rejection")
    registry.refused["GET", f"manifests/{withheld}"] = harbor(412, "PROJECT_POLICY_VIOLATION", "not scanned")
    (found,) = registry.referrers.list(pin(image))
    assert (found.digest, found.annotations) == (withheld, {})


def test_thousands_of_entries_are_counted_and_not_read() -> None:
    registry = TagsOnly()
    image = registry.image()
    entries = [Descriptor(media.OCI_MANIFEST, Digest.of(str(one).encode()), 1).to_json() for one in range(2001)]
    raw = json.dumps({"schemaVersion": 2, "mediaType": media.OCI_INDEX, "manifests": entries}).encode()
    registry.manifests[str(Digest.of(raw))] = (raw, media.OCI_INDEX)
    registry.tags[fallback_tag(image.digest)] = str(Digest.of(raw))
    assert len(registry.referrers.list(pin(image))) == 2001
    assert len(registry.asked) == 3


def test_what_lay_in_docker_manifests_once_makes_no_docker_list_of_a_list_that_need_not_be_one() -> None:
    """A Harbor 1.x that became a 2.x."""
    registry = TagsOnly()
    image = registry.image()
    registry.takes_oci = False
    old = registry.attach(image, "old")
    assert registry.kind_of_list(image) == media.DOCKER_LIST
    registry.takes_oci = True
    registry.overwrite(image)
    new = registry.attach(image, "new")
    assert registry.kind_of_list(image) == media.OCI_INDEX
    assert registry.listed(image) == {old, new}


def test_what_was_overwritten_can_be_put_back_with_nothing_new_to_attach() -> None:
    registry = TagsOnly()
    image = registry.image()
    made = {registry.attach(image, text) for text in ("signature", "record")}
    attached = registry.referrers.list(pin(image))
    registry.overwrite(image)
    registry.referrers.relist(pin(image), attached[:1])
    assert registry.listed(image) == made
    registry.asked.clear()
    registry.referrers.relist(pin(image), attached)
    assert {method for method, _ in registry.asked} == {"GET"}


def test_one_who_was_paused_between_reading_and_writing_takes_nothing_from_anybodys_sight() -> None:
    registry = TagsOnly()
    image = registry.image()
    registry.before = lambda: [registry.attach(image, f"meanwhile {number}") for number in range(3)]
    late = registry.attach(image, "late")
    assert registry.listed(image) == {late}
    assert registry.seen(image) == {"late", "meanwhile 0", "meanwhile 1", "meanwhile 2"}
    registry.attach(image, "next")
    assert len(registry.listed(image)) == 5


def test_two_who_begin_the_list_at_once_are_both_seen() -> None:
    registry = TagsOnly()
    image = registry.image()
    fanout.each(["one", "other"], lambda text: registry.attach(image, text), jobs=2)
    assert registry.seen(image) == {"one", "other"}


def test_an_entry_that_a_rival_overwrites_at_once_is_written_again_for_those_who_read_nothing_else() -> None:
    registry = TagsOnly()
    image = registry.image()
    rival = registry.attach(image, "rival")
    waits = list[float]()

    def wait(seconds: float) -> None:
        waits.append(seconds)
        if len(waits) == 1:
            registry.overwrite(image, rival)

    referrers = RegistryReferrers(registry.client, sleep=wait)
    ours = referrers.attach(pin(image), image.descriptor, ARTIFACT).digest
    assert registry.listed(image) == {rival, ours}
    assert 0.1 <= waits[0] <= 0.3


def test_a_tag_of_the_list_on_something_else_is_not_overwritten() -> None:
    registry = TagsOnly()
    image = registry.image()
    registry.tags[fallback_tag(image.digest)] = str(image.digest)
    for act in (lambda: registry.attach(image, "record"), lambda: registry.seen(image)):
        with pytest.raises(RefusedError, match="not an index") as caught:
            act()
        assert caught.value.hint == "remove that tag"
    assert registry.tags[fallback_tag(image.digest)] == str(image.digest)


def test_all_is_seen_where_somebody_deleted_the_list() -> None:
    registry = TagsOnly()
    image = registry.image()
    made = {registry.attach(image, text) for text in ("one", "two")}
    del registry.tags[fallback_tag(image.digest)]
    assert registry.seen(image) == {"one", "two"}
    made.add(registry.attach(image, "three"))
    assert registry.listed(image) == made


def test_what_was_attached_before_there_were_such_tags_is_seen_and_stays_in_the_list() -> None:
    registry = TagsOnly()
    image = registry.image()
    old = registry.attach(image, "old")
    del registry.tags[own_tag(image.digest, old)]
    assert registry.seen(image) == {"old"}
    new = registry.attach(image, "new")
    assert registry.listed(image) == {old, new}
    assert registry.seen(image) == {"old", "new"}


def test_the_tag_is_there_before_the_list_names_it() -> None:
    registry = TagsOnly()
    image = registry.image()
    made = registry.attach(image, "record")
    written = [place for method, place in registry.asked if method == "PUT" and place.startswith("manifests/sha256-")]
    assert written == [f"manifests/{own_tag(image.digest, made)}", f"manifests/{fallback_tag(image.digest)}"]
    assert registry.tags[own_tag(image.digest, made)] == str(made)


def test_attaching_the_same_again_writes_no_tag() -> None:
    registry = TagsOnly()
    image = registry.image()
    registry.attach(image, "record")
    registry.asked.clear()
    registry.attach(image, "record")
    assert not [one for one in registry.asked if one[0] == "PUT" and one[1].startswith("manifests/sha256-")]


def test_what_was_deleted_is_gone_though_a_tag_goes_on_naming_it() -> None:
    registry = TagsOnly()
    image = registry.image()
    kept, deleted = registry.attach(image, "kept"), registry.attach(image, "deleted")
    del registry.manifests[str(deleted)]
    registry.overwrite(image, kept)
    assert registry.seen(image) == {"kept"}
    new = registry.attach(image, "new")
    assert registry.listed(image) == {kept, new}


def test_what_was_deleted_and_is_still_listed_keeps_nobody_from_attaching_more() -> None:
    """No registry takes a list that names what it does not hold."""
    registry = TagsOnly()
    image = registry.image()
    kept, deleted = registry.attach(image, "kept"), registry.attach(image, "deleted")
    del registry.manifests[str(deleted)]
    new = registry.attach(image, "new")
    assert registry.listed(image) == {kept, new}
    assert registry.seen(image) == {"kept", "new"}


UNKNOWN = harbor(400, "MANIFEST_BLOB_UNKNOWN", "blob unknown to registry")


def test_a_registry_that_does_not_show_yet_what_a_rival_sends_too_is_asked_again() -> None:
    registry = TagsOnly()
    image = registry.image()
    first = registry.attach(image, "first")
    at_list = fallback_tag(image.digest)
    registry.refused["PUT", f"manifests/{at_list}."] = [UNKNOWN]
    registry.refused["PUT", f"manifests/{at_list}"] = [UNKNOWN]
    second = registry.attach(image, "second")
    assert registry.refused == {("PUT", f"manifests/{at_list}."): [], ("PUT", f"manifests/{at_list}"): []}
    assert registry.listed(image) == {first, second}
    assert registry.seen(image) == {"first", "second"}


def test_a_tag_of_its_own_that_may_not_be_written_again_need_not_be_and_one_that_was_moved_is_told() -> None:
    """Harbor 2.0 to 2.7 with a rule that lets no tag move, and an answer that was lost."""
    registry = TagsOnly()
    image = registry.image()
    made = registry.attach(image, "record")
    registry.refused["GET", "tags/list"] = httpx.Response(403)
    registry.refused["PUT", f"manifests/{fallback_tag(image.digest)}."] = harbor(412, "PRECONDITION", "immutable")
    assert registry.attach(image, "record") == made
    registry.tags[own_tag(image.digest, made)] = str(image.digest)
    with pytest.raises(RefusedError, match="immutable"):
        registry.attach(image, "record")


def test_tags_of_others_that_look_like_it_show_nothing_and_hide_nothing() -> None:
    registry = TagsOnly()
    image, other = registry.image(), registry.image()
    about_other = registry.attach(other, "about another image")
    ours = registry.attach(image, "record")
    for digest in (other.digest, about_other, Digest.of(b"nothing")):
        registry.tags[own_tag(image.digest, digest)] = str(digest)
    registry.tags[own_tag(image.digest, ours)] = str(other.digest)
    registry.overwrite(image)
    assert registry.seen(image) == {"record"}
    new = registry.attach(image, "new")
    assert registry.listed(image) == {ours, new}


def test_what_may_not_be_read_is_not_called_absent_and_not_put_into_the_list() -> None:
    """A Harbor 1.x whose project forbids to pull what nobody scanned."""
    registry = TagsOnly()
    image = registry.image()
    withheld = registry.attach(image, "withheld")
    registry.overwrite(image)
    forbidden = harbor(412, "PROJECT_POLICY_VIOLATION", "Cannot get the image severity.")
    registry.refused["GET", f"manifests/{withheld}"] = forbidden
    (found,) = registry.referrers.list(pin(image))
    assert found.digest == withheld
    with pytest.raises(RefusedError, match="Cannot get the image severity"):
        registry.referrers.fetch(pin(image), found)
    new = registry.attach(image, "new")
    assert registry.listed(image) == {new}


@pytest.mark.parametrize("status", [401, 403, 405])
def test_where_tags_may_not_be_listed_the_list_is_all_there_is(status: int) -> None:
    registry = TagsOnly()
    image = registry.image()
    first = registry.attach(image, "first")
    registry.refused["GET", "tags/list"] = httpx.Response(status)
    second = registry.attach(image, "second")
    assert registry.seen(image) == {"first", "second"}
    registry.overwrite(image, first)
    assert registry.seen(image) == {"first"}
    del registry.refused["GET", "tags/list"]
    assert second in {one.digest for one in registry.referrers.list(pin(image))}


def test_a_registry_that_is_in_trouble_is_not_one_that_lists_no_tags() -> None:
    registry = TagsOnly()
    image = registry.image()
    registry.attach(image, "first")
    registry.refused["GET", "tags/list"] = httpx.Response(200, text="a web page")
    with pytest.raises(UnavailableError, match="list the tags of"):
        registry.referrers.list(pin(image))


def test_where_lists_are_not_taken_no_tag_is_left_behind() -> None:
    """Harbor 1.8 to 1.10."""
    registry = TagsOnly()
    image = registry.image()
    registry.takes_lists = False
    with pytest.raises(UnsupportedError) as caught:
        registry.attach(image, "record")
    assert "Harbor 2.0" in (caught.value.hint or "")
    assert registry.tags == {}
    assert registry.seen(image) == set()


def test_one_look_lists_the_tags_of_a_repository_once_however_many_images_it_looks_at() -> None:
    registry = TagsOnly()
    images = [registry.image() for _ in range(6)]
    for image in images:
        registry.attach(image, "record")
        registry.overwrite(image)
    registry.asked.clear()
    look = registry.referrers.remembering()
    found = fanout.each(images, lambda image: look.list(pin(image)), jobs=3)
    assert [len(outcome.unwrap()) for outcome in found] == [1] * 6
    assert registry.asked.count(("GET", "tags/list")) == 1


def test_who_writes_during_a_look_puts_back_what_was_overwritten_since_it_began() -> None:
    registry = TagsOnly()
    image = registry.image()
    look = registry.referrers.remembering()
    assert look.list(pin(image)) == ()
    made = {registry.attach(image, "lost")}
    registry.overwrite(image)
    artifact = replace(ARTIFACT, content=b"written during a look")
    made.add(look.attach(pin(image), image.descriptor, artifact).digest)
    assert registry.listed(image) == made


def test_each_look_of_its_own_sees_what_was_attached_since() -> None:
    registry = TagsOnly()
    image = registry.image()
    referrers = registry.referrers
    assert referrers.list(pin(image)) == ()
    registry.attach(image, "rejection")
    registry.overwrite(image)
    assert len(referrers.list(pin(image))) == 1


def test_thousands_of_tags_that_somebody_made_are_counted_and_not_read() -> None:
    registry = TagsOnly()
    image = registry.image()
    for number in range(2001):
        registry.tags[own_tag(image.digest, Digest.of(str(number).encode()))] = str(image.digest)
    assert len(registry.referrers.list(pin(image))) == 2001
    assert len(registry.asked) == 3


def test_a_copy_of_evidence_has_tags_of_its_own_too() -> None:
    registry = TagsOnly()
    image = registry.image()
    made = [registry.attach(image, text) for text in ("one", "two")]
    attached = [registry.client.manifest(PLACE.pin(one)) for one in made]
    registry.tags.clear()
    registry.referrers.enlist(pin(image), [one for one in attached if isinstance(one, Manifest)])
    assert registry.listed(image) == set(made)
    assert {own_tag(image.digest, one) for one in made} < set(registry.tags)
