"""`imagepipe run` and `imagepipe schema`."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from imagepipe.cli.command import Failure, command
from imagepipe.cli.planning import Assignments, Files, Names, Tags
from imagepipe.cli.reports import Reports, shown_id
from imagepipe.cli.session import Session, error_body, error_document
from imagepipe.errors import ImagepipeError, PartialError

if TYPE_CHECKING:
    from imagepipe.build.planning import Planned
    from imagepipe.fanout import Outcome
    from imagepipe.model.pipeline import Pipeline
    from imagepipe.model.result import RunResult

__all__ = ["register"]


def register(app: typer.Typer) -> None:
    """Adds the commands of this module."""
    command(app, "run")(run)
    command(app, "schema")(schema)


def run(
    session: Session,
    pipeline: Names = None,
    file: Files = None,
    changed_since: Annotated[
        str | None,
        typer.Option(
            "--changed-since", metavar="REV", help="Only what changed since then; see `plan`.", show_default=False
        ),
    ] = None,
    jobs: Annotated[
        int | None, typer.Option("--jobs", "-j", min=1, help="Pipelines at once.", show_default=False)
    ] = None,
    tag: Tags = None,
    no_push: Annotated[bool, typer.Option("--no-push", help="Build only.")] = False,
    no_sign: Annotated[bool, typer.Option("--no-sign", help="Push without signature and provenance.")] = False,
    assign: Assignments = None,
    metadata_file: Annotated[
        Path | None, typer.Option("--metadata-file", help="Write the JSON document here too.", show_default=False)
    ] = None,
    dotenv: Annotated[
        Path | None, typer.Option("--dotenv", help="Write NAME_IMAGE=pinned lines here.", show_default=False)
    ] = None,
) -> None:
    """Build, push, sign and prove images.

    Prints one line per image that was asked for: its pinned reference. What those need is built, too.
    """
    from imagepipe.build.planning import select

    reports = Reports(metadata_file, dotenv)
    reports.begin()
    try:
        wiring = session.wiring(session.settings(build__jobs=jobs))
        pipelines = wiring.pipelines([*(pipeline or ()), *(str(path) for path in file or ())], assign or ())
        if changed_since is not None:
            pipelines = _only(session, select(pipelines, changed_since, source=wiring.source_control))
        wants = {"push": not no_push, "sign": not no_sign and not no_push}
        outcomes = wiring.run(pipelines, tags=tuple(tag or ()), **wants) if pipelines else ()
    except ImagepipeError as early:
        reports.refused(error_document(early))
        raise
    error = _failure(outcomes)
    unwritten = reports.end(run_document(outcomes, error), outcomes)
    error = error or unwritten  # the images are there, and whoever waits for their names on stdout gets them
    made = [(outcome.item, outcome.result) for outcome in outcomes if outcome.result is not None]
    # What is promoted, signed or put elsewhere is what was asked for, never alone what that stands on.
    text = "\n".join(shown_id(result) for asked, result in made if asked.requested)
    if text or (session.as_json and (made or not outcomes)):
        session.answer(run_document(outcomes, error), text)
    if error is not None:
        session.fail(error)  # with --json the error document, where no image was made
        raise Failure(error.exit_code)


def schema(session: Session, name: Annotated[str, typer.Argument(help="pipeline or config")]) -> None:
    """Print the JSON Schema of pipeline files or of imagepipe.toml."""
    from imagepipe.build.schema import json_schema

    document = json_schema(name)
    session.answer({"schema": "imagepipe.schema/v1", **document}, json.dumps(document, indent=2))


def _only(session: Session, planned: Sequence[Planned]) -> tuple[Pipeline, ...]:
    """Returns what is built, and says what is not."""
    for left in (one for one in planned if not one.builds):
        session.say(f"left out {left.pipeline.name}: {left.why}")
    return tuple(one.pipeline for one in planned if one.builds)


def run_document(outcomes: tuple[Outcome[Pipeline, RunResult], ...], error: ImagepipeError | None) -> dict[str, Any]:
    """Returns `imagepipe.run/v1`; every digest is named for what it is."""
    images = [_image(outcome.item, outcome.result, outcome.error) for outcome in outcomes]
    document: dict[str, Any] = {"schema": "imagepipe.run/v1", "images": images}
    if error is not None:
        document["error"] = error_body(error)
    return document


def _image(pipeline: Pipeline, result: RunResult | None, error: ImagepipeError | None) -> dict[str, Any]:
    told: dict[str, Any] = {"name": pipeline.name, "requested": pipeline.requested}
    if result is None:
        return {**told, "image": None, "error": error_body(error) if error else None}
    return {
        **told,
        "image": str(result.image) if result.image else None,
        "tags": [str(tag) for tag in result.tags],
        "index": str(result.index) if result.index else None,
        "platforms": [
            {
                "platform": platform,
                "manifest": str(result.manifests[platform]) if platform in result.manifests else None,
                "image_id": str(image_id),
            }
            for platform, image_id in result.image_ids.items()
        ],
        "size_bytes": result.size_bytes,
        "evidence": [
            {
                "predicate_type": one.predicate_type,
                "manifest": str(one.manifest),
                "signed_by": str(one.signatory),
                "created": one.created,
            }
            for one in result.evidence
        ],
    }


def _failure(outcomes: tuple[Outcome[Pipeline, RunResult], ...]) -> ImagepipeError | None:
    errors = [outcome.error for outcome in outcomes if outcome.error is not None]
    if not errors:
        return None
    if len(errors) == len(outcomes):
        return errors[0]
    return PartialError("; ".join(error.message for error in errors), hint=errors[0].hint, cause=errors[0].cause)
