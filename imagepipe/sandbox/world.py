"""A small true copy of the world: started, described and taken down as one thing.

    world = World.up(Options(directory=Path("/tmp/box")))
    world.status()["registry"]["host"]
    world.down()

Everything it consists of is written to its directory before it is made, so another process may load it, and one that
finds the remains of a crash clears them first.
"""

import contextlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from imagepipe.errors import ImagepipeError, NotFoundError, SettingsError, UsageError
from imagepipe.events import EventSink, silent, step
from imagepipe.sandbox import document, pki, requirements, teardown
from imagepipe.sandbox.building import Building
from imagepipe.sandbox.layout import Layout, default_directory
from imagepipe.sandbox.standins import HARBOR_VERSIONS
from imagepipe.sandbox.state import Record, State, locked

__all__ = ["Options", "World"]

_ENGINES = ("own", "existing", "none")


@dataclass(frozen=True, slots=True)
class Options:
    """What sandbox is wanted.

    Attributes:
        directory: Where it keeps everything.
        flavour: `harbor` (the newest), `harbor-1` (the last 1.x, stand-alone) or `vic` (the 1.7 that VIC bundles).
        engine: `own` starts Docker Engines in namespaces and needs root; `existing` uses the one that runs here;
            `none` starts Harbor and Sigstore alone, for who administers and signs only.
    """

    directory: Path = field(default_factory=default_directory)
    flavour: str = "harbor"
    engine: str = "own"

    def __post_init__(self) -> None:
        if self.flavour not in HARBOR_VERSIONS:
            raise UsageError(f"flavour {self.flavour!r} is not one of {', '.join(HARBOR_VERSIONS)}")
        if self.engine not in _ENGINES:
            raise UsageError(f"engine {self.engine!r} is not one of {', '.join(_ENGINES)}")


