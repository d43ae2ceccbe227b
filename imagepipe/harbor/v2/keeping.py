"""Makes a Harbor 2.x keep images: a tag of our own on each, and one immutable rule per project that names those tags.

An artifact with an immutable tag is passed over by every retention run, and cannot be deleted, nor can its repository.
A label would stop neither. The rule names whole tags, so that one image can be let go of while the others stay kept.
Source: goharbor/harbor v2.15.2 src/pkg/retention/policy/action/performer.go (isImmutable),
src/controller/artifact/controller.go (Delete), docs "Tag Immutability Rules".

>>> Keeper2.__name__
'Keeper2'
"""

import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import cached_property
from typing import Any, Final

from imagepipe.errors import ImagepipeError, PermissionRefusedError, RefusedError, UnsupportedError
from imagepipe.harbor.client import Call
from imagepipe.harbor.connection import Connection
from imagepipe.harbor.paging import Listing, every
from imagepipe.harbor.v2.session import Session, encoded_repository, open_session, project_path
from imagepipe.harbor.wire import Foreign, Items, parse
from imagepipe.model.access import Project
from imagepipe.model.digest import Digest
from imagepipe.model.protection import KEEP, keep_tag
from imagepipe.model.reference import Pinned, Repository

__all__ = ["Keeper2"]

_OWN_TAG: Final = rf"{KEEP}[0-9a-f]{{32}}"
_OWN_RULE: Final = re.compile(rf"{_OWN_TAG}|\{{{_OWN_TAG}(?:,{_OWN_TAG})*\}}")
_INSTEAD: Final = (
    "VIC's Harbor 1.7 has no retention that could delete an image (Harbor 1.9 has), and no immutable tags (1.10 has): "
    "ask `imagepipe protect --check IMAGE` before anybody deletes one"
)


class _Tag(Foreign):
    name: str = ""
    immutable: bool = False


class _Artifact(Foreign):
    digest: str
    tags: Items[_Tag] = ()


class _Selector(Foreign):
    pattern: str = ""


class _Rule(Foreign):
    id: int
    disabled: bool = False
    tag_selectors: Items[_Selector] = ()

    @property
    def tags(self) -> frozenset[str]:
        """The tags that it names, if it is ours; none else."""
        patterns = [selector.pattern for selector in self.tag_selectors]
        if len(patterns) != 1 or not _OWN_RULE.fullmatch(patterns[0]):
            return frozenset()
        return frozenset(patterns[0].strip("{}").split(","))


