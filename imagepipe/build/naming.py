"""Fills the variables of tags and labels from the source revision, so that a rebuild of a commit is named the same.

| variable    | value                                                                    |
|-------------|--------------------------------------------------------------------------|
| `{version}` | `git describe --tags --always` without a leading `v`                     |
| `{branch}`  | the branch checked out                                                   |
| `{sha}`     | the first 12 hex digits of the commit                                    |
| `{date}`    | the day of the commit in UTC, `20261122`; never the day of the build     |
| `{name}`    | the pipeline's name                                                      |

>>> sorted(used("{branch}-{sha}"))
['branch', 'sha']
>>> sanitise("feature/Été #4")
'feature-t-4'
"""

import re
from collections.abc import Mapping, Sequence
from typing import Final

from imagepipe.errors import InputError
from imagepipe.model import media
from imagepipe.model.copying import RESERVED
from imagepipe.model.digest import Digest
from imagepipe.model.pipeline import Pipeline
from imagepipe.model.reference import Reference, Repository
from imagepipe.model.result import SourceRevision
from imagepipe.problems import did_you_mean

__all__ = ["VARIABLES", "check_template", "oci_labels", "resolve_tags", "sanitise", "tags_of", "used"]

VARIABLES: Final = ("version", "branch", "sha", "date", "name")
# Long enough to be unique in any repository; Docker shortens ids to the same length.
_SHA_CHARS: Final = 12
# Source: OCI distribution-spec v1.1 "Pulling manifests": a tag has at most 128 characters.
_TAG_CHARS: Final = 128
_BRACES: Final = re.compile(r"\{([^{}]*)\}|[{}]")

# Source: OCI image-spec v1.1 annotations.md "Pre-Defined Annotation Keys"
_TITLE: Final = "org.opencontainers.image.title"
_VERSION: Final = "org.opencontainers.image.version"
_REVISION: Final = "org.opencontainers.image.revision"
_SOURCE: Final = "org.opencontainers.image.source"
_BASE_NAME: Final = "org.opencontainers.image.base.name"
_BASE_DIGEST: Final = "org.opencontainers.image.base.digest"


def used(template: str) -> frozenset[str]:
    """Returns the names in braces; a brace that stands alone counts as the name of nothing."""
    return frozenset(match[1] or "" for match in _BRACES.finditer(template))


def check_template(template: str) -> str | None:
    """Returns what is wrong with a template's variables, or None."""
    for name in sorted(used(template)):
        if name not in VARIABLES:
            known = " ".join(f"{{{variable}}}" for variable in VARIABLES)
            return f"unknown variable {{{name}}} in {template!r}{did_you_mean(name, VARIABLES)} (there are {known})"
    return None


def sanitise(value: str) -> str:
    """Returns the value as part of a tag: what a tag may not hold becomes one `-`. Law: twice is as once."""
    return re.sub(r"[^A-Za-z0-9_.-]+", "-", value).strip("-.")


def tags_of(
    pipeline: Pipeline, *, registry: str, revision: SourceRevision | None, instead: Sequence[str] = ()
) -> tuple[Reference, ...]:
    """Returns the tags of one image, each once, in the order of the file.

    Args:
        pipeline: Whose tags.
        registry: `host` or `host:port`.
        revision: Where the source stands, or None outside version control.
        instead: Templates from the command line, which stand in place of the file's.

    Raises:
        InputError: A variable has no value here, is unknown, or the result is no tag; names file and line.
    """
    repository = pipeline.repository(registry)
    found: dict[Reference, None] = {}
    for index, template in enumerate(instead or pipeline.tags):
        where = "--tag" if instead else f"{pipeline.where(f'tags.{index}')}: tags.{index}"
        wrong = check_template(template)
        if wrong:
            raise InputError(f"{where}: {wrong}")
        try:
            values = {key: sanitise(value) for key, value in _values(template, pipeline, revision).items()}
            found[_tagged(repository, _filled_in(template, values))] = None
        except InputError as error:
            raise InputError(f"{where}: {error.message}", hint=error.hint) from error
    return tuple(found)


