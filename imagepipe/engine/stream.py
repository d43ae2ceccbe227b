r"""Reads Docker's JSON streams: any error line raises, progress and output become events, memory stays bounded.

>>> list(messages([b'{"status":"Digest: sha256:a', b'b"}\r\n{"status":"Status: done"}']))
[{'status': 'Digest: sha256:ab'}, {'status': 'Status: done'}]
"""

import json
from collections import OrderedDict
from collections.abc import Callable, Iterable, Iterator, Mapping
from time import monotonic
from typing import Any, Final

from imagepipe.engine.failure import classify, plain
from imagepipe.errors import UnavailableError
from imagepipe.events import EventSink, Output, Progress

__all__ = ["Relay", "messages"]

Message = Mapping[str, Any]

# Far above any line an engine writes (progress lines are below 1 KiB), far below what would hurt.
_MAX_LINE_BYTES: Final = 4 * 1024 * 1024
_MAX_OUTPUT_CHARS: Final = 4096
# Engines send a progress line per layer every 100 ms or so; people read a few a second.
_PROGRESS_EVERY_S: Final = 0.25
_MAX_ITEMS: Final = 1024
# A compiler writes hundreds of lines a second; `yes` writes millions.
_MAX_LINES_PER_S: Final = 2000


def messages(source: Iterable[bytes | str | Message], *, anonymous: bool = False) -> Iterator[Message]:
    """Yields the stream's messages in order.

    Args:
        source: Chunks of the body, cut anywhere, or messages that are decoded already.
        anonymous: Whether no credentials were sent.

    Raises:
        ImagepipeError: The stream said `error` or `errorDetail`: what `classify` makes of it.
        UnavailableError: The stream holds something else than JSON objects, or ends inside one.
    """
    for message in _objects(source):
        error = _error_of(message)
        if error is not None:
            raise classify(error, anonymous=anonymous)
        yield message


def _objects(source: Iterable[bytes | str | Message]) -> Iterator[Message]:
    rest = b""
    for piece in source:
        if isinstance(piece, Mapping):
            yield piece
            continue
        rest += piece.encode() if isinstance(piece, str) else piece
        # JSON escapes line breaks inside strings, so a raw one always ends a message.
        *lines, rest = rest.split(b"\n")
        for line in lines:
            yield from _decode(line)
        if len(rest) > _MAX_LINE_BYTES:
            raise UnavailableError(f"the host sent a line of more than {_MAX_LINE_BYTES} bytes")
    yield from _decode(rest)


def _decode(line: bytes) -> Iterator[Message]:
    """Yields the objects on one line: one, as a rule, but some proxies join them."""
    text, decoder = line.decode("utf-8", "replace").strip(), json.JSONDecoder()
    while text:
        try:
            value, end = decoder.raw_decode(text)
        except (ValueError, RecursionError) as error:
            raise UnavailableError(
                f"the host's answer broke off or is not JSON: {text[:200]!r}",
                hint="check what answers at this address, then try again",
            ) from error
        if not isinstance(value, dict):
            raise UnavailableError(f"the host's answer is not a JSON object: {text[:200]!r}")
        yield value
        text = text[end:].lstrip()


def _error_of(message: Message) -> str | None:
    """Returns what an error line says, or None for any other line; an empty error is an error too.

    Source: moby v20.10.24 pkg/jsonmessage/jsonmessage.go (`errorDetail`, and `error` for old clients).
    """
    detail, error = message.get("errorDetail"), message.get("error")
    if detail is None and error is None:
        return None
    said = detail.get("message") if isinstance(detail, Mapping) else detail
    return str(said or error or "the host reported an error without words")


class Relay:
    """Passes messages on as events of one step, at a rate that a terminal can follow.

    Args:
        sink: Where the events go.
        step: The step's name.
        subject: What the step works on.
        now: Seconds of a clock that never goes back.
    """

    def __init__(self, sink: EventSink, step: str, subject: str, *, now: Callable[[], float] = monotonic) -> None:
        self._sink = sink
        self._step = step
        self._subject = subject
        self._now = now
        self._items: OrderedDict[str, tuple[str, float]] = OrderedDict()
        self._partial = ""
        self._second = -1
        self._lines = 0
        self._dropped = 0

    def progress(self, message: Message) -> None:
        """Emits a status line as `Progress`: each change of status, and a few a second of the same one."""
        status = message.get("status")
        if not isinstance(status, str):
            return
        item, now = str(message.get("id") or ""), self._now()
        before, at = self._items.get(item, ("", 0.0))
        if before == status and now - at < _PROGRESS_EVERY_S:
            return
        self._items[item] = (status, now)
        self._items.move_to_end(item)
        if len(self._items) > _MAX_ITEMS:
            self._items.popitem(last=False)
        detail = message.get("progressDetail")
        sizes = detail if isinstance(detail, Mapping) else {}
        current, total = _size(sizes.get("current")), _size(sizes.get("total"))
        self._sink(Progress(self._step, self._subject, item, plain(status)[:_MAX_OUTPUT_CHARS], current, total))

    def output(self, text: str) -> tuple[str, ...]:
        """Emits printed text as `Output`, one event per whole line, and returns the lines that were completed."""
        *lines, rest = (self._partial + text).replace("\r\n", "\n").split("\n")
        self._partial = rest[:_MAX_OUTPUT_CHARS]
        cut = tuple(plain(line)[:_MAX_OUTPUT_CHARS] for line in lines)
        for line in cut:
            self._line(line)
        return cut

    def flush(self) -> tuple[str, ...]:
        """Emits what was printed without a line's end, and how many lines were left out."""
        rest = self.output("\n") if self._partial else ()
        self._tell_dropped()
        return rest

    def _line(self, line: str) -> None:
        second = int(self._now())
        if second != self._second:
            self._tell_dropped()
            self._second, self._lines = second, 0
        self._lines += 1
        if self._lines > _MAX_LINES_PER_S:
            self._dropped += 1
            return
        self._sink(Output(self._step, self._subject, line))

    def _tell_dropped(self) -> None:
        if self._dropped:
            self._sink(Output(self._step, self._subject, f"… {self._dropped} lines left out"))
            self._dropped = 0


def _size(value: object) -> int:
    return value if isinstance(value, int) and value > 0 else 0
