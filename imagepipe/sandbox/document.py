"""What others read of a sandbox: the document `imagepipe.sandbox/v1`, the generated `imagepipe.toml`, variables."""

import json
from typing import Any

from imagepipe.sandbox.layout import PROJECT, PUBLIC_NETWORK, VCHS, Layout
from imagepipe.sandbox.processes import alive
from imagepipe.sandbox.seed import IDENTITY
from imagepipe.sandbox.standins import Places
from imagepipe.sandbox.state import State

__all__ = ["SCHEMA", "absent", "configuration", "describe", "environment"]

SCHEMA = "imagepipe.sandbox/v1"


def absent(layout: Layout, *, broken: bool = False) -> dict[str, Any]:
    """Returns the document of a sandbox that is not there, or whose state nobody can read (`broken`)."""
    return {"schema": SCHEMA, "state": "broken" if broken else "down", "dir": str(layout.directory)}


def describe(layout: Layout, state: State) -> dict[str, Any]:
    """Returns the document of a sandbox.

    Its `state` is `up` when everything runs, `broken` when a process has ended or `up` was cut short, and
    `starting` or `stopping` in between.
    """
    processes = [{"name": record.name, "pid": record.pid, "alive": alive(record)} for record in state.processes]
    whole = state.phase == "up" and all(row["alive"] for row in processes)
    document = {
        "schema": SCHEMA,
        "state": "up" if whole else "broken" if state.phase == "up" else state.phase,
        "dir": str(layout.directory),
        "engine": state.engine,
        "processes": processes,
    }
    return document | (_parts(layout, state, Places.of(state.endpoints)) if state.endpoints else {})


def _parts(layout: Layout, state: State, places: Places) -> dict[str, Any]:
    return {
        "config": str(layout.config_file),
        "build_host": {"host": places.build or None},
        "registry": {
            "host": places.registry,
            "url": f"https://{places.registry}",
            "ca_file": str(layout.registry_ca),
            "flavour": state.flavour,
            "project": PROJECT,
            "users": {
                key: {"username": name, "password_file": str(layout.password(key))} for key, name in state.users.items()
            },
        },
        "targets": {name: _target(layout, state, name, host) for name, host in places.targets.items()},
        "sigstore": {
            "trust_config": str(layout.sigstore / "trust_config.json"),
            "trusted_root": str(layout.sigstore / "trusted_root.json"),
            "issuer": f"http://{places.sigstore}",
            "identity": IDENTITY,
            "token_file": str(layout.token_file),
        },
    }


def _target(layout: Layout, state: State, name: str, host: str) -> dict[str, Any]:
    secured = name in VCHS or state.engine == "own"
    return {
        "kind": _kind(name),
        "host": host,
        "cert_path": str(layout.client_certificates(name)) if secured else None,
        "networks": {"bridge": "bridge", "public": PUBLIC_NETWORK},
    }


def _kind(name: str) -> str:
    return "vch" if name in VCHS else "docker"


def configuration(layout: Layout, state: State) -> str:
    """Returns an `imagepipe.toml` that points at the sandbox; secrets are file paths in it."""
    parts = _parts(layout, state, Places.of(state.endpoints))
    registry, sigstore, ci = parts["registry"], parts["sigstore"], parts["registry"]["users"]["ci"]
    tables: dict[str, dict[str, Any]] = {
        "": {"registry": registry["host"]},
        "harbor": {**ci, "ca_file": registry["ca_file"]},
        "signing": {
            "mode": "keyless",
            "trust_config": sigstore["trust_config"],
            "identity_token_file": sigstore["token_file"],
        },
    }
    if parts["build_host"]["host"]:
        tables["build"] = {"host": parts["build_host"]["host"], "jobs": 2}
    for name, target in parts["targets"].items():
        wanted = {key: target[key] for key in ("kind", "host", "cert_path") if target[key] is not None}
        tables[f"targets.{name}"] = {**wanted, "policy": "sandbox"}
    lines = [line for name, table in tables.items() for line in _table(name, table)]
    identity, issuer = json.dumps(sigstore["identity"]), json.dumps(sigstore["issuer"])
    lines += ["", "[policies.sandbox]", f"signed_by = [{{ identity = {identity}, issuer = {issuer} }}]"]
    return "\n".join(lines) + "\n"


def _table(name: str, table: dict[str, Any]) -> list[str]:
    """Returns the lines of a TOML table; JSON's strings and whole numbers are TOML's too."""
    return [*(["", f"[{name}]"] if name else []), *(f"{key} = {json.dumps(value)}" for key, value in table.items())]


def environment(layout: Layout) -> dict[str, str]:
    """Returns the variables that point imagepipe at the sandbox; none of them is a secret."""
    return {
        "IMAGEPIPE_CONFIG": str(layout.config_file),
        "IMAGEPIPE_SIGNING__IDENTITY_TOKEN_FILE": str(layout.token_file),
    }