class World:
    """The sandbox in one directory, whether it is up or not."""

    def __init__(self, layout: Layout) -> None:
        self._layout = layout

    @classmethod
    def load(cls, directory: Path | None = None) -> "World":
        """Returns the sandbox in a directory, by default the user's own, as whatever process left it."""
        return cls(Layout.at(directory or default_directory()))

    @classmethod
    def up(cls, options: Options | None = None, sink: EventSink = silent) -> "World":
        """Starts a sandbox, or returns the one that is up already; see `start`."""
        wanted = options or Options()
        world = cls.load(wanted.directory)
        world.start(wanted, sink)
        return world

    def start(self, wanted: Options, sink: EventSink = silent) -> None:
        """Brings the sandbox up unless it is up.

        What an earlier crash left behind in the same directory is cleared first. If a part does not come up, or the
        user interrupts, everything is cleared again before the error goes on.

        Raises:
            SettingsError: The machine lacks something; the message names all of it.
            UsageError: It is up with other options.
            UnavailableError: A part did not come up; the message quotes its log.
        """
        with _told("sandbox up", self._layout.directory):
            self._start(wanted, sink)

    def _start(self, wanted: Options, sink: EventSink) -> None:
        directory = self._layout.directory
        made = _missing_parents(directory)
        _refuse_foreign(self._layout)
        if not self._is_up():
            requirements.check(wanted.engine)
            if wanted.engine == "own":
                self._layout.check_engines_take_it()
        with locked(directory):
            if self._is_up():
                return self._require_same(wanted)
            if teardown.remains(self._layout):
                with step(sink, "clear", str(directory)):
                    made = (*teardown.clear(self._layout), *made)
            return self._build(wanted, made, sink)

    def _build(self, wanted: Options, made: tuple[str, ...], sink: EventSink) -> None:
        layout = self._layout
        planned = State(layout.world_id, wanted.flavour, wanted.engine, "starting", made_directories=made)
        building = Building(layout, Record(layout.state_file, planned), sink)
        try:
            building.run()
        except BaseException:
            building.starter.close()
            with contextlib.suppress(ImagepipeError, OSError):  # the first error tells more; the next call clears
                teardown.remove(layout)
            raise

    def _is_up(self) -> bool:
        return bool(self.status()["state"] == "up")

    def _require_same(self, wanted: Options) -> None:
        state = teardown.recorded(self._layout)
        if state is not None and (state.flavour, state.engine) != (wanted.flavour, wanted.engine):
            raise UsageError(
                f"sandbox in {self._layout.directory} is up with flavour {state.flavour} and engine {state.engine}",
                hint="take it down first, or give another directory",
            )

    def status(self) -> dict[str, Any]:
        """Returns the document `imagepipe.sandbox/v1`; its `state` is up, broken, starting, stopping or down."""
        state = teardown.recorded(self._layout)
        if state is not None:
            return document.describe(self._layout, state)
        return document.absent(self._layout, broken=self._layout.state_file.exists())

    def environment(self) -> Mapping[str, str]:
        """Returns the variables that point imagepipe at this sandbox; secrets are handed as files.

        Raises:
            NotFoundError: It is not up.
        """
        if not self._is_up():
            raise NotFoundError(f"no sandbox is up in {self._layout.directory}", hint="run: imagepipe sandbox up")
        return document.environment(self._layout)

    def logs(self, name: str | None = None) -> str:
        """Returns the log of one process, or of all, each under its name.

        Raises:
            NotFoundError: There is no such log.
        """
        files = sorted((self._layout.directory / "logs").glob("*.log"))
        named = {file.stem: file for file in files}
        if name is None:
            return "".join(f"==> {stem} <==\n{file.read_text(errors='replace')}\n" for stem, file in named.items())
        if name not in named:
            raise NotFoundError(f"sandbox has no log of {name!r}", hint=f"there are: {', '.join(named) or 'none'}")
        return named[name].read_text(errors="replace")

    def down(self) -> bool:
        """Ends every process and removes everything; returns whether there was a sandbox.

        Works on half a sandbox and on the remains of a crash, and may be repeated.

        Raises:
            UnavailableError: Another process holds it, or something cannot be removed.
        """
        with _told("sandbox down", self._layout.directory):
            _refuse_foreign(self._layout)
            made = _missing_parents(self._layout.directory)
            there = teardown.remains(self._layout)
            with locked(self._layout.directory):
                teardown.remove(self._layout)
            teardown.remove_empty(made)
            return there

    def expired_client(self, target: str) -> Path:
        """Returns a `cert_path` for a target with a client certificate that ran out yesterday.

        Raises:
            NotFoundError: There is no such target.
        """
        return pki.expired_client(self._layout.pki(target), self._layout.client_certificates(f"{target}-expired"))

    def short_lived_client(self, target: str, life_s: float) -> Path:
        """Returns a `cert_path` for a target with a client certificate that runs out in so many seconds.

        Raises:
            NotFoundError: There is no such target.
        """
        return pki.short_lived_client(
            self._layout.pki(target), self._layout.client_certificates(f"{target}-short"), life_s
        )

    def foreign_client(self, target: str) -> Path:
        """Returns a `cert_path` for a target with a client certificate of a CA that it does not know.

        Raises:
            NotFoundError: There is no such target.
        """
        return pki.foreign_client(self._layout.pki(target), self._layout.client_certificates(f"{target}-foreign"))


@contextlib.contextmanager
def _told(doing: str, directory: Path) -> Iterator[None]:
    """Tells what the system refuses as ours to mend: no room, no right, no folder there.

    Raises:
        SettingsError: With the system's words.
    """
    try:
        yield
    except OSError as error:
        where = "" if error.filename is None else f": {error.filename}"
        raise SettingsError(
            f"{doing} in {directory}: {error.strerror or error}{where}",
            hint="make room or give a right there, or choose another directory",
        ) from error


def _missing_parents(directory: Path) -> tuple[str, ...]:
    """Returns the folders above a directory that do not exist yet, the innermost first."""
    return tuple(str(parent) for parent in directory.parents if not parent.exists())


def _refuse_foreign(layout: Layout) -> None:
    """Keeps us from clearing a directory that is not ours: one with files in it and without a state.

    Raises:
        SettingsError: It is such a directory.
    """
    if not layout.directory.exists() or layout.state_file.exists():
        return
    if not layout.directory.is_dir() or any(layout.directory.iterdir()):
        raise SettingsError(
            f"{layout.directory} is not a sandbox: it holds something else", hint="give an empty or a new directory"
        )
