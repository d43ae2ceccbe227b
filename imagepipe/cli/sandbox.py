"""`imagepipe sandbox up|status|env|logs|down`."""

from __future__ import annotations

import shlex
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Final

import typer

from imagepipe.cli.command import command
from imagepipe.cli.session import Session
from imagepipe.errors import NotFoundError, SettingsError

if TYPE_CHECKING:
    from imagepipe.sandbox.world import World

__all__ = ["register"]

# The extra `sandbox`, by name: whoever runs imagepipe from a clone or an image has no registry to get it from.
_PACKAGES: Final = ("starlette", "uvicorn", "rfc8785")

Directory = Annotated[
    Path | None,
    typer.Option("--dir", help="Where it lives; default: the user's state folder.", show_default=False),
]


def register(app: typer.Typer) -> None:
    """Adds the commands of this module."""
    sandbox = typer.Typer(help="A small true copy of the world on this machine.", no_args_is_help=True)
    command(sandbox, "up")(up)
    command(sandbox, "status")(status)
    command(sandbox, "env")(env)
    command(sandbox, "logs")(logs)
    command(sandbox, "down")(down)
    app.add_typer(sandbox, name="sandbox")


def up(
    session: Session,
    directory: Directory = None,
    flavour: Annotated[str, typer.Option("--flavour", help="harbor, harbor-1 or vic.")] = "harbor",
    engine: Annotated[
        str, typer.Option("--engine", help="own (needs root), existing: the engine that runs, or none.")
    ] = "own",
) -> None:
    """Start the sandbox, and heal one that is broken.

    Build host, two VCHs, an engine, Harbor and Sigstore; with `--engine none` the last two only.
    """
    _extra()
    from imagepipe.sandbox.layout import default_directory
    from imagepipe.sandbox.world import Options, World

    world = World.up(Options(directory or default_directory(), flavour, engine), session.sink)
    document = world.status()
    session.answer(document, f'the sandbox is up; use it with: eval "$(imagepipe sandbox env{_dir(directory)})"')


def status(session: Session, directory: Directory = None) -> None:
    """Show what runs."""
    document = _load(directory).status()
    lines = [f"{document['state']} {document['dir']}"]
    if "targets" in document:
        lines.append(f"build host  {document['build_host']['host'] or 'none'}")
        lines.append(f"registry    {document['registry']['host']} ({document['registry']['flavour']})")
        lines += [f"{name:<11} {one['host']} ({one['kind']})" for name, one in document["targets"].items()]
        lines.append(f"config      {document['config']}")
    session.answer(document, "\n".join(lines))


def env(session: Session, directory: Directory = None) -> None:
    """Print export lines that point this shell at the sandbox."""
    try:
        variables = dict(_load(directory).environment())
    except NotFoundError as error:
        raise NotFoundError(error.message, hint=f"run: imagepipe sandbox up{_dir(directory)}") from error
    text = "\n".join(f"export {name}={shlex.quote(value)}" for name, value in variables.items())
    session.answer({"schema": "imagepipe.sandbox-env/v1", "env": variables}, text)


def logs(
    session: Session,
    name: Annotated[str | None, typer.Argument(help="A process; default: all.", show_default=False)] = None,
    directory: Directory = None,
) -> None:
    """Print what the sandbox's processes logged."""
    text = _load(directory).logs(name)
    session.answer({"schema": "imagepipe.sandbox-logs/v1", "name": name, "text": text}, text)


def down(session: Session, directory: Directory = None) -> None:
    """End everything and leave nothing behind."""
    there = _load(directory).down()
    session.say("the sandbox is down" if there else "there was no sandbox")
    session.answer({"schema": "imagepipe.sandbox-down/v1", "was_up": there}, "")


def _load(directory: Path | None) -> World:
    _extra()
    from imagepipe.sandbox.world import World

    return World.load(directory)


def _dir(directory: Path | None) -> str:
    return f" --dir {shlex.quote(str(directory))}" if directory else ""


def _extra() -> None:
    """Returns when the sandbox's own packages are installed.

    Raises:
        SettingsError: They are not.
    """
    missing = [name for name in _PACKAGES if find_spec(name) is None]
    if missing:
        raise SettingsError(
            f"the sandbox needs packages that are not installed: {', '.join(missing)}",
            hint=f"install them where imagepipe is installed: pip install {' '.join(missing)}",
        )
