"""A signer that is made when it is first asked: who only reads needs nobody to sign.

>>> LateSigner.__name__
'LateSigner'
"""

from collections.abc import Callable, Sequence
from functools import cached_property

from imagepipe.model.evidence import Bundle, Signatory, Statement
from imagepipe.ports import Signer

__all__ = ["LateSigner"]


class LateSigner:
    """Keeps the port `Signer` by another one; whatever that raises when it is made is raised by each call.

    Args:
        make: Makes the other one.
    """

    def __init__(self, make: Callable[[], Signer]) -> None:
        self._make = make

    @cached_property
    def _signer(self) -> Signer:
        return self._make()

    def prepare(self) -> None:
        """Does beforehand what takes time."""
        self._signer.prepare()

    def signatory(self) -> Signatory:
        """Returns who would sign."""
        return self._signer.signatory()

    def sign(self, statements: Sequence[Statement]) -> tuple[Bundle, ...]:
        """Returns one bundle per statement."""
        return self._signer.sign(statements)
