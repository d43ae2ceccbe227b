"""The main job: a pipeline becomes a signed digest, and what the registry returns is proven before anybody is told.

>>> from imagepipe.build.runner import run_pipelines
>>> run_pipelines.__name__
'run_pipelines'
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime

from imagepipe import fanout
from imagepipe.build.base import Bases, find_bases
from imagepipe.build.naming import oci_labels, resolve_tags
from imagepipe.build.ports import BuildWorld
from imagepipe.build.provenance import BuildFacts, provenance_predicate
from imagepipe.build.publish import push
from imagepipe.errors import (
    BuildError,
    InputError,
    NotFoundError,
)
from imagepipe.events import step
from imagepipe.model.evidence import PROVENANCE_PREDICATE, SIGNATURE_PREDICATE, Statement
from imagepipe.model.manifest import Manifest
from imagepipe.model.pipeline import Pipeline
from imagepipe.model.reference import Pinned, Reference, Repository
from imagepipe.model.result import BuildRequest, BuiltImage, EvidenceResult, RunResult, SourceRevision

__all__ = ["RunOptions", "run_pipelines"]

# Where a Dockerfile names an image without a host. Source: distribution reference/normalize.go.
_DOCKER_HUB = "docker.io"


@dataclass(frozen=True, slots=True, kw_only=True)
class RunOptions:
    """How to run.

    Attributes:
        registry: `host[:port]` that images are named for.
        tags: Tags that replace the pipelines' own; empty: theirs.
        push: Whether to push at all; unpushed images are not signed.
        jobs: Pipelines at once, within what `needs` allows.
        build_timeout_s: Longest silence of the builder, in seconds.
    """

    registry: str
    tags: tuple[str, ...] = ()
    push: bool = True
    jobs: int = 1
    build_timeout_s: float = 3600.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Job:
    """One pipeline on its way, every name resolved.

    Attributes:
        args: Build arguments, with those that its needs arrive as.
        unpushed: Image ids among them: what was built for it and is on the build host alone.
        blocked_by: The needs that failed.
    """

    pipeline: Pipeline
    repository: Repository
    revision: SourceRevision | None
    references: tuple[Reference, ...]
    args: Mapping[str, str] = field(hash=False, repr=False)
    unpushed: frozenset[str] = frozenset()
    blocked_by: tuple[str, ...] = ()

    @property
    def platform(self) -> str:
        return str(self.pipeline.build.platforms[0])


@dataclass(frozen=True, slots=True)
class _Built:
    image: BuiltImage
    bases: tuple[Pinned, ...]
    started: datetime
    finished: datetime


Done = dict[str, fanout.Outcome[Pipeline, RunResult]]


def run_pipelines(
    pipelines: Sequence[Pipeline], options: RunOptions, world: BuildWorld
) -> tuple[fanout.Outcome[Pipeline, RunResult], ...]:
    """Builds, pushes, signs and proves every pipeline, those that others need first.

    A pipeline whose need failed is not built. Names are checked for all before anything is built.

    Returns:
        One outcome per pipeline, in the order of the given pipelines.

    Raises:
        InputError: Two images claim one tag, or a tag cannot be made.
        IdentityError: There is nobody to sign as; nothing was built.
    """
    jobs = _prepare(pipelines, options, world)
    if options.push and world.writer is not None:
        world.writer.signatory()  # what could not be signed is neither built nor pushed
    done: Done = {}
    for batch in _batches(pipelines):
        ready = [_with_needs(jobs[pipeline.name], done) for pipeline in batch]
        for outcome in fanout.each(ready, lambda job: _run_one(job, options, world), jobs=options.jobs):
            name = outcome.item.pipeline.name
            done[name] = fanout.Outcome(outcome.item.pipeline, outcome.result, outcome.error)
    return tuple(done[pipeline.name] for pipeline in pipelines)


def _prepare(pipelines: Sequence[Pipeline], options: RunOptions, world: BuildWorld) -> dict[str, Job]:
    revisions = [world.source_control.revision(pipeline.build.context) for pipeline in pipelines]
    tags = resolve_tags(pipelines, registry=options.registry, revisions=revisions, instead=options.tags)
    return {
        pipeline.name: Job(
            pipeline=pipeline,
            repository=pipeline.repository(options.registry),
            revision=revision,
            references=references,
            args={key: value.replace("{registry}", options.registry) for key, value in pipeline.build.args.items()},
        )
        for pipeline, revision, references in zip(pipelines, revisions, tags, strict=True)
    }


def _batches(pipelines: Sequence[Pipeline]) -> list[list[Pipeline]]:
    """Groups pipelines, which come in build order, so that each batch needs earlier batches only."""
    level: dict[str, int] = {}
    found: list[list[Pipeline]] = []
    for pipeline in pipelines:
        level[pipeline.name] = 1 + max((level.get(need, -1) for need in pipeline.needs), default=-1)
        if level[pipeline.name] == len(found):
            found.append([])
        found[level[pipeline.name]].append(pipeline)
    return found


def _with_needs(job: Job, done: Done) -> Job:
    """Hands each needed image to the build as an argument named like it (`base` -> BASE), unless one is given.

    One that was not pushed has no digest yet: it is named by the id that the build host knows it by.
    """
    args, unpushed = dict(job.args), set[str]()
    for need in job.pipeline.needs:
        result = done[need].result
        if result is None:
            continue
        name = str(result.image or next(iter(result.image_ids.values())))
        args.setdefault(need.upper().replace("-", "_").replace(".", "_"), name)
        unpushed |= set() if result.image else {name}
    failed = [need for need in job.pipeline.needs if done[need].error is not None]
    return replace(job, args=args, unpushed=frozenset(unpushed), blocked_by=tuple(failed))


def _run_one(job: Job, options: RunOptions, world: BuildWorld) -> RunResult:
    if job.blocked_by:
        raise BuildError(
            f"{job.pipeline.name}: not built, because {', '.join(job.blocked_by)} failed", hint="repair that one first"
        )
    built = _build(job, options, world)
    if not options.push:
        image_ids = {job.platform: built.image.image_id}
        return RunResult(job.pipeline.name, None, job.references, None, {}, image_ids)
    manifest = push(job.references, built.image.image_id, world)
    image = job.repository.pin(manifest.digest)
    return RunResult(
        name=job.pipeline.name,
        image=image,
        tags=job.references,
        index=None,
        manifests={job.platform: manifest.digest},
        image_ids={job.platform: manifest.image_id},
        size_bytes=manifest.size_bytes,
        evidence=_evidence(job, image, manifest, built, world),
    )


def _build(job: Job, options: RunOptions, world: BuildWorld) -> _Built:
    spec, name = job.pipeline.build, job.pipeline.name
    started = world.clock.now()
    found = _find_bases(job)
    pinned = {text: _provide(text, job, world) for text in found.every if text not in job.unpushed}
    below = pinned.get(found.final) if found.final else None
    request = BuildRequest(
        name=name,
        context=spec.context,
        dockerfile=spec.dockerfile,
        tag=job.references[0],
        platform=job.platform,
        target=spec.target,
        args=job.args,
        labels=oci_labels(
            job.pipeline,
            job.revision,
            base_name=found.final if below else None,
            base_digest=below.digest if below else None,
        ),
        timeout_s=options.build_timeout_s,
    )
    with step(world.events, "build", name) as note:
        image = world.builder.build(request, world.events)
        note.detail = f"image id {image.image_id}"
    _check_source(job, world)
    return _Built(image, tuple(pinned.values()), started, world.clock.now())


def _check_source(job: Job, world: BuildWorld) -> None:
    """Returns when the checkout still stands where it stood: two jobs in one would sign the other's files as their own.

    Raises:
        InputError: Somebody checked out another commit there meanwhile.
    """
    if job.revision is None:
        return
    before, now = job.revision.commit, world.source_control.commit(job.pipeline.build.context)
    if now != before:
        raise InputError(
            f"{job.pipeline.name}: its source went from {before} to {now or 'nothing'} while it was built",
            hint="give each job a checkout of its own, then run again",
        )


def _find_bases(job: Job) -> Bases:
    spec = job.pipeline.build
    path = spec.context / spec.dockerfile
    try:
        text = path.read_text(encoding="utf-8", errors="surrogateescape")  # the engine takes any bytes
    except OSError as error:
        raise InputError(
            f"{job.pipeline.where('build.dockerfile')}: no Dockerfile at {path}",
            hint="correct build.context or build.dockerfile",
        ) from error
    try:
        return find_bases(text, job.args, spec.target)
    except InputError as error:
        raise error.doing(str(path)) from error


def _provide(text: str, job: Job, world: BuildWorld) -> Pinned:
    """Pins the base once, and makes the build host use exactly that."""
    where = f"{job.pipeline.build.dockerfile} of {job.pipeline.name}: base image {text}"
    try:
        reference = Reference.parse(text, default_registry=_DOCKER_HUB)
    except InputError as error:
        raise error.doing(where) from error
    with step(world.events, "base", text) as note:
        try:
            digest = reference.digest or world.source.resolve(_tagged(reference)).digest
        except NotFoundError as error:
            raise error.doing(where) from error
        pinned = reference.repository.pin(digest)
        world.builder.provide(pinned, reference, world.events)
        note.detail = str(digest)
    return pinned


def _tagged(reference: Reference) -> Reference:
    return reference if reference.tag else reference.repository.tagged("latest")


def _evidence(
    job: Job, image: Pinned, manifest: Manifest, built: _Built, world: BuildWorld
) -> tuple[EvidenceResult, ...]:
    if world.writer is None:
        return ()
    statements = [Statement.about(image, SIGNATURE_PREDICATE, {})]
    if job.pipeline.attest.provenance:
        predicate = provenance_predicate(_facts(job, built, world))
        statements.append(Statement.about(image, PROVENANCE_PREDICATE, predicate))
    with step(world.events, "sign", str(image)) as note:
        results = world.writer.ensure(image, manifest.descriptor, statements)
        note.detail = f"by {results[0].signatory}" + ("" if results[0].created else ", was there already")
    return results


def _facts(job: Job, built: _Built, world: BuildWorld) -> BuildFacts:
    return BuildFacts(
        pipeline_path=_relative(job),
        pipeline_digest=job.pipeline.digest,
        revision=job.revision,
        bases=built.bases,
        args=job.args,
        target=job.pipeline.build.target,
        platform=job.platform,
        builder=built.image.builder,
        version=world.version,
        invocation=world.invocation,
        started_at=built.started,
        finished_at=built.finished,
    )


def _relative(job: Job) -> str:
    path, root = job.pipeline.file, job.revision.root if job.revision else None
    return str(path.relative_to(root)) if root and path.is_relative_to(root) else path.name
