"""Replaces one container by one of the same configuration that runs another image, so that one of the two is left.

>>> Switch.__name__
'Switch'
"""

from typing import Final

from imagepipe.errors import DeadlineError, ImagepipeError, NotFoundError, RefusedError
from imagepipe.events import Output, Warned
from imagepipe.model.activation import Condition, Switched
from imagepipe.model.host import Container
from imagepipe.model.reference import Pinned
from imagepipe.promote.ports import HostPorts, World

__all__ = ["Switch", "name_aside"]

_NEXT: Final = ".imagepipe-new"
_ASIDE: Final = ".imagepipe-old"
_DONE: Final = ".imagepipe-done"
_STEP_S: Final = 1.0


def name_aside(name: str) -> str:
    """Returns what a container is called while the one that replaces it is not proven."""
    return f"{name}{_ASIDE}"


class Switch:
    """The switch of one container.

    The names on the host say how far it came, so that whoever finds them after a crash can go on:

        NAME                    nothing is under way
        NAME, NAME…-new         the new one was made, the old one may be stopped  → start NAME, remove -new
        NAME…-new, NAME…-old    the old one was set aside                         → rename -old, start it, remove -new
        NAME, NAME…-old         NAME is the new one, and not proven               → prove it, or put -old back
        NAME, NAME…-done        the new one is proven                             → remove -done

    The old one stops before the new one starts: a port, an address, and a volume on a VCH, belong to one of them.
    Source: VIC 1.5.8 user docs using_volumes_with_vic.md (a volume is used by one running container).

    Args:
        name: The container.
        image: What it is to run.
        ports: Its host.
        world: Where progress goes, and how long things may take.
    """

    def __init__(self, name: str, image: Pinned, ports: HostPorts, world: World) -> None:
        self.name = name
        self.image = image
        self.before = ""
        self.outcome = Switched.UNTOUCHED
        self._runner = ports.runner
        self._inventory = ports.inventory
        self._world = world
        self._was_running = True

    @property
    def restored(self) -> str:
        """What to say once the old one was put back."""
        return "what ran before runs again" if self._was_running else "what was there before is back, stopped as it was"

    def begin(self) -> None:
        """Makes the container run the image, proven; the old one is kept aside until `commit`.

        Raises:
            NotFoundError: There is no such container.
            RefusedError: The new one does not run, or is not healthy.
            AccessError, UnavailableError: The host refuses us, or is away.
        """
        here = self._look()
        if _DONE in here:
            self._runner.remove(self.name + _DONE)
        if "" in here and _ASIDE in here and self.image in here[""].images:
            self.before = here[_ASIDE].created_from
            self._runner.remove(self.name + _NEXT)
            self._runner.bring_up(self.name, self.name)
            self._prove()
            self.outcome = Switched.SWITCHED
            return
        if _ASIDE in here or _NEXT in here:
            self._world.events(Warned(self.name, "a former switch was cut short; what ran before is put back first"))
            self._put_back(here)
            here = self._look()
        old = here.get("")
        if old is None:
            raise NotFoundError(f"no container named {self.name}", hint="name one that is there")
        self.before = old.created_from
        if self.image in old.images:
            self._keep(old)
            return
        self._was_running = self._was_running and old.live
        self._runner.create(self.name + _NEXT, self.name, self.image)
        self.outcome = Switched.BROKEN  # until it is known to run, or to be back: the host may go away at any step
        self._runner.set_aside(self.name, name_aside(self.name))
        self._runner.bring_up(self.name + _NEXT, self.name)
        self._prove()
        self.outcome = Switched.SWITCHED

    def undo(self) -> None:
        """Puts back what ran before `begin`, wherever that was left.

        Raises:
            ImagepipeError: It could not be put back, or does not run.
        """
        here = self._look()
        if _ASIDE not in here and _NEXT not in here:
            return
        self.outcome = Switched.BROKEN
        self._put_back(here)
        if self._was_running:
            found = self._runner.condition(self.name)
            if not found.running:
                raise RefusedError(
                    f"{self.name} was put back, but does not run: {_said(found)}", hint=f"look at {self.name} by hand"
                )
        self.outcome = Switched.RESTORED

    def commit(self) -> None:
        """Lets go of the old container; one that stays behind is told, and removed the next time."""
        if self.outcome is not Switched.SWITCHED:
            return
        try:
            self._runner.set_aside(name_aside(self.name), self.name + _DONE)
            self._runner.remove(self.name + _DONE)
        except ImagepipeError as error:
            self._world.events(Warned(self.name, f"runs the new image; the old container stays: {error.message}"))

    def _look(self) -> dict[str, Container]:
        """Returns the containers that bear the name, by what is added to it."""
        names = {self.name + suffix: suffix for suffix in ("", _NEXT, _ASIDE, _DONE)}
        return {names[one.name]: one for one in self._inventory.inventory().containers if one.name in names}

    def _keep(self, old: Container) -> None:
        if old.live:
            self.outcome = Switched.RUNNING
            return
        self._runner.bring_up(self.name, self.name)
        self._prove()
        self.outcome = Switched.SWITCHED

    def _put_back(self, here: dict[str, Container]) -> None:
        """Leaves the old container alone under its name, running if it ran; each step leaves a state of the table."""
        new, old, mine = self.name + _NEXT, name_aside(self.name), self.name
        if _ASIDE in here:
            if "" in here:
                if _NEXT in here:
                    self._runner.remove(new)
                self._runner.set_aside(mine, new)
            if self._was_running:
                self._runner.bring_up(old, mine)
            else:
                self._runner.set_aside(old, mine)
        elif "" not in here:
            return  # somebody removed the old one: better a new one that nobody proved than none
        elif self._was_running and not here[""].live:
            self._runner.bring_up(mine, mine)
        self._runner.remove(new)

    def _prove(self) -> None:
        """Returns once the container has run for a while, and is healthy where it can tell."""
        waited_s = 0.0
        while True:
            found = self._runner.condition(self.name)
            if not found.running or found.restarts or found.health == "unhealthy":
                for line in found.last_words:
                    self._world.events(Output("activate", self.name, line))
                raise RefusedError(
                    f"{self.name} with {self.image}: {_said(found)}",
                    hint="run it again with -v to see what it printed last, and mend the image",
                )
            settled = waited_s >= self._world.settle_s
            if settled and found.health != "starting":
                return
            if settled and waited_s >= self._world.switch_s:
                raise DeadlineError(
                    f"{self.name} with {self.image} is not healthy after {waited_s:g} s",
                    hint="raise timeouts.switch_s, or mend its health check",
                )
            self._world.pause(_STEP_S)
            waited_s += _STEP_S


def _said(found: Condition) -> str:
    return f"{found.told}, started again {found.restarts} times" if found.restarts else found.told
