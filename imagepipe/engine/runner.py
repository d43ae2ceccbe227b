"""Replaces containers on a VCH or an engine.

>>> EngineRunner.__name__
'EngineRunner'
"""

import struct
from collections.abc import Iterator, Mapping
from ipaddress import ip_address, ip_network
from typing import Any, Final

from imagepipe.engine.client import Endpoint, quoted
from imagepipe.engine.failure import redact
from imagepipe.engine.likeness import Likeness
from imagepipe.errors import ImagepipeError, NotFoundError, RefusedError
from imagepipe.model.activation import Condition
from imagepipe.model.host import TargetKind
from imagepipe.model.reference import Pinned

__all__ = ["EngineRunner", "condition_of", "lines_of"]

# Enough to see why a process ended, little enough for a terminal.
_LAST_LINES: Final = 10
# Source: Docker Engine API 1.25 ContainerAttach "Stream format": type, three zeros, size.
_FRAME: Final = struct.Struct(">BxxxI")


class EngineRunner:
    """Keeps the port `ContainerRunner`.

    Args:
        endpoint: Its address; its reading deadline must be longer than the longest stop or start.
        kind: Whether it is a VCH, which tells and takes some things otherwise.
    """

    def __init__(self, endpoint: Endpoint, kind: TargetKind) -> None:
        self._endpoint = endpoint
        self._vch = kind is TargetKind.VCH

    def condition(self, name: str) -> Condition:
        """Returns how a container does.

        Raises:
            NotFoundError: There is none of that name.
            AccessError, UnavailableError: The host refuses us, or is away.
        """
        found = self._inspect(name)
        told = condition_of(found)
        if told.running and told.health != "unhealthy":
            return told
        return condition_of(found, self._last_words(name, tty=bool(found["Config"].get("Tty"))))

    def create(self, name: str, like: str, image: Pinned) -> None:
        """Makes a container, not started yet, that differs from another one in its image alone.

        Raises:
            RefusedError: The host takes no such container; nothing is left of it.
            NotFoundError, AccessError, UnavailableError: As `condition`.
        """
        model = self._likeness(like)
        try:
            self._endpoint.post("/containers/create", params={"name": name}, body=model.body(image))
            for network, asked in model.further_networks().items():
                self._endpoint.post(
                    f"/networks/{quoted(network)}/connect", body={"Container": name, "EndpointConfig": asked}
                )
        except ImagepipeError as error:
            self._remove_quietly(name)
            raise _refused(error).doing(f"create a container like {like} on {self._endpoint.host}") from error
        except BaseException:
            self._remove_quietly(name)
            raise

    def set_aside(self, name: str, to: str) -> None:
        """Stops a container, if it runs, and gives it another name.

        Raises:
            ImagepipeError: As `condition`; it may be stopped and keep its name.
        """
        try:
            # Without a time of our own: the container's counts.
            self._endpoint.post(f"/containers/{quoted(name)}/stop")
            self._endpoint.post(f"/containers/{quoted(name)}/rename", params={"name": to})
        except ImagepipeError as error:
            raise error.doing(f"stop {name} on {self._endpoint.host} and set it aside") from error

    def bring_up(self, name: str, to: str) -> None:
        """Gives a container a name, if it has another, and starts it, if it does not run.

        Raises:
            RefusedError: It cannot be started; it has the name.
            NotFoundError, AccessError, UnavailableError: As `condition`.
        """
        try:
            if name != to:
                self._endpoint.post(f"/containers/{quoted(name)}/rename", params={"name": to})
            self._endpoint.post(f"/containers/{quoted(to)}/start")
        except ImagepipeError as error:
            raise _refused(error).doing(f"start {to} on {self._endpoint.host}") from error

    def remove(self, name: str) -> None:
        """Removes a container, if it is there, whether it runs or not; its volumes stay.

        Raises:
            AccessError, UnavailableError: As `condition`.
        """
        try:
            self._endpoint.delete(f"/containers/{quoted(name)}", params={"force": "1"})
        except NotFoundError:
            return
        except ImagepipeError as error:
            raise error.doing(f"remove the container {name} from {self._endpoint.host}") from error

    def _inspect(self, name: str) -> Mapping[str, Any]:
        try:
            found: Mapping[str, Any] = self._endpoint.get(f"/containers/{quoted(name)}/json")
        except ImagepipeError as error:
            raise error.doing(f"look at the container {name} on {self._endpoint.host}") from error
        return found

    def _likeness(self, name: str) -> Likeness:
        container = self._inspect(name)
        try:
            image = self._endpoint.get(f"/images/{quoted(str(container['Image']))}/json")
        except NotFoundError as error:
            raise RefusedError(
                f"what {name} was given cannot be told from what its image brought: {error.message}",
                hint=f"the image of {name} was removed from the host: make the container anew by hand",
            ) from error
        addresses = dict(self._addresses(container)) if self._vch else {}
        return Likeness(container, image, vch=self._vch, addresses=addresses)

    def _addresses(self, container: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
        """Yields the address on each container network with a range of its own: others know the container by it.

        A VCH does not tell whether an address was asked for; one by DHCP cannot be.
        Source: VIC v1.5.8 lib/apiservers/engine/proxy/container_proxy.go networkFromContainerInfo.
        """
        for name, told in ((container.get("NetworkSettings") or {}).get("Networks") or {}).items():
            address = told.get("IPAddress")
            network = self._endpoint.get(f"/networks/{quoted(name)}") if address else {}
            if network.get("Driver") != "external":
                continue
            pools = [str(one.get("Subnet") or "") for one in (network.get("IPAM") or {}).get("Config") or ()]
            if any(_within(address, pool) for pool in pools):
                yield name, address

    def _last_words(self, name: str, *, tty: bool) -> tuple[str, ...]:
        params = {"stdout": "1", "stderr": "1", "tail": str(_LAST_LINES)}
        try:
            return lines_of(self._endpoint.raw(f"/containers/{quoted(name)}/logs", params), tty=tty)
        except ImagepipeError:
            return ()  # a log driver may keep none; the condition is what was asked for

    def _remove_quietly(self, name: str) -> None:
        try:
            self.remove(name)
        except ImagepipeError:
            return


def condition_of(found: Mapping[str, Any], last_words: tuple[str, ...] = ()) -> Condition:
    """Returns what a container's inspection says of how it does."""
    state = found["State"]
    restarting = bool(state.get("Restarting"))
    running = bool(state.get("Running")) and not restarting
    health = str((state.get("Health") or {}).get("Status") or "")
    told = str(state.get("Status") or "").lower() or ("running" if running else "stopped")
    if not running:
        told = "restarting" if restarting else f"{told} with code {state.get('ExitCode')}"
        told += f": {redact(str(state['Error']))}" if state.get("Error") else ""
    return Condition(
        running=running,
        told=f"{told}, {health}" if health not in ("", "none") else told,
        health="" if health == "none" else health,
        restarts=int(found.get("RestartCount") or 0),
        removes_itself=bool((found.get("HostConfig") or {}).get("AutoRemove")),
        last_words=last_words,
    )


def lines_of(raw: bytes, *, tty: bool) -> tuple[str, ...]:
    """Returns the last lines of a container's log.

    Source: Docker Engine API 1.25 ContainerAttach "Stream format": frames, unless there is a terminal.
    """
    content = raw
    if not tty:
        content, rest = b"", raw
        while len(rest) >= _FRAME.size:
            _, size = _FRAME.unpack(rest[: _FRAME.size])
            content, rest = content + rest[_FRAME.size : _FRAME.size + size], rest[_FRAME.size + size :]
    return tuple(redact(line) for line in content.decode("utf-8", "replace").splitlines()[-_LAST_LINES:])


def _refused(error: ImagepipeError) -> ImagepipeError:
    """Returns the error as a refusal where the host only means that something the container needs is not there."""
    return RefusedError(error.message, hint=error.hint) if isinstance(error, NotFoundError) else error


def _within(address: str, pool: str) -> bool:
    try:
        network = ip_network(pool, strict=False)
    except ValueError:
        return False
    return network.prefixlen > 0 and ip_address(address) in network
