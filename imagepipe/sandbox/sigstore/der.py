"""The little DER that certificates' extensions and timestamps need. Source: X.690."""

from collections.abc import Iterator

INTEGER = 0x02
OCTET_STRING = 0x04
OBJECT_IDENTIFIER = 0x06
BOOLEAN = 0x01
UTF8_STRING = 0x0C
GENERALIZED_TIME = 0x18
SEQUENCE = 0x30
SET = 0x31
CONTEXT_0 = 0xA0

_LONG_FORM = 0x80


class DerError(ValueError):
    """Bytes that are not DER."""


def encode(tag: int, *parts: bytes) -> bytes:
    """Returns the element with this tag and the joined parts as content."""
    content = b"".join(parts)
    if len(content) < _LONG_FORM:
        return bytes((tag, len(content))) + content
    size = len(content).to_bytes((len(content).bit_length() + 7) // 8, "big")
    return bytes((tag, _LONG_FORM | len(size))) + size + content


def integer(value: int) -> bytes:
    """Returns a non-negative INTEGER."""
    return encode(INTEGER, value.to_bytes(value.bit_length() // 8 + 1, "big"))


def utf8(text: str) -> bytes:
    """Returns a UTF8String."""
    return encode(UTF8_STRING, text.encode())


def oid(dotted: str) -> bytes:
    """Returns an OBJECT IDENTIFIER."""
    first, second, *rest = map(int, dotted.split("."))
    return encode(OBJECT_IDENTIFIER, *(_base128(arc) for arc in (first * 40 + second, *rest)))


def _base128(arc: int) -> bytes:
    digits = [arc & 0x7F]
    while arc := arc >> 7:
        digits.append(arc & 0x7F | 0x80)
    return bytes(reversed(digits))


def elements(content: bytes) -> Iterator[tuple[int, bytes, bytes]]:
    """Yields (tag, content, whole element) of each element in content.

    Raises:
        DerError: an element is longer than what is there.
    """
    while content:
        if len(content) < 2:
            raise DerError("an element has no length")
        tag, length, start = content[0], content[1], 2
        if length & _LONG_FORM:
            start += length & ~_LONG_FORM
            length = int.from_bytes(content[2:start], "big")
        end = start + length
        if end > len(content):
            raise DerError("an element is cut off")
        yield tag, content[start:end], content[:end]
        content = content[end:]
