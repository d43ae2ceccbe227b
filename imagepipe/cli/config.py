"""`imagepipe config show`."""

from __future__ import annotations

from typing import Annotated

import typer

from imagepipe.cli.command import command
from imagepipe.cli.session import Session

__all__ = ["register"]


def register(app: typer.Typer) -> None:
    """Adds the commands of this module."""
    config = typer.Typer(help="The configuration.", no_args_is_help=True)
    command(config, "show")(show)
    app.add_typer(config, name="config")


def show(
    session: Session, origin: Annotated[bool, typer.Option("--origin", help="Also where each value came from.")] = False
) -> None:
    """Show every setting; secrets are masked."""
    from imagepipe.settings import origins

    rows = origins(session.settings())
    document = {
        "schema": "imagepipe.config/v1",
        "settings": [{"key": key, "value": value, "origin": where} for key, value, where in rows],
    }
    lines = [f"{key} = {value}" + (f"  # {where}" if origin else "") for key, value, where in rows]
    session.answer(document, "\n".join(lines))
