"""The last word: after everything above, no secret is found anywhere that others may read."""

import base64
import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.conftest import UNITS
from tests.e2e.box import Box
from tests.e2e.cli import Cli

pytestmark = pytest.mark.sandbox

# Shorter lines of a PEM file may be anything.
_TELLING_CHARS = 40
# Where secrets belong, and what container engines keep of layers and their own keys.
_OWN_PLACES = ("secrets", "pki", "certs", "engines")


def secrets(box: Box) -> dict[str, str]:
    """Returns every secret of the sandbox and of the tests, in each form in which it could be seen, with its origin."""
    found = dict.fromkeys(box.secrets, "a file of the tests")
    for file in (box.directory / "secrets").iterdir():
        found[file.read_text().strip()] = str(file)
    for key in box.directory.glob("**/*key*.pem"):
        if "engines" not in key.relative_to(box.directory).parts:
            found |= {line: str(key) for line in key.read_text().splitlines() if len(line) >= _TELLING_CHARS}
    for key in (box.directory / "sigstore" / "keys").glob("*.pem"):
        if "PRIVATE" in key.read_text():
            found |= {line: str(key) for line in key.read_text().splitlines() if len(line) >= _TELLING_CHARS}
    for user in box.document["registry"]["users"].values():
        name, password = user["username"], Path(user["password_file"]).read_text().strip()
        pair = f"{name}:{password}".encode()
        found[base64.b64encode(pair).decode().rstrip("=")] = f"basic authorization of {name}"
    for token in [text for text in found if text.count(".") == 2]:
        found[token.rpartition(".")[2]] = f"signature of the token in {found[token]}"
    return {text: origin for text, origin in found.items() if len(text) >= 8}


def printed(cli: Cli) -> Iterator[tuple[str, str]]:
    """Yields what every run was given and printed."""
    for run in cli.runs:
        name = " ".join(run.argv[3:5])
        yield from (
            (f"argv of {name}", " ".join(run.argv)),
            (f"stdout of {name}", run.out),
            (f"stderr of {name}", run.err),
        )


def written(box: Box) -> Iterator[tuple[str, str]]:
    """Yields every file of the sandbox outside of the places where secrets belong."""
    for file in box.directory.rglob("*"):
        inside = file.relative_to(box.directory).parts
        # The Sigstore's private keys are secrets in their own folder; blobs are told by `stored`.
        if inside[0] in _OWN_PLACES or inside[:2] in (("sigstore", "keys"), ("data", "registry")) or not file.is_file():
            continue
        yield str(file), file.read_text(errors="replace")


def stored(box: Box) -> Iterator[tuple[str, str]]:
    """Yields every manifest and every blob in the registry that is JSON, and the statements inside bundles."""
    for blob in (box.directory / "data" / "registry").glob("**/blobs/sha256/*/*/data"):
        content = blob.read_bytes()
        if not content.startswith(b"{"):
            continue
        yield str(blob), content.decode()
        payload = json.loads(content).get("dsseEnvelope", {}).get("payload")
        if payload:
            yield f"statement in {blob}", base64.b64decode(payload).decode()


def running(box: Box) -> Iterator[tuple[str, str]]:
    """Yields command line and environment of every process of the sandbox."""
    for process in box.world.status()["processes"]:
        for what in ("cmdline", "environ"):
            text = Path(f"/proc/{process['pid']}/{what}").read_text(errors="replace")
            yield f"{what} of {process['name']}", text


@pytest.mark.parametrize("unit", [*UNITS, "the rest"])
def test_no_secret_is_anywhere_that_others_may_read(box: Box, cli: Cli, unit: str) -> None:
    wanted = secrets(box)
    seen = {"runs": [*printed(cli)], "files": [*written(box)], "registry": [*stored(box)], "processes": [*running(box)]}
    # What is no secret is found in each of them: so a secret would be, too.
    known = {"runs": "imagepipe", "files": "harbor", "registry": "es-sandbox", "processes": str(box.directory)}
    assert all(any(known[group] in text for _, text in texts) for group, texts in seen.items())
    assert any("/logs/" in where for where, _ in seen["files"])
    assert len(wanted) > 10
    leaks = [
        f"{origin} stands in {where}"
        for group in seen.values()
        for where, text in group
        for secret, origin in wanted.items()
        if secret in text
    ]
    assert not leaks, "\n".join(leaks)
