"""Kills imagepipe at every moment of its work, and proves each time that the same command takes up what is left."""

import json
import os
import signal
from collections.abc import Iterable
from dataclasses import dataclass, field
from itertools import count
from pathlib import Path

from imagepipe.events import silent
from imagepipe.model.evidence import SIGNATURE_PREDICATE, Statement
from imagepipe.settings import load_settings
from imagepipe.wiring import Wiring
from tests.e2e.box import Box
from tests.e2e.cli import Cli
from tests.e2e.images import hand_made
from tests.e2e.mortal import Death, Life, Mortals

__all__ = ["TARGETS", "Sweep", "deaths"]

TARGETS = ("vch-a", "engine-a")


@dataclass
class Sweep:
    """One repository whose images are moved about, each by a command that dies and once more.

    Attributes:
        box: The sandbox.
        cli: The command line that reads the history.
        mortals: What dies.
        wiring: What signs images, faster than commands would.
        repository: `project/name`.
        records: How many records each target's chain must have by now.
        at: What was promoted last, and not left.
    """

    box: Box
    cli: Cli
    mortals: Mortals
    wiring: Wiring
    repository: str
    records: int = 0
    at: str = ""
    _numbers: "count[int]" = field(default_factory=count)

    @classmethod
    def of(cls, box: Box, cli: Cli, folder: Path, repository: str) -> "Sweep":
        """Returns a sweep that has not begun."""
        environ = {"PATH": "/usr/bin:/bin", "HOME": str(cli.home), "LANG": "C.UTF-8", **cli.environ}
        environ |= {name: value for name, value in os.environ.items() if name == "SSL_CERT_FILE"}
        settings = load_settings(flags={}, config_file=Path(box.document["config"]), cwd=folder, environ={})
        return cls(box, cli, Mortals(folder, environ), Wiring(settings, events=silent, environ=environ), repository)

    def close(self) -> None:
        """Ends the connections by which images are signed."""
        self.wiring.registry.connections.close()

    def image(self) -> str:
        """Pushes and signs a new image."""
        number = next(self._numbers)
        made = hand_made(f"{self.repository} {number}")
        pinned = self.wiring.pin(self.box.registry.push(self.repository, str(number), made))
        subject = self.wiring.registry.manifest(pinned).descriptor
        self.wiring.writer.ensure(pinned, subject, [Statement.about(pinned, SIGNATURE_PREDICATE, {})])
        return str(pinned)

    def promoted(self, death: Death | None) -> Life:
        """Brings a new image to both targets, once it has died on the way; this is the one to go back to."""
        self.at = self.image()
        return self._survived(("promote", self.at), "--to", self.at, death)

    def returned(self, death: Death | None) -> Life:
        """Brings both targets back from a new image to the present one, once it has died on the way."""
        bad, good = self.image(), self.at
        self._survived(("promote", bad), "--to", bad, None)
        return self._survived(("rollback", bad), "--on", good, death)

    def _survived(self, command: tuple[str, ...], flag: str, there: str, death: Death | None) -> Life:
        """Runs a command that dies, runs it again, and proves that all is well: targets hold what is meant, alone."""
        where = [word for target in TARGETS for word in (flag, target)]
        argv = (*command, *where, "--yes", "--progress", "plain", "--json")
        if death is not None:
            killed = self.mortals.live(*argv, death=death)
            assert killed.code == -signal.SIGKILL, (death, killed)
        life = self.mortals.live(*argv)
        assert life.code == 0, (death, life)
        assert {one["outcome"] for one in json.loads(life.out)["targets"]} <= {"promoted", "present"}, death
        for target in TARGETS:
            assert self.box.host(target).holds(there), death
            assert (self.box.host(target).containers(), self.box.host(target).volumes()) == ([], []), death
        self.records += 1
        return life

    def whole(self) -> None:
        """Proves that each target has one chain without a gap, with as many records as there were survivals."""
        told = self.cli.run("history", self.repository, "--json").ok().json()
        assert [chain["breaks"] for chain in told["chains"]] == [[]] * len(told["chains"])
        found = {chain["target"]: chain["records"] for chain in told["chains"] if chain["records"]}
        assert found == dict.fromkeys(TARGETS, self.records)


def deaths(life: Life, telling: Iterable[str] = ("",)) -> list[Death]:
    """Returns one death for each moment of a life that holds a word: when it comes for the last time."""
    moments = [moment for moment in dict.fromkeys(life.moments) if any(word in moment for word in telling)]
    return [Death(moment, life.moments.count(moment)) for moment in moments]
