"""`imagepipe targets`: which hosts there are, and what each was when somebody said yes to it."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from imagepipe.cli.command import command
from imagepipe.cli.session import Session
from imagepipe.cli.tables import table
from imagepipe.errors import NotFoundError, RefusedError, UsageError

if TYPE_CHECKING:
    from imagepipe.doctor.enrol import Introduction
    from imagepipe.envfile import Address
    from imagepipe.settings import Settings

__all__ = ["register"]

Name = Annotated[str, typer.Argument(help="The target, as operators call it.", show_default=False)]
Yes = Annotated[bool, typer.Option("--yes", "-y", help="Do not ask.")]


def register(app: typer.Typer) -> None:
    """Adds the commands of this module."""
    targets = typer.Typer(help="The hosts that images are promoted to.", no_args_is_help=True)
    command(targets, "list")(list_)
    command(targets, "add")(add)
    command(targets, "remove")(remove)
    app.add_typer(targets, name="targets")


def list_(session: Session) -> None:
    """List the configured targets, with what each is pinned to."""
    settings = session.settings()
    rows = []
    for name in settings.targets:
        target = settings.target(name)
        rows.append(
            {
                "name": name,
                "kind": target.kind.value,
                "host": target.host,
                "cert_path": target.cert_path,
                "policy": target.policy,
                "pin": target.pin,
                "id": target.host_id,
                "origin": settings.origin("targets", name, "host"),
            }
        )
    keys = ("name", "kind", "host", "policy", "id", "pin")
    cells = [[str(row[key] or "-") for key in keys] for row in rows]
    session.answer({"schema": "imagepipe.targets/v1", "targets": rows}, table(("target", *keys[1:]), cells))


def add(
    session: Session,
    name: Name,
    from_env: Annotated[
        Path | None, typer.Option("--from-env", help="The .env file that vic-machine wrote for a VCH.")
    ] = None,
    host: Annotated[str | None, typer.Option("--host", help="tcp://host:port or unix:///path.")] = None,
    cert_path: Annotated[
        Path | None, typer.Option("--cert-path", help="The folder with ca.pem, cert.pem and key.pem.")
    ] = None,
    policy: Annotated[str | None, typer.Option("--policy", help="The policy in [policies] that guards it.")] = None,
    replace: Annotated[
        bool, typer.Option("--replace", help="Also change a target that is there, or pin anew what it now shows.")
    ] = False,
    yes: Yes = False,
) -> None:
    """Add a host to the targets, after a look at what answers there.

    It is pinned to its certificate and id.
    """
    from imagepipe.configfile import put_target
    from imagepipe.doctor.enrol import check_name, introduce
    from imagepipe.envfile import Address, read_env

    settings = session.settings()
    there = settings.targets.get(check_name(name))
    if there is not None and not replace:
        raise RefusedError(
            f"target {name} is there already, at {there.host} ({settings.origin('targets', name, 'host')})",
            hint="choose another name, or add --replace",
        )
    if name in settings.groups:
        raise RefusedError(f"{name} is the name of a group", hint="choose another name")
    if policy is not None:
        settings.policy(policy)
    if from_env is not None and (host is not None or cert_path is not None):
        raise UsageError("--from-env says host and certificates itself", hint="leave --host and --cert-path out")
    if from_env is not None:
        address = read_env(from_env)
    elif host is not None:
        address = Address(host, cert_path)
    else:
        address = _known(name, settings, cert_path)
    folder = str(address.cert_path.expanduser().absolute()) if address.cert_path is not None else None
    wanted = policy or (there.policy if there is not None else None)
    found = introduce(name, address.host, folder, wanted, session.wiring(settings).patient)
    file = _file(session)
    session.say(_describe(found, settings))
    session.confirm(f"Write this as target {name} into {file}?", yes=yes)
    put_target(file, name, found.settings())
    if wanted is None:
        session.say(f"no policy guards {name}, so nothing can be promoted to it: set policy in [targets.{name}]")
    document = {"schema": "imagepipe.target/v1", **found.to_json(), "file": str(file)}
    session.answer(document, f"{name}\t{found.target.kind.value}\t{found.target.host}\t{found.target.pin or '-'}")


def remove(session: Session, name: Name, yes: Yes = False) -> None:
    """Take a target out of the configuration.

    The host itself is not touched.
    """
    from imagepipe.configfile import remove_target

    settings = session.settings()
    try:
        settings.target(name)
    except NotFoundError as error:
        error.hint = "see `imagepipe targets list`"
        raise
    waiting = [one for one, policy in settings.policies.items() if policy.after and name in policy.after.targets]
    if waiting:
        raise RefusedError(
            f"policy {waiting[0]} lets images through that stood on {name} first",
            hint=f"take {name} out of [policies.{waiting[0]}] after.targets first",
        )
    inside = [group for group, members in settings.groups.items() if name in members]
    if inside:
        raise RefusedError(f"group {inside[0]} names {name}", hint=f"take {name} out of {inside[0]} in [groups] first")
    file = _file(session)
    session.confirm(f"Take target {name} out of {file}? Its records stay in the registry.", yes=yes)
    remove_target(file, name)
    session.answer({"schema": "imagepipe.target/v1", "name": name, "removed": True, "file": str(file)}, "")


def _known(name: str, settings: Settings, cert_path: Path | None) -> Address:
    """Returns the address that a target has already."""
    from imagepipe.envfile import Address

    there = settings.targets.get(name)
    if there is None:
        raise UsageError(f"nothing says where {name} is", hint="add --from-env FILE, or --host and --cert-path")
    return Address(there.host, cert_path or there.cert_path)


def _file(session: Session) -> Path:
    """Returns the file that settings of this folder are read from, or the one that will be."""
    from imagepipe.layers import find_upwards
    from imagepipe.settings import CONFIG_NAME

    named = session.config or os.environ.get("IMAGEPIPE_CONFIG")
    if named is None:
        return find_upwards(Path.cwd(), CONFIG_NAME) or Path.cwd() / CONFIG_NAME
    path = Path.cwd() / named
    if not path.exists():
        raise NotFoundError(f"{path}: no such file", hint="check --config, or leave it out")
    return path


def _describe(found: Introduction, settings: Settings) -> str:
    """Returns what answered, for people to compare with what they were told; what changed is named with its past."""
    target, info, shown = found.target, found.info, found.certificate
    there = settings.targets.get(target.name)
    product = "VCH, VIC" if target.kind.value == "vch" else "Docker Engine"
    lines = [f"{target.host}: {product} {info.version}, called {info.name}"]
    if shown is None:
        lines.append("  without TLS: there is no certificate to pin")
    else:
        lines.append(f"  certificate: {shown.subject}, signed by {shown.issuer}, until {shown.not_after:%Y-%m-%d}")
        lines.append(f"  for:         {', '.join(shown.names) or '-'}")
        lines.append(f"  SHA-256:     {target.pin}{_was(there.pin if there else None, target.pin)}")
    lines.append(f"  id:          {target.host_id}{_was(there.id if there else None, target.host_id)}")
    return "\n".join(lines)


def _was(before: str | None, now: str | None) -> str:
    return f"\n               instead of {before}" if before not in (None, now) else ""
