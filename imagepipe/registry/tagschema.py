"""What is attached to images where a registry has no referrers API: one list at a tag, and a tag for each in it.

Every tool reads and writes the list, and no registry can be told to take it only where nobody wrote meanwhile: whoever
read it before us may write it after us, however late, and it lacks what is ours from then on. A tag of its own, which
holds the attachment's digest, is written by nobody else. So everything attached gets that first; what the list lacks is
found by those tags, and whoever writes the list next puts it back.

>>> subject, attached = Digest.of(b"an image"), Digest.of(b"its signature")
>>> tag = own_tag(subject, attached)
>>> tag.startswith(f"{fallback_tag(subject)}."), len(tag)
(True, 124)
>>> named_by(subject, ["1.4", tag, fallback_tag(subject)]) == [attached]
True
"""

import base64
import json
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, Final

from imagepipe import fanout
from imagepipe.errors import AccessError, NotFoundError, RefusedError, UnavailableError, UnsupportedError
from imagepipe.model import media
from imagepipe.model.digest import Digest
from imagepipe.model.manifest import Descriptor, Index, Manifest, Platform
from imagepipe.model.received import json_in
from imagepipe.model.reference import Pinned, Reference, Repository
from imagepipe.once import Once
from imagepipe.registry.client import RegistryClient, foreign

__all__ = [
    "TagSchema",
    "attached_to",
    "entry",
    "fallback_tag",
    "json_of",
    "missing",
    "named_by",
    "own_tag",
    "parsed_list",
]

_NO_PLATFORM: Final = Platform("unknown", "unknown")
_NO_LISTS: Final = "Harbor 1.8 to 1.10 take no lists, so nothing can be attached to an image: use Harbor 2.0 or newer"
# A digest in hexadecimal is 64 characters; two, and what says what they are, do not fit into a tag's 128.
# Source: RFC 4648 section 6; OCI distribution-spec v1.1 "Pulling manifests"; Harbor 1.x keeps 128 of a tag in its log
_BASE32: Final = re.compile(r"[a-z2-7]{52}")
_PADDING: Final = "===="
# Whoever lists what is attached refuses to look at more anyway: somebody's thousands of tags are not read one by one.
_READ_AT_MOST: Final = 2000
_JOBS: Final = 4


def fallback_tag(digest: Digest) -> str:
    """Returns the tag at which referrers are listed. Source: OCI distribution-spec v1.1 "Referrers Tag Schema"."""
    return str(digest).replace(":", "-")


def own_tag(subject: Digest, attached: Digest) -> str:
    """Returns the tag that one attachment has for itself.

    It begins as the tags of lists and of cosign's signatures do, by which tools know what speaks of an image.
    Source: go-containerregistry cmd/crane/cmd/list.go `--omit-digest-tags`
    """
    spelled = base64.b32encode(bytes.fromhex(attached.hex)).decode().rstrip("=").lower()
    return f"{fallback_tag(subject)}.{spelled}"


def named_by(subject: Digest, tags: Iterable[str]) -> list[Digest]:
    """Returns the digests of those attachments of an image that have a tag of their own among these."""
    start = f"{fallback_tag(subject)}."
    spelled = (tag.removeprefix(start) for tag in tags if tag.startswith(start))
    found = (base64.b32decode(text.upper() + _PADDING) for text in spelled if _BASE32.fullmatch(text))
    return [Digest(raw.hex()) for raw in found]


