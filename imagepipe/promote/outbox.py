"""Signed records that wait on this machine until their registry is back.

>>> Outbox.of({"XDG_STATE_HOME": "/var/state"}).folder.as_posix()
'/var/state/imagepipe/outbox'
"""

import base64
import json
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from imagepipe.errors import ImagepipeError, InputError, UnavailableError
from imagepipe.model.digest import Digest
from imagepipe.model.evidence import Bundle
from imagepipe.model.ledger import Hold
from imagepipe.model.promotion import PromotionRecord
from imagepipe.model.received import json_in
from imagepipe.model.reference import Pinned, Repository
from imagepipe.settings import state_folder

__all__ = ["Outbox", "Waiting"]

_SCHEMA: Final = "imagepipe.waiting-record/v1"


@dataclass(frozen=True, slots=True)
class Waiting:
    """One record that waits. Only the bundle is signed; what stands beside it is for people, and can only hold back.

    Attributes:
        file: Where it lies.
        image: What targets were brought to.
        targets: Which.
        at: When, ISO 8601 in UTC.
        by: Who signed it.
        reason: What was given as reason, or "".
        bundle: The signed statement.
        left: What is held back from which target by it.
    """

    file: Path
    image: Pinned
    targets: tuple[str, ...]
    at: str
    by: str
    reason: str
    bundle: Bundle
    left: Mapping[str, Hold] = field(default_factory=dict, hash=False)

    def about(self, repositories: Sequence[Repository], targets: Sequence[str]) -> bool:
        """Tells whether it is about one of these repositories on one of these targets."""
        return self.image.repository in repositories and not set(targets).isdisjoint(self.targets)

    def to_json(self) -> dict[str, Any]:
        """Returns it as a JSON object, without the bundle."""
        return {
            "file": str(self.file),
            "image": str(self.image),
            "targets": list(self.targets),
            "at": self.at,
            "by": self.by,
            "reason": self.reason,
            "left": {
                target: {"image": str(hold.image), "manifest": str(hold.manifest)} for target, hold in self.left.items()
            },
        }


@dataclass(frozen=True, slots=True)
class Outbox:
    """A folder with one file per record that waits."""

    folder: Path

    @classmethod
    def of(cls, environ: Mapping[str, str]) -> "Outbox":
        """Returns the one of this user on this machine."""
        return cls(state_folder(environ) / "outbox")

    def ready(self) -> None:
        """Returns once records can be written: told before anything is changed.

        Raises:
            UnavailableError: The folder cannot be made or written.
        """
        try:
            self.folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            reachable = os.access(self.folder, os.W_OK | os.X_OK)
        except OSError:
            reachable = False
        if not reachable:
            raise UnavailableError(
                f"{self.folder}: records cannot be kept there",
                hint="let XDG_STATE_HOME name a folder that can be written",
            )

    def put(self, record: PromotionRecord, bundle: Bundle, by: str, left: Mapping[str, Hold]) -> Waiting:
        """Keeps a signed record until it is attached; it is on the disk when this returns, whole or not at all.

        Raises:
            UnavailableError: It cannot be written.
        """
        at = record.finished_at.replace(":", "")
        number = len(list(self.folder.glob(f"{at}-*.json")))  # names tell seconds, and are sent in their order
        name = f"{at}-{number}-{bundle.digest.short}.json"
        targets = tuple(result.target for result in record.targets if result.arrival.good)
        image = record.image
        kept = Waiting(self.folder / name, image, targets, record.finished_at, by, record.reason, bundle, left)
        text = {"schema": _SCHEMA, **kept.to_json(), "bundle": base64.b64encode(bundle.raw).decode()}
        del text["file"]
        try:
            _write(kept.file, json.dumps(text, indent=2) + "\n")
        except OSError as error:
            raise UnavailableError(
                f"keep the record of {image}: {kept.file}: {error.strerror}", hint="make room in that folder"
            ) from error
        return kept

    def waiting(self) -> tuple[Waiting, ...]:
        """Returns what waits, oldest first; see `unreadable` for the files that say nothing."""
        return tuple(one for one in map(_read, self._files()) if isinstance(one, Waiting))

    def unreadable(self) -> tuple[InputError, ...]:
        """Returns what is wrong with files that are no records, and may have been some."""
        return tuple(one for one in map(_read, self._files()) if isinstance(one, InputError))

    def newest(self, repository: Repository, target: str) -> Waiting | None:
        """Returns the last record that waits about a target."""
        return next((one for one in reversed(self.waiting()) if one.about([repository], [target])), None)

    def holds(self, repository: Repository, target: str) -> tuple[Hold, ...]:
        """Returns what is held back from a target by records that no ledger knows of yet."""
        return tuple(
            one.left[target] for one in self.waiting() if one.image.repository == repository and target in one.left
        )

    def sent(self, record: Waiting) -> None:
        """Forgets a record that is attached."""
        record.file.unlink(missing_ok=True)

    def _files(self) -> list[Path]:
        return sorted(self.folder.glob("*.json"))


def _write(file: Path, text: str) -> None:
    fresh = file.with_suffix(".new")
    with os.fdopen(os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "w", encoding="utf-8") as out:
        out.write(text)
        out.flush()
        os.fsync(out.fileno())
    fresh.replace(file)
    folder = os.open(file.parent, os.O_RDONLY)
    try:
        os.fsync(folder)  # the name is what would be lost with the power
    finally:
        os.close(folder)


def _read(file: Path) -> Waiting | InputError:
    try:
        told = json_in(file.read_text(encoding="utf-8"))
        if told["schema"] != _SCHEMA:
            raise InputError(f"its schema is {told['schema']!r}")
        at, by, reason = str(told["at"]), str(told["by"]), str(told["reason"])
        return Waiting(
            file,
            Pinned.parse(told["image"]),
            tuple(map(str, told["targets"])),
            at,
            by,
            reason,
            Bundle(base64.b64decode(told["bundle"], validate=True)),
            {
                str(target): Hold(Digest.parse(held["image"]), Digest.parse(held["manifest"]), at, by, reason)
                for target, held in told["left"].items()
            },
        )
    except (OSError, ValueError, KeyError, TypeError, AttributeError, ImagepipeError) as error:
        return InputError(
            f"{file}: no record that can be read: {error}",
            hint="look at the file, and move it away once you know what it was",
        )
