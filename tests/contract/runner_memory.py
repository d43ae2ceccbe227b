"""The in-memory twin of what replaces containers, which can be killed between any two of its steps."""

from dataclasses import replace

from imagepipe.errors import ImagepipeError, NotFoundError, RefusedError
from imagepipe.model.activation import Condition
from imagepipe.model.host import Container
from imagepipe.model.reference import Pinned
from tests.contract.engine_memory import MemoryHost


class Killed(BaseException):
    """Our own process is gone: nothing more is done, not even to clean up."""


class MemoryRunner:
    """Replaces containers of a `MemoryHost`.

    A test may look at the public fields and set them:

    Attributes:
        crashing: Images whose containers end at once.
        health: What the health check of an image's containers says, one answer after another; the last one stays.
        restarts: How often the containers of an image were started again.
        temporary: Containers that are gone once they stop.
        errors: Raised by the next call of that name, once.
        steps_left: So many steps are done before we are killed; None: all.
        calls: What was asked, in order.
    """

    def __init__(self, host: MemoryHost) -> None:
        self.host = host
        self.crashing: set[Pinned] = set()
        self.health: dict[Pinned, list[str]] = {}
        self.restarts: dict[Pinned, int] = {}
        self.temporary: set[str] = set()
        self.errors: dict[str, ImagepipeError] = {}
        self.steps_left: int | None = None
        self.calls: list[str] = []

    def condition(self, name: str) -> Condition:
        self._called("condition", name)
        one = self._find(name)
        image = Pinned.parse(one.created_from)
        says = self.health.get(image) or [""]
        health = says.pop(0) if len(says) > 1 else says[0]
        running = one.state == "running"
        told = "running" if running else "exited with code 1"
        words = () if running and health != "unhealthy" else ("no such table: users",)
        return Condition(running, told, health, self.restarts.get(image, 0), name in self.temporary, words)

    def create(self, name: str, like: str, image: Pinned) -> None:
        self._called("create", name)
        self._find(like)
        if image not in self.host.images:
            raise RefusedError(f"create {name}: No such image: {image}")
        if any(one.name == name for one in self.host.containers):
            raise RefusedError(f"create {name}: Conflict. The container name {name} is already in use")
        self._step()
        self.host.containers.append(Container(name, "created", str(image), (image,)))

    def set_aside(self, name: str, to: str) -> None:
        self._called("set_aside", name)
        if self._find(name).state == "running":
            self._change(name, state="exited")
        self._change(name, name=to)

    def bring_up(self, name: str, to: str) -> None:
        self._called("bring_up", name)
        if name != to:
            self._change(name, name=to)
        one = self._find(to)
        if one.state != "running":
            self._change(to, state="exited" if Pinned.parse(one.created_from) in self.crashing else "running")

    def remove(self, name: str) -> None:
        self._called("remove", name)
        if any(one.name == name for one in self.host.containers):
            self._step()
            self.host.containers.remove(self._find(name))

    def _called(self, what: str, name: str) -> None:
        self.calls.append(f"{what} {name}")
        if self.steps_left == 0:
            raise Killed
        if what in self.errors:
            raise self.errors.pop(what)

    def _find(self, name: str) -> Container:
        found = next((one for one in self.host.containers if one.name == name), None)
        if found is None:
            raise NotFoundError(f"No such container: {name}")
        return found

    def _change(self, old: str, *, name: str | None = None, state: str | None = None) -> None:
        found = self._find(old)
        if name is not None and any(one.name == name for one in self.host.containers):
            raise RefusedError(f"rename {old}: Conflict. The container name {name} is already in use")
        self._step()
        changed = replace(found, name=name or found.name, state=state or found.state)
        self.host.containers[self.host.containers.index(found)] = changed

    def _step(self) -> None:
        if self.steps_left is None:
            return
        if self.steps_left == 0:
            raise Killed
        self.steps_left -= 1