def resolve_tags(
    pipelines: Sequence[Pipeline],
    *,
    registry: str,
    revisions: Sequence[SourceRevision | None],
    instead: Sequence[str] = (),
) -> tuple[tuple[Reference, ...], ...]:
    """Returns the tags of every image, in the order of the pipelines, once no two claim the same one.

    Args:
        pipelines: The images of one run.
        registry: `host` or `host:port`.
        revisions: Where each pipeline's source stands, in the same order.
        instead: Templates from the command line, which stand in place of the files' of what was asked for.

    Raises:
        InputError: Two images claim one tag, or as `tags_of`.
    """
    claimed: dict[Reference, Pipeline] = {}
    resolved = []
    for pipeline, revision in zip(pipelines, revisions, strict=True):
        own = instead if pipeline.requested else ()
        tags = tags_of(pipeline, registry=registry, revision=revision, instead=own)
        for tag in tags:
            other = claimed.setdefault(tag, pipeline)
            if other is not pipeline:
                raise InputError(
                    f"{pipeline.where('tags')}: {tag} is claimed here and at {other.where('tags')}",
                    hint="give one of the images another name or other tags",
                )
        resolved.append(tags)
    return tuple(resolved)


def oci_labels(
    pipeline: Pipeline,
    revision: SourceRevision | None,
    *,
    base_name: str | None = None,
    base_digest: Digest | None = None,
) -> dict[str, str]:
    """Returns the image's labels; the pipeline's own win over the computed ones.

    `created` is the commit's time, so that a rebuild of the same commit can have the same digest. A revision whose
    files differ from the commit says so by `-dirty`.

    Args:
        pipeline: Whose labels.
        revision: Where the source stands, or None: what it would tell is left out.
        base_name: The image that the last stage builds on, as the Dockerfile names it.
        base_digest: Its digest.

    Raises:
        InputError: A label's variable is unknown or has no value here; names file and line.
    """
    labels: dict[str, str | None] = {_TITLE: pipeline.name, _BASE_NAME: base_name}
    labels[_BASE_DIGEST] = str(base_digest) if base_digest else None
    if revision is not None:
        labels[_VERSION] = revision.version
        labels[_REVISION] = f"{revision.commit}-dirty" if revision.dirty else revision.commit
        labels[_SOURCE] = revision.url
        labels[media.CREATED_ANNOTATION] = revision.committed_at
    for key, template in pipeline.labels.items():
        where = f"{pipeline.where(f'labels.{key}')}: labels.{key}"
        wrong = check_template(template)
        if wrong:
            raise InputError(f"{where}: {wrong}")
        try:
            labels[key] = _fill(template, _values(template, pipeline, revision))
        except InputError as error:
            raise InputError(f"{where}: {error.message}", hint=error.hint) from error
    return {key: value for key, value in sorted(labels.items()) if value}


def _tagged(repository: Repository, tag: str) -> Reference:
    if RESERVED.fullmatch(tag):
        raise InputError(f"the tag {tag} is kept for records and evidence", hint="choose another tag")
    return repository.tagged(tag)


def _filled_in(template: str, values: Mapping[str, str]) -> str:
    """Returns a tag that is not too long; a branch is cut first, never before it what tells commits apart."""
    tag, branch = _fill(template, values).lstrip("-."), values.get("branch", "")
    if branch and len(tag) > _TAG_CHARS:
        share = -(-(len(tag) - _TAG_CHARS) // template.count("{branch}"))
        shorter = branch[: max(0, len(branch) - share)].rstrip("-.")
        tag = _fill(template, {**values, "branch": shorter}).lstrip("-.")
    return tag[:_TAG_CHARS]


def _fill(template: str, values: Mapping[str, str]) -> str:
    return _BRACES.sub(lambda match: values[match[1]], template)


def _values(template: str, pipeline: Pipeline, revision: SourceRevision | None) -> dict[str, str]:
    """Returns a value for each variable that the template uses."""
    values: dict[str, str | None] = {"name": pipeline.name}
    if revision is not None:
        values["version"] = revision.version
        values["branch"] = revision.branch
        values["sha"] = revision.commit[:_SHA_CHARS]
        values["date"] = revision.committed_at[:10].replace("-", "")
    filled = {}
    for name in sorted(used(template)):
        value = values.get(name)
        if value is None and revision is None:
            raise InputError(
                f"{{{name}}} has no value: not in a git work tree with a commit, or git is not installed",
                hint="commit it to git, install git if it is missing, or give --tag",
            )
        if not value:
            raise InputError(f"{{{name}}} has no value here", hint="check out a branch, or use {sha} or {version}")
        filled[name] = value
    return filled
