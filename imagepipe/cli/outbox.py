"""`imagepipe outbox`, and what other commands do about records that wait for their registry."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

import typer

from imagepipe.cli.command import Failure, command
from imagepipe.cli.session import Session, error_body
from imagepipe.errors import ImagepipeError, PartialError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from imagepipe.model.reference import Repository
    from imagepipe.promote.delivery import Delivery
    from imagepipe.promote.outbox import Waiting
    from imagepipe.promote.ports import World
    from imagepipe.wiring import Wiring

__all__ = ["register", "require_readable", "send_waiting", "still_there", "tell_waiting"]


def register(app: typer.Typer) -> None:
    """Adds the command of this module."""
    command(app, "outbox")(outbox)


def outbox(
    session: Session,
    send: Annotated[bool, typer.Option("--send", help="Attach what waits to its images now.")] = False,
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Do not ask.")] = False,
) -> None:
    """Show, or send, records that wait for their registry.

    Only a rollback with --offline leaves one. The next promote or rollback from here sends them, too.
    """
    from imagepipe.promote.delivery import deliver

    wiring = session.wiring(session.settings())
    waiting, failed = wiring.outbox.waiting(), [*wiring.outbox.unreadable()]
    done: Sequence[Delivery] = ()
    if send and waiting:
        session.confirm(f"Attach {len(waiting)} waiting record{'s' if len(waiting) > 1 else ''}?", yes=yes)
        done = deliver(wiring.promotion_world(), wiring.outbox, jobs=wiring.target_jobs)
    sent = [one for one in done if one.error is None]
    waiting = wiring.outbox.waiting()
    error = still_there([one.error for one in done if one.error], failed, len(sent), len(waiting))
    document: dict[str, Any] = {
        "schema": "imagepipe.outbox/v1",
        "waiting": [one.to_json() for one in waiting],
        "sent": [one.waiting.to_json() | {"record": str(one.record)} for one in sent],
    }
    lines = [f"sent\t{_told(one.waiting)}\t{one.record}" for one in sent]
    lines += [f"waits\t{_told(one)}\t{one.by}" for one in waiting]
    session.answer(document | ({"error": error_body(error)} if error else {}), "\n".join(lines))
    if error is not None:
        session.fail(error)
        raise Failure(error.exit_code)


def _told(one: Waiting) -> str:
    return f"{one.at}\t{one.image}\t{', '.join(one.targets)}"


def still_there(
    failed: Sequence[ImagepipeError], unreadable: Sequence[ImagepipeError], sent: int, waiting: int
) -> ImagepipeError | None:
    """Returns why something waits that was to be sent, or why it is not even known what waits."""
    errors = [*failed, *unreadable]
    if len(errors) > 1 or (errors and sent):
        told = "; ".join(one.message for one in errors)
        left = waiting + len(unreadable)
        return PartialError(f"{left} of {left + sent} records still wait: {told}", hint=errors[0].hint)
    return errors[0] if errors else None


def send_waiting(session: Session, wiring: Wiring, world: World) -> None:
    """Sends what waits, before anything is planned; what stays is told, and holds back what it left all the same."""
    _tell_unreadable(session, wiring)
    if wiring.outbox.waiting():
        from imagepipe.promote.delivery import deliver

        for one in deliver(world, wiring.outbox, jobs=wiring.target_jobs):
            if one.error is None:
                session.say(f"sent the record of {one.waiting.at} that waited for {one.waiting.image}: {one.record}")
            else:
                session.warn(one.error.message)


def require_readable(wiring: Wiring) -> None:
    """Returns when every file in the outbox could be read: one that cannot may hold back what is to be promoted.

    Raises:
        InputError: One could not.
    """
    for error in wiring.outbox.unreadable():
        raise error


def _tell_unreadable(session: Session, wiring: Wiring) -> None:
    for error in wiring.outbox.unreadable():
        session.warn(error.message)


def tell_waiting(
    session: Session, wiring: Wiring, repositories: Sequence[Repository], targets: Sequence[str]
) -> tuple[Waiting, ...]:
    """Returns what waits about these, and says so: no ledger knows of it yet."""
    _tell_unreadable(session, wiring)
    found = tuple(one for one in wiring.outbox.waiting() if one.about(repositories, targets))
    for one in found:
        what = f"a rollback to {one.image} on {', '.join(one.targets)} at {one.at} by {one.by}"
        session.warn(f"{what} is not on record yet: it waits here (imagepipe outbox --send)")
    return found
