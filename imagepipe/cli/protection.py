"""`imagepipe protect`: what runs somewhere, or is the way back, stays in the registry."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Annotated, Any

import typer

from imagepipe.cli.command import Failure, command
from imagepipe.cli.session import Session, error_body
from imagepipe.errors import ImagepipeError, PartialError, UsageError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from imagepipe.model.reference import Pinned
    from imagepipe.promote.protecting import Survey
    from imagepipe.wiring import Wiring

__all__ = ["register"]


def register(app: typer.Typer) -> None:
    """Adds the command of this module."""
    command(app, "protect")(protect)


def protect(
    session: Session,
    names: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="[NAME...]",
            help="Images as project/name or pipeline names (default: the pipelines here); with --check, images to "
            "delete, by tag or digest.",
            show_default=False,
        ),
    ] = None,
    check: Annotated[
        bool, typer.Option("--check", help="Only ask whether these images may be deleted; exit 6 when one is needed.")
    ] = False,
    back: Annotated[int, typer.Option("--back", help="Rollback points that each target keeps.", min=0)] = 1,
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Make Harbor keep them; do not ask.")] = False,
) -> None:
    """Show what targets run or would go back to, or have it kept.

    With --yes, Harbor is made to keep exactly that.
    Kept is what retention passes over and nobody can delete, by an immutable tag of its own. What no target needs any
    more is let go of, unless a target is away. All configured targets are asked; this wants a maintainer's rights.
    """
    wiring = session.wiring(session.settings())
    if check:
        if not names:
            raise UsageError("--check wants the images that shall be deleted", hint="name them by tag or digest")
        _check(session, wiring, names, back)
        return
    protection = wiring.protection()
    found = protection.survey(wiring.repositories(names or ()), back=back)
    changes = [*(f"+ keep {one}" for one in found.to_keep), *(f"- let go of {one}" for one in found.to_release)]
    for doubt in found.doubts:
        session.say(f"warning: {doubt}")
    if found.unsupported is not None:
        session.say(f"warning: {found.unsupported.message}")
    for line in changes:
        session.say(line)
    confirmed = yes
    if changes and not yes and sys.stdin.isatty():
        session.confirm("Change what Harbor keeps?", yes=False)
        confirmed = True
    done = protection.carry_out(found) if confirmed else found
    if changes and not confirmed:
        session.say("nothing was changed; add --yes to make Harbor keep them")
    error = _partial(found)
    session.answer(_document(found, done, error, confirmed=confirmed), _table(done))
    if error is not None:
        session.fail(error)
        raise Failure(error.exit_code)


def _check(session: Session, wiring: Wiring, names: Sequence[str], back: int) -> None:
    images = [wiring.pin(name) for name in names]
    wiring.protection().check(images, back=back)
    document = {"schema": "imagepipe.protect-check/v1", "images": [str(image) for image in images], "needed": False}
    session.answer(document, "\n".join(map(str, images)))


def _partial(found: Survey) -> ImagepipeError | None:
    """Returns the error when somebody could not be asked: then the list may lack what runs there."""
    if not found.away:
        return None
    names = ", ".join(found.away)
    return PartialError(
        f"what {names} runs could not be asked, so nothing was let go of: {'; '.join(found.away.values())}",
        hint="run the same command again when every target answers",
    )


def _document(found: Survey, done: Survey, error: ImagepipeError | None, *, confirmed: bool) -> dict[str, Any]:
    held = [one.image for one in done.images]
    document: dict[str, Any] = {
        "schema": "imagepipe.protect/v1",
        "images": [one.to_json() for one in done.images],
        "confirmed": confirmed,
        "keep": _texts(found.to_keep),
        "release": _texts([one for one in found.to_release if not (confirmed and one in held)]),
        "away": [{"target": name, "message": why} for name, why in found.away.items()],
        "doubts": list(found.doubts),
        "unsupported": found.unsupported.message if found.unsupported else None,
    }
    return document if error is None else document | {"error": error_body(error)}


def _texts(images: Sequence[Pinned]) -> list[str]:
    return [str(image) for image in images]


def _table(found: Survey) -> str:
    """Returns one line per image: image, state, who needs it."""
    rows = []
    for one in found.images:
        needs = ", ".join(map(str, one.needs)) or "nobody needs it"
        rows.append(f"{one.image}\t{one.state.value}\t{needs}")
    return "\n".join(rows)
