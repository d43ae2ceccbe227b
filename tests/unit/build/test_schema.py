"""The published schemas against the loaders: what one accepts the other accepts, whatever stands at any one place."""

import copy
import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import jsonschema
import pytest

from imagepipe.build.load import load_pipelines
from imagepipe.build.schema import json_schema
from imagepipe.errors import ImagepipeError
from imagepipe.settings import load_settings

SIGNER = {"identity": "ci@x.example", "issuer": "https://i.example"}
CONFIG: Mapping[str, Any] = {
    "registry": "vic.example:443",
    "harbor": {"url": "https://h.example", "username": "a", "password_file": "p", "ca_file": "c", "dialect": "admiral"},
    "build": {"host": "unix:///x", "jobs": 3},
    "signing": {"mode": "key", "key": "k", "password_file": "p"},
    "targets": {
        "a": {"kind": "vch", "host": "tcp://h:2376", "cert_path": "c", "pin": f"sha256:{'a' * 64}", "id": "x"},
        "b": {"kind": "docker", "host": "unix:///x"},
    },
    "policies": {
        "p": {
            "signed_by": [{"key": "k"}, SIGNER],
            "max_severity": "high",
            "only_fixable": True,
            "max_scan_age_days": 1.5,
            "waivers": [{"cve": "c", "owner": "o", "until": "2026-01-01"}],
            "require_provenance": True,
            "provenance": {"source": "s", "branch": "b"},
            "require": ["t"],
            "after": {"targets": ["b"], "hours": 2},
            "freeze": [{"from": "2026-01-01T00:00:00Z", "until": "2026-01-02T00:00:00+01:00", "why": "w"}],
            "approvals": {"by": [SIGNER], "count": 1},
        }
    },
    "timeouts": {"read_s": 5, "lock_s": 0.5},
}
PIPELINE: Mapping[str, Any] = {
    "version": 1,
    "name": "web",
    "project": "p",
    "build": {
        "context": ".",
        "dockerfile": "Dockerfile",
        "target": "r",
        "args": {"A": "b"},
        "secrets": [],
        "platforms": ["linux/amd64"],
        "builder": "auto",
        "profile": "vch",
    },
    "needs": [],
    "tags": ["{version}", "a-{sha}"],
    "paths": ["src/**"],
    "labels": {"a": "{name}"},
    "matrix": {},
    "sign": {"format": ["bundle"]},
    "attest": {"provenance": True, "sbom": "auto"},
}
VALUES: tuple[Any, ...] = (
    *(0, 1, -1, 1.5, 10**9, True, False, [], ["x"], [1], {}, {"k": 1}, {"key": "k"}, {"identity": "i"}),
    *("", "x", "2", "0", "yes", "true", "UPPER", "a/b", "a b", "-a", "é", "a" * 200, "{x}", "{sha", "{sha}-{date}"),
    *("https://x", "https://u:p@x", "tcp://x:1", "tcp://x:70000", "ssh://x", "unix:///y", "sha256:00", "keyless"),
    *("2026-01-01", "2026-01-01T00:00:00Z", "2026-01-01T00:00", "20260101", "vch", "linux/arm64", "legacy", "oci"),
)
# What no schema can tell: whether a name is that of something else, and whether a file is there.
UNTOLD = {
    *("targets.a", "targets.b", "policies.p.after.targets", "policies.p.after.targets.0", "targets"),
    *(
        "policies.p.approvals.count",
        "policies.p.approvals.by.0",
        "policies.p.freeze.0.from",
        "policies.p.freeze.0.until",
    ),
    *("build.context", "build.dockerfile", "needs"),
}
Key = tuple[str | int, ...]


def _places(data: Any, key: Key = ()) -> Iterator[Key]:
    if key:
        yield key
    for name, value in data.items() if isinstance(data, dict) else enumerate(data) if isinstance(data, list) else ():
        yield from _places(value, (*key, name))


def _changed(document: Mapping[str, Any]) -> Iterator[tuple[str, Any]]:
    """Yields documents that differ from one in one place: a key left out, one too many, or any value."""
    for key in _places(document):
        for value in (*VALUES, None):
            changed = copy.deepcopy(dict(document))
            place: Any = changed
            for part in key[:-1]:
                place = place[part]
            if value is not None:
                place[key[-1]] = value
            elif isinstance(place, dict):
                del place[key[-1]]
            told = ".".join(map(str, key))
            yield told, changed
    yield "unknown", {**document, "unknown": 1}


def _config(data: Any, folder: Path) -> None:
    # As a file's tables, but without writing and reading it thousands of times.
    load_settings(flags=data, config_file=None, cwd=folder, environ={"HOME": str(folder)})


def _pipeline(data: Any, folder: Path) -> None:
    (folder / "a.yaml").write_text(json.dumps(data), encoding="utf-8")
    load_pipelines(["./a.yaml"], root=folder, registry="vic.example")


@pytest.mark.parametrize(
    ("which", "document", "load"), [("config", CONFIG, _config), ("pipeline", PIPELINE, _pipeline)]
)
def test_schema_and_loader_agree_on_every_value_at_every_place(
    tmp_path: Path, which: str, document: Mapping[str, Any], load: Any
) -> None:
    (tmp_path / "Dockerfile").write_text("FROM scratch\n", encoding="utf-8")
    validator = jsonschema.Draft202012Validator(json_schema(which), format_checker=jsonschema.FormatChecker())
    load(document, tmp_path)
    validator.validate(document)
    disputed = []
    for key, changed in _changed(document):
        said = next((error.message for error in validator.iter_errors(changed)), "")
        try:
            load(changed, tmp_path)
        except ImagepipeError as error:
            if not said and key not in UNTOLD:
                disputed.append(f"the schema alone accepts: {error.message}")
        else:
            if said:
                disputed.append(f"the loader alone accepts {key}: {said}")
    assert disputed == []
