"""`imagepipe plan`: what `run` would do, and why."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from imagepipe.cli.command import Failure, command
from imagepipe.cli.printing import clean
from imagepipe.cli.session import Session
from imagepipe.errors import DriftError

if TYPE_CHECKING:
    from imagepipe.build.planning import Planned

__all__ = ["Assignments", "Files", "Names", "Tags", "register"]

# What `run` takes as well.
Names = Annotated[
    list[str] | None, typer.Argument(help="Names or files; default: all of pipelines/.", show_default=False)
]
Files = Annotated[
    list[Path] | None, typer.Option("--file", "-f", help="A pipeline file; may be repeated.", show_default=False)
]
Tags = Annotated[
    list[str] | None,
    typer.Option("--tag", help="A tag instead of the pipeline's; may be repeated.", show_default=False),
]
Assignments = Annotated[
    list[str] | None, typer.Option("--set", help="path=value in the pipelines.", show_default=False)
]


def register(app: typer.Typer) -> None:
    """Adds the command of this module."""
    command(app, "plan")(plan)


def plan(
    session: Session,
    pipeline: Names = None,
    file: Files = None,
    changed_since: Annotated[
        str | None,
        typer.Option("--changed-since", metavar="REV", help="Only what changed since then.", show_default=False),
    ] = None,
    tag: Tags = None,
    assign: Assignments = None,
    detailed: Annotated[
        bool, typer.Option("--detailed-exitcode", help="Exit 9 when something would be built.")
    ] = False,
) -> None:
    """Show what `run` would build, and why; build nothing.

    Neither registry nor build host is asked. With --changed-since a pipeline is built when its file or what its
    `paths` name (else its context) changed since that revision, committed or not; so is what needs it, and what it
    needs.
    """
    from imagepipe.build.planning import plan_run

    settings = session.settings()
    wiring = session.wiring(settings)
    pipelines = wiring.pipelines([*(pipeline or ()), *(str(path) for path in file or ())], assign or ())
    registry = settings.require_registry()
    planned = plan_run(pipelines, changed_since, registry=registry, source=wiring.source_control, tags=tag or ())
    document = {
        "schema": "imagepipe.plan/v1",
        "changed_since": changed_since,
        "images": [one.to_json() for one in planned],
    }
    session.answer(document, describe(planned))
    if detailed and any(one.builds for one in planned):
        raise Failure(DriftError.exit_code)


def describe(planned: Sequence[Planned]) -> str:
    """Returns one line for each pipeline: what becomes of it, its name, why, and its tags."""
    return "\n".join(
        "\t".join(
            [
                "build" if one.builds else "leave",
                one.pipeline.name,
                clean(one.why),
                " ".join(str(reference) for reference in one.references),
            ]
        ).rstrip()
        for one in planned
    )
