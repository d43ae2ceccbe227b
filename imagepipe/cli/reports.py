"""What a run leaves for later jobs, where a CI system looks for it: a document, variables, a summary."""

from __future__ import annotations

import contextlib
import json
import os
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from imagepipe.cli.printing import clean
from imagepipe.errors import InputError, UsageError

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from imagepipe.fanout import Outcome
    from imagepipe.model.pipeline import Pipeline
    from imagepipe.model.result import RunResult

__all__ = ["Reports", "shown_id"]


@dataclass(frozen=True, slots=True)
class Reports:
    """The files of one run; GitHub names its own in the environment.

    Attributes:
        metadata: Where the JSON document goes.
        dotenv: Where variables go.
    """

    metadata: Path | None
    dotenv: Path | None

    def begin(self) -> None:
        """Returns when files can be made there, as far as one can tell before they are needed; empties what is there.

        What an earlier run left names other images, and a later job may look at it however this run ends.

        Raises:
            UsageError: They cannot.
        """
        files = [path for path in (self.metadata, self.dotenv) if path is not None]
        for path in files:
            if path.is_dir() or not path.parent.is_dir():
                raise UsageError(f"cannot write {path}", hint="name a file in a folder that exists")
        for path in files:
            with contextlib.suppress(OSError):  # told once there is something to write
                if path.is_file():
                    os.truncate(path, 0)

    def refused(self, document: dict[str, Any]) -> None:
        """Leaves the document of an error that came before anything was made; it is told elsewhere, too."""
        if self.metadata is not None:
            with contextlib.suppress(InputError):
                _write(self.metadata, json.dumps(document, indent=2) + "\n")

    def end(self, document: dict[str, Any], outcomes: Sequence[Outcome[Pipeline, RunResult]]) -> InputError | None:
        """Writes all that is wanted, each whatever became of the others, and returns the first that could not be."""
        made = [outcome.result for outcome in outcomes if outcome.result is not None]
        pushed = [(_variable(one.name), one.image) for one in made if one.image]
        upper = "".join(f"{name}={image}\n" for name, image in pushed)
        lower = "".join(f"{name.lower()}={image}\n" for name, image in pushed)
        # Source: GitHub Actions workflow commands, "Setting an output parameter", "Adding a job summary".
        output, summary = os.environ.get("GITHUB_OUTPUT"), os.environ.get("GITHUB_STEP_SUMMARY")
        wanted: list[tuple[Path | None, Callable[[], str], str]] = [
            (self.metadata, lambda: json.dumps(document, indent=2) + "\n", "w"),
            (self.dotenv, lambda: upper, "w"),
            (Path(output) if output else None, lambda: lower, "a"),
            (Path(summary) if summary else None, lambda: _summary(outcomes), "a"),
        ]
        failed = list[InputError]()
        for path, text, mode in wanted:
            try:
                if path is not None:
                    _write(path, text(), mode)
            except InputError as error:
                failed.append(error)
        return failed[0] if failed else None


def shown_id(result: RunResult) -> str:
    """Returns what names an image: pinned, or by its id where it was not pushed."""
    return str(result.image or next(iter(result.image_ids.values()), ""))


def _summary(outcomes: Sequence[Outcome[Pipeline, RunResult]]) -> str:
    rows = ["| image | pinned | signed by |\n| --- | --- | --- |\n"]
    for outcome in outcomes:
        one = outcome.result
        if one is None:
            rows.append(f"| {outcome.item.name} | not made | |\n")
            continue
        signer = clean(str(one.evidence[0].signatory)).replace("|", "\\|") if one.evidence else "not signed"
        rows.append(f"| {one.name} | `{shown_id(one)}` | {signer} |\n")
    return "".join(rows)


def _variable(name: str) -> str:
    return "".join(letter if letter.isalnum() else "_" for letter in name.upper()) + "_IMAGE"


def _write(path: Path, text: str, mode: str = "w") -> None:
    try:
        with path.open(mode, encoding="utf-8") as stream:
            stream.write(text)
    except OSError as error:
        raise InputError(
            f"cannot write {path}: {error.strerror}", hint="make room for it there, then run the same command again"
        ) from error
