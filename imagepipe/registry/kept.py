"""What registries answered last, in files: never asked while a registry answers, and all there is while it is away.

Nothing here is believed for being here: manifests and blobs are proven by digest again, statements by signature.

>>> Shelf.of({"XDG_CACHE_HOME": "/var/cache"}).folder.as_posix()
'/var/cache/imagepipe/kept'
"""

import contextlib
import json
import os
import secrets
import time
from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final

import httpx

from imagepipe.errors import RefusedError
from imagepipe.http.failure import refusal
from imagepipe.model import media
from imagepipe.model.digest import Digest
from imagepipe.model.reference import Pinned
from imagepipe.registry.connection import Ask, Connections
from imagepipe.settings import cache_folder

__all__ = ["KeepingConnections", "KeptConnections", "Shelf"]

# What evidence is made of: manifests, small blobs, and the lists that lead to them.
_PARTS: Final = ("manifests/", "blobs/", "referrers/", "tags/")
_HEADERS: Final = ("content-type", "content-length", "docker-content-digest", "link")
_PASSING: Final = (401, 403, 429)
_LARGEST_BYTES: Final = 1024 * 1024
# Whoever goes back further than half a year does so while the registry is there.
_KEPT_S: Final = 180 * 86400
_TIDIED_EVERY_S: Final = 86400
_TIDIED: Final = "tidied"


@dataclass(frozen=True, slots=True)
class Shelf:
    """The folder that answers are kept in; who empties it loses nothing but the way back while a registry is away."""

    folder: Path

    @classmethod
    def of(cls, environ: Mapping[str, str]) -> "Shelf":
        """Returns the one of this user on this machine."""
        return cls(cache_folder(environ) / "kept")

    def put(self, ask: Ask, status: int, headers: Mapping[str, str], content: bytes) -> None:
        """Keeps an answer; a folder that cannot be written keeps none: nothing needs it while the registry answers."""
        head = {"status": status, "headers": {name: headers[name] for name in _HEADERS if name in headers}}
        file = self._file(ask)
        fresh = file.with_suffix(f".{os.getpid()}-{secrets.token_hex(4)}")
        try:
            file.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            with os.fdopen(os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as out:
                out.write(json.dumps(head).encode() + b"\n" + content)
            fresh.replace(file)
            _tidy(file.parent)
        except OSError:
            with contextlib.suppress(OSError):
                fresh.unlink()

    def get(self, ask: Ask) -> httpx.Response | None:
        """Returns the answer that was kept, or None."""
        try:
            head, _, content = self._file(ask).read_bytes().partition(b"\n")
            told: dict[str, Any] = json.loads(head)
            request = httpx.Request(ask.method, f"https://{ask.repository.registry}/v2/{ask.repository.path}/")
            return httpx.Response(int(told["status"]), headers=told["headers"], content=content, request=request)
        except (OSError, ValueError, KeyError, TypeError, AttributeError):
            return None

    def heard(self, image: Pinned) -> datetime | None:
        """Returns when the list of what is attached to an image was last asked for."""
        try:
            asked = Ask("GET", image.repository, f"referrers/{image.digest}", headers={"Accept": media.OCI_INDEX})
            found = self._file(asked).stat()
        except OSError:
            return None
        return datetime.fromtimestamp(found.st_mtime, UTC)

    def _file(self, ask: Ask) -> Path:
        place = Digest.of(str(ask.repository).encode()).short
        # Who accepts other types may be answered with another manifest: a VCH, for whom a doctor asks, is.
        asked = f"{ask.method} {ask.repository} {ask.path} {ask.headers.get('Accept', '')}"
        return self.folder / place / Digest.of(asked.encode()).hex


class KeepingConnections(Connections):
    """Asks, and keeps what was answered.

    Args:
        shelf: Where.
        how: As for `Connections`.
    """

    def __init__(self, shelf: Shelf, **how: Any) -> None:
        super().__init__(**how)
        self._shelf = shelf

    def ask(self, ask: Ask, what: str) -> httpx.Response:
        """Returns the answer, its body read."""
        # That something is not there is an answer worth keeping, also where the caller takes it for an error.
        answer = super().ask(replace(ask, accept=(*ask.accept, 404)), what)
        if ask.method in ("GET", "HEAD") and _kept(ask, answer):
            self._shelf.put(ask, answer.status_code, answer.headers, answer.content)
        elif ask.method == "PUT" and ask.path.startswith("manifests/") and answer.is_success:
            stored = {
                "content-type": ask.headers.get("Content-Type", ""),
                "content-length": str(len(ask.content)),
                "docker-content-digest": str(Digest.of(ask.content)),
            }
            for method, content in (("HEAD", b""), ("GET", ask.content)):
                read = Ask(method, ask.repository, ask.path, headers={"Accept": media.ACCEPT_MANIFESTS})
                self._shelf.put(read, 200, stored, content)
        if answer.status_code not in ask.accept:
            raise refusal(answer, what)
        return answer


class KeptConnections(Connections):
    """Asks nobody: answers with what was kept.

    Args:
        shelf: Where it is.
    """

    def __init__(self, shelf: Shelf) -> None:
        super().__init__()
        self._shelf = shelf

    def ask(self, ask: Ask, what: str) -> httpx.Response:
        """Returns the answer that was kept.

        Raises:
            RefusedError: None was.
            ImagepipeError: As the registry answered then.
        """
        answer = self._shelf.get(ask)
        if answer is None:
            raise RefusedError(
                f"{what}: this machine has kept nothing of it",
                hint="go to a machine that promoted it or rolled it back",
            )
        if answer.status_code not in ask.accept:
            raise refusal(answer, what)
        return answer


def _tidy(folder: Path) -> None:
    """Lets go, once a day, of what nobody has asked the registry for in a long time."""
    marker, now = folder / _TIDIED, time.time()
    if marker.exists() and now - marker.stat().st_mtime < _TIDIED_EVERY_S:
        return
    marker.touch(mode=0o600)
    for file in folder.iterdir():
        if now - file.stat().st_mtime > _KEPT_S:
            file.unlink(missing_ok=True)


def _kept(ask: Ask, answer: httpx.Response) -> bool:
    passing = answer.status_code in _PASSING or answer.status_code >= 500
    part = any(f"/{part}" in f"/{ask.path}" for part in _PARTS)
    return part and not passing and len(answer.content) <= _LARGEST_BYTES
