"""A function that is asked each question once, whoever asks and however many at a time.

>>> lengths = Once(len)
>>> lengths("abc"), lengths("abc")
(3, 3)
"""

from collections.abc import Callable, Hashable
from threading import Lock
from typing import Generic, TypeVar

__all__ = ["Once"]

Key = TypeVar("Key", bound=Hashable)
Value = TypeVar("Value")


class Once(Generic[Key, Value]):
    """A function whose answers are remembered; whoever asks the same meanwhile waits. What fails is asked again.

    Args:
        function: What is asked.
    """

    def __init__(self, function: Callable[[Key], Value]) -> None:
        self._function = function
        self._known: dict[Key, tuple[Value]] = {}
        self._locks: dict[Key, Lock] = {}
        self._lock = Lock()

    def __call__(self, key: Key) -> Value:
        """Returns what the function says of the key."""
        with self._lock:
            lock = self._locks.setdefault(key, Lock())
        with lock:
            if (known := self._known.get(key)) is not None:
                return known[0]  # somebody may forget it meanwhile
            try:
                value = self._function(key)
            except BaseException:
                self.forget(key)
                raise
            self._known[key] = (value,)
            return value

    def forget(self, key: Key) -> None:
        """Keeps nothing of a question: whoever asks it is answered anew."""
        with self._lock:
            self._known.pop(key, None)
            self._locks.pop(key, None)
