"""What looking after access needs besides Harbor's administration.

>>> ProveCredential.__name__
'ProveCredential'
"""

from collections.abc import Set as AbstractSet
from typing import Protocol

from imagepipe.model.access import Right, Robot, RobotSecret
from imagepipe.model.result import Credential

__all__ = ["ProveCredential", "SecretPlace"]


class ProveCredential(Protocol):
    """Tries a credential where it will be used."""

    def prove(self, credential: Credential, project: str, rights: AbstractSet[Right]) -> None:
        """Returns when the credential is let in, and pulls and pushes in the project as far as `rights` say.

        An empty project is none: then it is let in, and that is all.

        Raises:
            AccessError: It does not.
        """
        ...


class SecretPlace(Protocol):
    """Where a robot's secret goes; `str()` names it for people."""

    @property
    def readable(self) -> bool:
        """Whether what it holds can be looked at."""
        ...

    def check(self) -> None:
        """Returns when a secret can be delivered: better known before it is made than after.

        Raises:
            InputError: It cannot.
        """
        ...

    def deliver(self, made: RobotSecret) -> None:
        """Takes a robot's login and secret.

        Raises:
            InputError: It cannot, and nobody has the secret.
            PartialError: Nobody knows whether it has; the secret is kept, and told again by `pending`.
        """
        ...

    def held(self) -> Credential | None:
        """Returns what it holds, the name empty where it has none; None: nothing that we wrote, or not readable."""
        ...

    def pending(self, robot: Robot) -> Credential | None:
        """Returns a secret that was made for the robot and is not surely delivered; None: there is none."""
        ...