class TagSchema:
    """Lists what is attached, by tags; may be shared by threads.

    Who may read a repository and may not list its tags sees what the list holds, as every other tool does. No Harbor
    and no Docker registry is like that: both ask for the right to pull, and for nothing else.
    Source: distribution v2.6.2 registry/handlers/app.go appendAccessRecords; Harbor v2.15.2 server/middleware/v2auth

    Args:
        client: Reads and writes the registries.
        tags: Names the tags of a repository; None: asks the registry each time.
    """

    def __init__(self, client: RegistryClient, *, tags: Callable[[Repository], Sequence[str]] | None = None) -> None:
        self._client = client
        self._tags = tags or self._tags_shown

    def remembering(self) -> "TagSchema":
        """Returns the same for one look, during which a repository's tags are listed once."""
        return TagSchema(self._client, tags=Once(self._tags))

    def listed(self, image: Pinned) -> Sequence[Any]:
        """Returns what the list alone says, as JSON objects."""
        return self._index(image).get("manifests") or ()

    def list(self, image: Pinned) -> tuple[Descriptor, ...]:
        """Returns what is in the list, each as it says itself what it is, and then what the list lacks.

        Whoever may push may write into the list that a rejection is something else, and nobody would read it.
        """
        listed = self.listed(image)
        with foreign(f"list what is attached to {image}"):
            entries = [Descriptor.from_json(one) for one in listed]
        if len(entries) <= _READ_AT_MOST:
            outcomes = fanout.each(entries, lambda one: self._in_its_own_words(image, one), jobs=_JOBS)
            entries = [outcome.unwrap() for outcome in outcomes]
        return (*entries, *self._lost(image, listed, self._tags(image.repository)))

    def enlist(self, image: Pinned, made: Sequence[Manifest]) -> bool:
        """Gives each a tag of its own, and then puts into the list what it lacks, of these and of what others made.

        Returns:
            False where the registry does not show yet what it holds, because a rival writes the same.

        Raises:
            UnsupportedError: The registry takes no lists; nothing was tagged then.
        """
        try:
            self._enlist(image, made)
        except NotFoundError:
            return False
        return True

    def _enlist(self, image: Pinned, made: Sequence[Manifest]) -> None:
        entries, tags = [entry(one) for one in made], self._tags_shown(image.repository)
        # Beside Docker manifests it is a Docker manifest list, at the same tag.
        docker = any(one.media_type == media.DOCKER_MANIFEST for one in made)
        kind = media.DOCKER_LIST if docker else media.OCI_INDEX
        if fallback_tag(image.digest) not in tags:
            # What no list can lead to must not be found all the same: whether lists are taken is seen before.
            raw = _with({"schemaVersion": 2}, entries, kind)
            self._put(image, raw, kind, str(Digest.of(raw)))
        for one in made:
            if (tag := own_tag(image.digest, one.digest)) not in tags:
                self._mark(image, one, tag)
        index = self._index(image)
        listed = index.get("manifests") or ()
        lost = self._lost(image, [*listed, *(one.to_json() for one in entries)], tags)
        lacking = [*missing(listed, entries), *(one for one in lost if one.size_bytes)]
        if not lacking:
            return
        try:
            self._put(image, _with(index, lacking, kind), kind, fallback_tag(image.digest))
        except NotFoundError:
            # No list is taken that names what the registry does not hold, and who deletes leaves the entry there.
            held = [one for one in listed if self._holds(image, one)]
            if len(held) == len(listed):
                raise
            kept = {**index, "manifests": held}
            self._put(image, _with(kept, lacking, kind), kind, fallback_tag(image.digest))

    def _mark(self, image: Pinned, one: Manifest, tag: str) -> None:
        try:
            self._client.put_manifest(image.repository, one.raw, one.media_type, tag)
        except RefusedError:
            # A rule that lets no tag move may refuse to write one again, too, where the first answer was lost.
            found = self._client.find(image.repository.tagged(tag))
            if found is None or found.digest != one.digest:
                raise

    def _holds(self, image: Pinned, listed: Mapping[str, Any]) -> bool:
        named = Reference(image.repository, digest=Digest.parse(str(listed["digest"])))
        return self._client.find(named) is not None

    def _lost(self, image: Pinned, listed: Iterable[Any], tags: Sequence[str]) -> tuple[Descriptor, ...]:
        """Returns what has a tag of its own and no entry; of size 0 where it cannot be read: `fetch` tells why."""
        known = {one.get("digest") for one in listed}
        lost = [digest for digest in dict.fromkeys(named_by(image.digest, tags)) if str(digest) not in known]
        if len(lost) > _READ_AT_MOST:
            return tuple(_unread(digest) for digest in lost)
        outcomes = fanout.each(lost, lambda digest: self._found(image, digest), jobs=_JOBS)
        return tuple(found for outcome in outcomes if (found := outcome.unwrap()) is not None)

    def _in_its_own_words(self, image: Pinned, listed: Descriptor) -> Descriptor:
        """Returns an entry of the list as its manifest has it; as it stands where that is gone, or not attached."""
        return self._found(image, listed.digest) or listed

    def _found(self, image: Pinned, digest: Digest) -> Descriptor | None:
        """Returns what is attached by that digest; None where it is gone, or is not attached to the image at all."""
        what = f"read {digest}, attached to {image}"
        try:
            # By digest: it does not matter what somebody made its own tag point at, or wrote into the list.
            manifest = self._client.read(image.repository, str(digest), what, expected=digest)
        except NotFoundError:
            return None
        except RefusedError:
            return _unread(digest)
        attached = attached_to(image.digest, manifest)
        return entry(attached) if attached is not None else None

    def _tags_shown(self, repository: Repository) -> tuple[str, ...]:
        try:
            return self._client.tags(repository)
        except (AccessError, RefusedError):
            return ()

    def _index(self, image: Pinned) -> dict[str, Any]:
        """Returns the list as a JSON object; an empty one where there is none."""
        tag = fallback_tag(image.digest)
        what = f"list what is attached to {image}, at tag {tag}"
        try:
            index = self._client.read(image.repository, tag, what)
        except NotFoundError:
            return {"schemaVersion": 2}
        if not isinstance(index, Index):
            raise RefusedError(f"{what}: it is {index.media_type}, not an index", hint="remove that tag")
        return parsed_list(index.raw, what)

    def _put(self, image: Pinned, raw: bytes, kind: str, at: str) -> None:
        try:
            self._client.put_manifest(image.repository, raw, kind, at)
        except UnsupportedError as error:
            # Source: goharbor/harbor#8855, src/core/middlewares/multiplmanifest/handler.go before 2.0
            raise UnsupportedError(error.message, hint=_NO_LISTS) from error


