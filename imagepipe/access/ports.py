"""What looking after access needs besides Harbor's administration.

>>> ProveCredential.__name__
'ProveCredential'
"""

from collections.abc import Set as AbstractSet
from typing import Protocol

from imagepipe.model.access import Right
from imagepipe.model.result import Credential

__all__ = ["ProveCredential"]


class ProveCredential(Protocol):
    """Tries a credential where it will be used."""

    def prove(self, credential: Credential, project: str, rights: AbstractSet[Right]) -> None:
        """Returns when the credential gets a token, and pulls and pushes in the project as far as `rights` say.

        Raises:
            AccessError: It does not.
        """
        ...
