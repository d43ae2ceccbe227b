"""Makes the SLSA provenance of a build: pure, from what the runner saw.

>>> provenance_predicate.__name__
'provenance_predicate'
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Final

from imagepipe.model.digest import Digest
from imagepipe.model.reference import Pinned
from imagepipe.model.result import SourceRevision

__all__ = ["BuildFacts", "provenance_predicate"]

# Ours: how to read externalParameters is said in docs of this project.
BUILD_TYPE: Final = "https://imagepipe.dev/build/v1"
BUILDER_ID: Final = "https://imagepipe.dev/builder/v1"


@dataclass(frozen=True, slots=True, kw_only=True)
class BuildFacts:
    """What the runner saw of one build.

    Attributes:
        pipeline_path: The pipeline file, relative to the work tree's root where there is one.
        pipeline_digest: The digest of that file's bytes.
        revision: Where the source stood, or None outside version control.
        bases: The images that the stages start from, pinned.
        args: Names of the build arguments given; values may be private and stay out.
        builder: Which builder it was, such as `docker-engine/20.10.24 (classic)`.
        version: The version of imagepipe.
        invocation: The CI job's URL, or None.
        started_at: Aware, UTC.
        finished_at: The same.
    """

    pipeline_path: str
    pipeline_digest: Digest
    revision: SourceRevision | None
    bases: Sequence[Pinned]
    args: Mapping[str, str] = field(repr=False)
    target: str | None
    platform: str
    builder: str
    version: str
    invocation: str | None
    started_at: datetime
    finished_at: datetime


def provenance_predicate(facts: BuildFacts) -> dict[str, Any]:
    """Returns the predicate of an SLSA v1 provenance statement.

    Source: SLSA v1.0 provenance; cosign's parser requires buildDefinition, builder.id and the metadata's times.
    """
    external: dict[str, Any] = {
        "pipeline": {"path": facts.pipeline_path, "digest": {"sha256": facts.pipeline_digest.hex}},
        "platform": facts.platform,
        "argNames": sorted(facts.args),
    }
    if facts.target:
        external["target"] = facts.target
    if facts.revision:
        external["source"] = _source(facts.revision)
    metadata: dict[str, Any] = {"startedOn": _stamp(facts.started_at), "finishedOn": _stamp(facts.finished_at)}
    metadata["invocationId"] = facts.invocation or f"local:{facts.started_at.isoformat()}"
    return {
        "buildDefinition": {
            "buildType": BUILD_TYPE,
            "externalParameters": external,
            "internalParameters": {"dirty": facts.revision.dirty if facts.revision else None},
            "resolvedDependencies": _dependencies(facts),
        },
        "runDetails": {
            "builder": {"id": BUILDER_ID, "version": {"imagepipe": facts.version, "builder": facts.builder}},
            "metadata": metadata,
        },
    }


def _source(revision: SourceRevision) -> dict[str, Any]:
    source: dict[str, Any] = {"digest": {"gitCommit": revision.commit}}
    if revision.url:
        source["uri"] = f"git+{revision.url}"
    if revision.branch:
        source["branch"] = revision.branch
    return source


def _dependencies(facts: BuildFacts) -> list[dict[str, Any]]:
    found = [
        {"name": "base", "uri": f"oci://{base.repository}", "digest": {"sha256": base.digest.hex}}
        for base in facts.bases
    ]
    found.append({"name": facts.pipeline_path, "digest": {"sha256": facts.pipeline_digest.hex}})
    if facts.revision:
        found.append({"name": "source", **_source(facts.revision)})
    return found


def _stamp(moment: datetime) -> str:
    return moment.strftime("%Y-%m-%dT%H:%M:%SZ")