class Keeper2:
    """Keeps `ports.protection.Keeper`; Harbor is not asked before it is needed.

    Args:
        connect: Tells how Harbor is reached.
        registry: Whose images it keeps.
        dialect: Take it for this one; None: find out.
    """

    def __init__(self, connect: Callable[[], Connection], *, registry: str | None, dialect: str | None = None) -> None:
        self._connect = connect
        self._registry = registry
        self._dialect = dialect

    def kept(self, repository: Repository) -> Mapping[Digest, bool]:
        """Returns what was asked to be kept, and whether its tag is immutable.

        A tag that another rule keeps, and not ours, stays when we let go: it asks for nothing.
        """
        what = f"look what is kept of {repository.path}"
        self._check(repository, what)
        # Harbor reads `~` as "holds", and has no other way to ask for a beginning.
        params: dict[str, str | int | bool] = {"q": f"tags=~{KEEP}", "with_accessory": False}
        params |= {"with_tag": True, "with_immutable_status": True}
        with self._session.inside(repository.project):
            rows = every(self._session.client, Listing(self._artifacts(repository), what, params))
        found = dict[Digest, bool]()
        for artifact in (parse(_Artifact, row, what) for row in rows):
            digest = Digest.parse(artifact.digest)
            own = keep_tag(repository.pin(digest))
            found.update((digest, tag.immutable) for tag in artifact.tags if tag.name == own)
        named = self._named(repository.project, what) if any(found.values()) else None
        if named is None:
            return found
        return {one: held for one, held in found.items() if not held or keep_tag(repository.pin(one)) in named}

    def keep(self, images: Sequence[Pinned]) -> None:
        """Makes Harbor keep images: first the rule, which who may not write leaves nothing behind, then the tags.

        A tag that is new may be set under a rule that names it.
        Source: goharbor/harbor v2.15.2 src/server/middleware/immutable/pushmf.go
        """
        for image in images:
            self._check(image.repository, f"keep {image}")
        for project, tags in _by_project(images).items():
            self._change_rule(project, add=tags)
        for image in images:
            body = {"name": keep_tag(image)}
            call = Call("POST", self._tags(image), f"keep {image}", body=body, accept=(409,))
            self._in(image.repository.project, call)
        for repository in dict.fromkeys(image.repository for image in images):
            kept = self.kept(repository)
            lost = [image for image in images if image.repository == repository and not kept.get(image.digest)]
            if lost:
                raise RefusedError(
                    f"keep {lost[0]}: Harbor took it, and its tag {keep_tag(lost[0])} is not immutable",
                    hint=f"look at the tag immutability rules of project {repository.project}, then run it again",
                )

    def release(self, images: Sequence[Pinned]) -> None:
        """Lets go of images: first the rule, then the tags, which could not be removed before.

        A tag that another rule keeps (`**` is usual) cannot be removed, and does no harm.
        """
        for project, tags in _by_project(images).items():
            self._change_rule(project, remove=tags)
        for image in images:
            path = f"{self._tags(image)}/{keep_tag(image)}"
            self._in(image.repository.project, Call("DELETE", path, f"let go of {image}", accept=(404, 412)))

    def _change_rule(self, project: str, *, add: Iterable[str] = (), remove: Iterable[str] = ()) -> None:
        """Makes one rule name what ours named and what is added; a rule that somebody switched off counts for nothing.

        Changing the flag and the tags of a rule at once changes the flag only, so a rule that is off is replaced.
        Source: goharbor/harbor v2.15.2 src/server/v2.0/handler/immutable.go (UpdateImmuRule)
        """
        what, path = f"change what is kept in project {project}", self._rules(project)
        own = self._own_rules(project, what)
        live = [rule for rule in own if not rule.disabled]
        named = {tag for rule in live for tag in rule.tags}
        wanted = sorted((named | set(add)) - set(remove))
        stays = live[0] if live and wanted else None
        if stays is None and wanted:
            self._in(project, Call("POST", path, what, body=_body(wanted)))
        elif stays is not None and sorted(stays.tags) != wanted:
            self._in(project, Call("PUT", f"{path}/{stays.id}", what, body=_body(wanted) | {"id": stays.id}))
        for rule in own:
            if rule is not stays:
                self._in(project, Call("DELETE", f"{path}/{rule.id}", what, accept=(404,)))

    def _named(self, project: str, what: str) -> frozenset[str] | None:
        """Returns the tags that our rule names; None where rules are not shown to us."""
        try:
            rules = self._own_rules(project, what)
        except PermissionRefusedError:
            return None
        return frozenset(tag for rule in rules if not rule.disabled for tag in rule.tags)

    def _own_rules(self, project: str, what: str) -> list[_Rule]:
        try:
            with self._session.inside(project):
                rows = every(self._session.client, Listing(self._rules(project), what))
        except PermissionRefusedError as error:
            raise _by_maintainer(error, project) from error
        rules = [parse(_Rule, row, what) for row in rows]
        return sorted((rule for rule in rules if rule.tags), key=lambda rule: rule.id)

    def _in(self, project: str, call: Call) -> None:
        try:
            with self._session.inside(project):
                self._session.client.call(call)
        except PermissionRefusedError as error:
            raise _by_maintainer(error, project) from error

    def _rules(self, project: str) -> str:
        return self._session.path(Project(project), "immutabletagrules")

    def _artifacts(self, repository: Repository) -> str:
        return project_path(repository.project, "repositories", encoded_repository(repository.name), "artifacts")

    def _tags(self, image: Pinned) -> str:
        return f"{self._artifacts(image.repository)}/{image.digest}/tags"

    def _check(self, repository: Repository, what: str) -> None:
        if repository.registry != self._registry:
            raise UnsupportedError(
                f"{what}: it is not in the Harbor that is configured ({self._registry or 'none'})",
                hint="name that registry in imagepipe.toml",
            )

    @cached_property
    def _session(self) -> Session:
        return open_session(self._connect(), self._dialect, "make Harbor keep images", instead=_INSTEAD)


def _by_project(images: Sequence[Pinned]) -> dict[str, set[str]]:
    found: dict[str, set[str]] = {}
    for image in images:
        found.setdefault(image.repository.project, set()).add(keep_tag(image))
    return found


def _body(tags: Sequence[str]) -> dict[str, Any]:
    """Returns the rule as Harbor's own web interface writes it. Source: v2.15.2 api/v2.0/swagger.yaml ImmutableRule."""
    pattern = tags[0] if len(tags) == 1 else f"{{{','.join(tags)}}}"
    return {
        "action": "immutable",
        "template": "immutable_template",
        "disabled": False,
        "tag_selectors": [{"kind": "doublestar", "decoration": "matches", "pattern": pattern}],
        "scope_selectors": {"repository": [{"kind": "doublestar", "decoration": "repoMatches", "pattern": "**"}]},
    }


def _by_maintainer(error: ImagepipeError, project: str) -> PermissionRefusedError:
    return PermissionRefusedError(error.message, hint=f"run it as a maintainer or admin of project {project}")
