"""The seam by which containers are replaced on a host.

>>> ContainerRunner.__name__
'ContainerRunner'
"""

from typing import Protocol

from imagepipe.model.activation import Condition
from imagepipe.model.reference import Pinned

__all__ = ["ContainerRunner"]


class ContainerRunner(Protocol):
    """Makes, stops, starts and renames containers of one host."""

    def condition(self, name: str) -> Condition:
        """Returns how a container does.

        Raises:
            NotFoundError: There is none of that name.
            AccessError, UnavailableError: The host refuses us, or is away.
        """
        ...

    def create(self, name: str, like: str, image: Pinned) -> None:
        """Makes a container, not started yet, that differs from another one in its image alone.

        It has the other one's environment, command, labels, volumes, networks, addresses, ports and limits, but for
        what that only had from its own image.

        Raises:
            RefusedError: The host takes no such container; nothing is left of it.
            NotFoundError, AccessError, UnavailableError: As `condition`.
        """
        ...

    def set_aside(self, name: str, to: str) -> None:
        """Stops a container, if it runs, and gives it another name.

        Raises:
            ImagepipeError: As `condition`; it may be stopped and keep its name.
        """
        ...

    def bring_up(self, name: str, to: str) -> None:
        """Gives a container a name, if it has another, and starts it, if it does not run.

        Raises:
            ImagepipeError: As `condition`; it may have the name and be stopped.
        """
        ...

    def remove(self, name: str) -> None:
        """Removes a container, if it is there, whether it runs or not; its volumes stay.

        Raises:
            AccessError, UnavailableError: As `condition`.
        """
        ...
