"""`imagepipe run` and `imagepipe schema`."""

from __future__ import annotations

import json
import os
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from imagepipe.cli.command import Failure, command
from imagepipe.cli.session import Session, error_body
from imagepipe.errors import ImagepipeError, InputError, PartialError, UsageError

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
    pipeline: Annotated[
        list[str] | None, typer.Argument(help="Names or files; default: all of pipelines/.", show_default=False)
    ] = None,
    file: Annotated[
        list[Path] | None, typer.Option("--file", "-f", help="A pipeline file; may be repeated.", show_default=False)
    ] = None,
    changed_since: Annotated[
        str | None,
        typer.Option(
            "--changed-since", metavar="REV", help="Only what changed since then; see `plan`.", show_default=False
        ),
    ] = None,
    jobs: Annotated[
        int | None, typer.Option("--jobs", "-j", min=1, help="Pipelines at once.", show_default=False)
    ] = None,
    tag: Annotated[
        list[str] | None,
        typer.Option("--tag", help="A tag instead of the pipeline's; may be repeated.", show_default=False),
    ] = None,
    no_push: Annotated[bool, typer.Option("--no-push", help="Build only.")] = False,
    no_sign: Annotated[bool, typer.Option("--no-sign", help="Push without signature and provenance.")] = False,
    assign: Annotated[
        list[str] | None, typer.Option("--set", help="path=value in the pipelines.", show_default=False)
    ] = None,
    metadata_file: Annotated[
        Path | None, typer.Option("--metadata-file", help="Write the JSON document here too.", show_default=False)
    ] = None,
    dotenv: Annotated[
        Path | None, typer.Option("--dotenv", help="Write NAME_IMAGE=pinned lines here.", show_default=False)
    ] = None,
) -> None:
    """Build, push, sign and prove images.

    Prints one line per image: its pinned reference.
    """
    from imagepipe.build.planning import select

    for file_out in (metadata_file, dotenv):
        _check_folder(file_out)
    settings = session.settings(build__jobs=jobs)
    wiring = session.wiring(settings)
    pipelines = wiring.pipelines([*(pipeline or ()), *(str(path) for path in file or ())], assign or ())
    if changed_since is not None:
        pipelines = _only(session, select(pipelines, changed_since, source=wiring.source_control))
    wants = {"push": not no_push, "sign": not no_sign and not no_push}
    outcomes = wiring.run(pipelines, tags=tuple(tag or ()), **wants) if pipelines else ()
    error = _failure(outcomes)
    results = [outcome.result for outcome in outcomes if outcome.result is not None]
    try:
        if metadata_file is not None:
            _write(metadata_file, json.dumps(run_document(outcomes, error), indent=2) + "\n")
        if dotenv is not None:
            _write(dotenv, "".join(f"{_variable(one.name)}={one.image}\n" for one in results if one.image))
        _tell_github(results)
    except InputError as unwritten:
        error = error or unwritten  # the images are there, and whoever waits for their names on stdout gets them
    if results or (session.as_json and not outcomes):
        text = "\n".join(str(one.image or _image_id(one)) for one in results)
        session.answer(run_document(outcomes, error), text)
    if error is not None:
        session.fail(error)  # with --json the error document, where no image was made
        raise Failure(error.exit_code)


def schema(session: Session, name: Annotated[str, typer.Argument(help="pipeline or config")]) -> None:
    """Print the JSON Schema of pipeline files or of imagepipe.toml."""
    from imagepipe.build.schema import json_schema

    document = json_schema(name)
    session.answer(document, json.dumps(document, indent=2))


def _only(session: Session, planned: Sequence[Planned]) -> tuple[Pipeline, ...]:
    """Returns what is built, and says what is not."""
    for left in (one for one in planned if not one.builds):
        session.say(f"left out {left.pipeline.name}: {left.why}")
    return tuple(one.pipeline for one in planned if one.builds)


def run_document(outcomes: tuple[Outcome[Pipeline, RunResult], ...], error: ImagepipeError | None) -> dict[str, Any]:
    """Returns `imagepipe.run/v1`; every digest is named for what it is."""
    images = [_image(outcome.item.name, outcome.result, outcome.error) for outcome in outcomes]
    document: dict[str, Any] = {"schema": "imagepipe.run/v1", "images": images}
    if error is not None:
        document["error"] = error_body(error)
    return document


def _image(name: str, result: RunResult | None, error: ImagepipeError | None) -> dict[str, Any]:
    if result is None:
        return {"name": name, "image": None, "error": error_body(error) if error else None}
    return {
        "name": name,
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


def _image_id(result: RunResult) -> str:
    return next(iter(str(image_id) for image_id in result.image_ids.values()), "")


def _variable(name: str) -> str:
    return "".join(letter if letter.isalnum() else "_" for letter in name.upper()) + "_IMAGE"


def _check_folder(path: Path | None) -> None:
    """Returns where a file can be made at a path, as far as one can tell before it is needed."""
    if path is not None and (path.is_dir() or not path.parent.is_dir()):
        raise UsageError(f"cannot write {path}", hint="name a file in a folder that exists")


def _write(path: Path, text: str, mode: str = "w") -> None:
    try:
        with path.open(mode, encoding="utf-8") as stream:
            stream.write(text)
    except OSError as error:
        raise InputError(
            f"cannot write {path}: {error.strerror}", hint="make room for it there, then run the same command again"
        ) from error


def _tell_github(results: list[RunResult]) -> None:
    """Adds outputs and a summary where a GitHub job asks for them. Source: GitHub Actions workflow commands."""
    output, summary = os.environ.get("GITHUB_OUTPUT"), os.environ.get("GITHUB_STEP_SUMMARY")
    if output:
        lines = [f"{_variable(one.name).lower()}={one.image}\n" for one in results if one.image]
        _write(Path(output), "".join(lines), "a")
    if summary:
        rows = ["| image | pinned | signed by |\n| --- | --- | --- |\n"]
        for one in results:
            signer = one.evidence[0].signatory if one.evidence else "not signed"
            rows.append(f"| {one.name} | `{one.image}` | {signer} |\n")
        _write(Path(summary), "".join(rows), "a")
