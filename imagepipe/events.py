"""What happened, as frozen values handed to an `EventSink`; the library says nothing in any other way.

>>> seen: list[Event] = []
>>> sink: EventSink = seen.append
>>> sink(StepStarted("push", "es-sandbox/hello"))
>>> seen[0].step
'push'
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from time import monotonic

__all__ = [
    "Event",
    "EventSink",
    "Output",
    "Progress",
    "Retried",
    "StepFailed",
    "StepFinished",
    "StepStarted",
    "Warned",
    "silent",
    "step",
]


@dataclass(frozen=True, slots=True)
class StepStarted:
    """A named step on a subject began (`push` of `es-sandbox/hello`)."""

    step: str
    subject: str


@dataclass(frozen=True, slots=True)
class StepFinished:
    """A step ended well; `detail` is a short phrase such as a digest."""

    step: str
    subject: str
    duration_s: float
    detail: str = ""


@dataclass(frozen=True, slots=True)
class StepFailed:
    """A step ended in an error; the error itself travels as an exception."""

    step: str
    subject: str
    duration_s: float
    message: str


@dataclass(frozen=True, slots=True)
class Progress:
    """One item of a step moved on; sizes in bytes, `total_bytes` 0 when unknown."""

    step: str
    subject: str
    item: str
    status: str
    current_bytes: int = 0
    total_bytes: int = 0


@dataclass(frozen=True, slots=True)
class Output:
    """One line that the other side printed, such as build output."""

    step: str
    subject: str
    line: str


@dataclass(frozen=True, slots=True)
class Warned:
    """Something the user should know that did not stop us."""

    subject: str
    message: str


@dataclass(frozen=True, slots=True)
class Retried:
    """A request will be sent again after `delay_s` seconds."""

    what: str
    attempt: int
    delay_s: float
    reason: str


Event = StepStarted | StepFinished | StepFailed | Progress | Output | Warned | Retried
EventSink = Callable[[Event], None]


def silent(event: Event) -> None:
    """Takes an event and says nothing: the sink for callers who do not care."""


class Note:
    """What a running step wants to add to its `StepFinished` event."""

    __slots__ = ("detail",)

    def __init__(self) -> None:
        self.detail = ""


@contextmanager
def step(sink: EventSink, name: str, subject: str) -> Iterator[Note]:
    """Emits the start and the end (or failure) of a step round a block.

    Yields:
        A note whose `detail` goes into the `StepFinished` event.
    """
    started, note = monotonic(), Note()
    sink(StepStarted(name, subject))
    try:
        yield note
    except BaseException as error:
        sink(StepFailed(name, subject, monotonic() - started, str(error) or type(error).__name__))
        raise
    sink(StepFinished(name, subject, monotonic() - started, note.detail))