def attached_to(subject: Digest, manifest: Manifest | Index) -> Manifest | None:
    """Returns the manifest where it names that subject, else None."""
    named = manifest.subject if isinstance(manifest, Manifest) else None
    return manifest if isinstance(manifest, Manifest) and named is not None and named.digest == subject else None


def entry(attached: Manifest) -> Descriptor:
    """Returns what a list says of an attachment."""
    return Descriptor(
        attached.media_type,
        attached.digest,
        len(attached.raw),
        platform=_NO_PLATFORM if attached.media_type == media.DOCKER_MANIFEST else None,
        artifact_type=attached.artifact_type or attached.config.media_type,
        annotations=attached.annotations,
    )


def parsed_list(raw: bytes, what: str) -> dict[str, Any]:
    """Returns a list as a JSON object.

    Raises:
        UnavailableError: It is none.
    """
    try:
        data = json_in(raw)
    except ValueError as error:
        raise UnavailableError(f"{what}: the answer is not JSON") from error
    entries = data.get("manifests") or [] if isinstance(data, dict) else None
    if not isinstance(entries, list) or not all(isinstance(one, dict) for one in entries):
        raise UnavailableError(f"{what}: the answer is no index")
    return dict(data)


def missing(entries: Iterable[Any], made: Sequence[Descriptor]) -> list[Descriptor]:
    """Returns those that are not among the entries of a list."""
    named = {one.get("digest") for one in entries}
    return [one for one in made if str(one.digest) not in named]


def json_of(data: Mapping[str, Any]) -> bytes:
    """Returns JSON without a needless blank, as manifests are written."""
    return json.dumps(data, separators=(",", ":")).encode()


def _with(index: Mapping[str, Any], more: Sequence[Descriptor], kind: str) -> bytes:
    """Returns a list with more entries; the other entries stay as they were written."""
    entries = [*(index.get("manifests") or ()), *(one.to_json() for one in more)]
    entries.sort(key=lambda one: str(one.get("digest")))
    return json_of({**index, "mediaType": kind, "manifests": entries})


def _unread(digest: Digest) -> Descriptor:
    return Descriptor(media.OCI_MANIFEST, digest, 0)
