"""What a run builds, and why: what changed since a revision, what needs that, and what that needs.

>>> plan_run.__name__
'plan_run'
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, Final

from imagepipe.build.naming import resolve_tags
from imagepipe.model.pipeline import Pipeline
from imagepipe.model.reference import Reference
from imagepipe.ports import SourceControl

__all__ = ["Planned", "plan_run", "select"]

_FILES_TOLD: Final = 3


@dataclass(frozen=True, slots=True)
class Planned:
    """What becomes of one pipeline in a run.

    Attributes:
        pipeline: Which.
        builds: Whether it is built; else it is left out.
        why: The reason, for people.
        changed: Files of it that changed, relative to the work tree's root.
        references: What its image will be tagged; empty where it is left out, or nobody asked.
    """

    pipeline: Pipeline
    builds: bool
    why: str
    changed: tuple[str, ...] = ()
    references: tuple[Reference, ...] = ()

    def to_json(self) -> dict[str, Any]:
        """Returns it as a JSON object."""
        return {
            "name": self.pipeline.name,
            "file": str(self.pipeline.file),
            "build": self.builds,
            "why": self.why,
            "changed": list(self.changed),
            "needs": list(self.pipeline.needs),
            "tags": [str(reference) for reference in self.references],
        }


def plan_run(
    pipelines: Sequence[Pipeline],
    since: str | None,
    *,
    registry: str,
    source: SourceControl,
    tags: Sequence[str] = (),
) -> tuple[Planned, ...]:
    """Returns what becomes of every pipeline, with the tags of what is built; nothing is asked but version control.

    Args:
        pipelines: Each after what it needs.
        since: As for `select`.
        registry: `host[:port]` that images are named for.
        source: What is checked out.
        tags: Tags that replace the pipelines' own; empty: theirs.

    Raises:
        InputError: Two images claim one tag, or a tag cannot be made.
        NotFoundError: The revision is unknown.
    """
    planned = select(pipelines, since, source=source)
    built = [one.pipeline for one in planned if one.builds]
    revisions = [source.revision(pipeline.build.context) for pipeline in built]
    named = resolve_tags(built, registry=registry, revisions=revisions, instead=tags)
    references = {pipeline.name: found for pipeline, found in zip(built, named, strict=True)}
    return tuple(replace(one, references=references.get(one.pipeline.name, ())) for one in planned)


def select(pipelines: Sequence[Pipeline], since: str | None, *, source: SourceControl) -> tuple[Planned, ...]:
    """Returns which pipelines a run builds, in their order.

    Changed is a pipeline whose own file changed, or what `paths` of it names; without `paths`, its context. What needs
    one that changed is built as well, and so is what those need: its digest is theirs to build on.

    Args:
        pipelines: Each after what it needs.
        since: The revision that the work tree is held against, uncommitted and untracked files included; None: all
            are built.
        source: What is checked out; not asked without a revision.

    Raises:
        NotFoundError: The revision is unknown, or a pipeline is in no work tree.
        InputError: Version control cannot compare what `paths` names.
    """
    if since is None:
        return tuple(Planned(pipeline, True, _asked(pipeline, pipelines)) for pipeline in pipelines)
    found = dict[str, Planned]()
    for pipeline in pipelines:
        changed = _changed(pipeline, since, source)
        anew = next((need for need in pipeline.needs if need in found), None)
        if changed is None:
            found[pipeline.name] = Planned(pipeline, True, "its context is in another work tree than its file")
        elif changed:
            found[pipeline.name] = Planned(pipeline, True, f"changed: {_few(changed)}", changed)
        elif anew is not None:
            found[pipeline.name] = Planned(pipeline, True, f"{anew}, which it needs, is built anew")
    for pipeline in reversed(pipelines):  # each after what needs it
        user = next((one for one in pipelines if pipeline.name in one.needs and one.name in found), None)
        if user is not None and pipeline.name not in found:
            found[pipeline.name] = Planned(pipeline, True, f"{user.name} needs it")
    left = f"nothing of it changed since {since}"
    return tuple(found.get(pipeline.name, Planned(pipeline, False, left)) for pipeline in pipelines)


def _asked(pipeline: Pipeline, pipelines: Sequence[Pipeline]) -> str:
    if pipeline.requested:
        return "asked for"
    return f"{next(one.name for one in pipelines if pipeline.name in one.needs)} needs it"


def _changed(pipeline: Pipeline, since: str, source: SourceControl) -> tuple[str, ...] | None:
    """Returns the files of a pipeline that changed; None where no one work tree can tell."""
    places = [pipeline.file]
    if not pipeline.paths:
        here, there = source.revision(pipeline.file), source.revision(pipeline.build.context)
        if here is not None and (there is None or here.root != there.root):
            return None
        places.append(pipeline.build.context)
    return source.changed_since(pipeline.file.parent, since, globs=pipeline.paths, places=places)


def _few(names: Sequence[str]) -> str:
    more = len(names) - _FILES_TOLD
    return ", ".join(names[:_FILES_TOLD]) + (f" and {more} more" if more > 0 else "")
