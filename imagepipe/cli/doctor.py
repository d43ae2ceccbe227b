"""`imagepipe doctor`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from imagepipe.cli.command import Failure, command
from imagepipe.cli.printing import clean
from imagepipe.cli.session import Session

if TYPE_CHECKING:
    from imagepipe.doctor.finding import Finding

__all__ = ["register"]

# What is broken is a refusal of the whole: everything was asked, and the answer is no.
_BROKEN = 6


def register(app: typer.Typer) -> None:
    """Adds the command."""
    command(app, "doctor")(doctor)


def doctor(
    session: Session,
    target: Annotated[
        list[str] | None, typer.Argument(help="Targets or groups; default: all.", show_default=False)
    ] = None,
    image: Annotated[
        list[str] | None,
        typer.Option("--image", help="An image that the targets are to take; may be given again.", show_default=False),
    ] = None,
) -> None:
    """Look at every connection, credential, certificate and version.

    Ends with exit 6 when something will not work.
    """
    from imagepipe.doctor.checks import examine
    from imagepipe.doctor.finding import Level

    wiring = session.wiring(session.settings())
    targets = wiring.targets(target or wiring.target_names)
    images = tuple(dict.fromkeys(wiring.reference(name) for name in image or ()))
    findings = examine(targets, wiring.doctor_world(images), images=images, jobs=wiring.target_jobs)
    broken = [finding for finding in findings if finding.level is Level.FAIL]
    document = {
        "schema": "imagepipe.doctor/v1",
        "healthy": not broken,
        "findings": [finding.to_json() for finding in findings],
    }
    session.answer(document, describe(findings))
    if broken:
        raise Failure(_BROKEN)


def describe(findings: tuple[Finding, ...]) -> str:
    """Returns one line per finding, and the way out below what is not well."""
    lines = []
    for one in findings:
        lines.append(clean(f"{one.level.value:<4}  {one.subject}: {one.check}: {one.detail}"))
        if one.hint:
            lines.append(clean(f"      hint: {one.hint}"))
    return "\n".join(lines)
