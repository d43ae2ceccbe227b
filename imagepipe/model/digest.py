"""A content digest, checked when it is made.

>>> Digest.of(b"")
Digest('sha256:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855')
>>> Digest.parse(str(Digest.of(b"x"))) == Digest.of(b"x")
True
"""

import hashlib
import re
from dataclasses import dataclass

from imagepipe.errors import DigestMismatchError, InputError

__all__ = ["Digest"]

# Source: OCI image-spec v1.1 descriptor.md "Digests"; sha256 is the only algorithm that Harbor and VCHs handle.
_PATTERN = re.compile(r"sha256:([0-9a-f]{64})")


@dataclass(frozen=True, slots=True, order=True, repr=False)
class Digest:
    """A sha256 digest. Law: `Digest.parse(str(d)) == d`.

    Attributes:
        hex: 64 lower-case hexadecimal digits.
    """

    hex: str

    def __post_init__(self) -> None:
        if not _PATTERN.fullmatch(f"sha256:{self.hex}"):
            raise InputError(f"not a sha256 digest: {self.hex[:80]!r}", hint="write sha256: and 64 hex digits")

    @classmethod
    def parse(cls, text: str) -> "Digest":
        """Returns the digest that `sha256:<64 hex>` spells.

        Raises:
            InputError: The text is anything else.
        """
        match = _PATTERN.fullmatch(text)
        if not match:
            raise InputError(f"not a sha256 digest: {text[:80]!r}", hint="write sha256: and 64 hex digits")
        return cls(match.group(1))

    @classmethod
    def of(cls, content: bytes) -> "Digest":
        """Returns the digest of these bytes."""
        return cls(hashlib.sha256(content).hexdigest())

    @property
    def short(self) -> str:
        """The first 12 hex digits, as Docker shortens ids; for people, never for comparing."""
        return self.hex[:12]

    def check(self, content: bytes, what: str) -> bytes:
        """Returns the content once it is proven to have this digest.

        Raises:
            DigestMismatchError: The bytes have another digest.
        """
        actual = Digest.of(content)
        if actual != self:
            raise DigestMismatchError(
                f"{what}: the bytes received have digest {actual}, expected {self}",
                hint="treat the registry or the path to it as broken or tampered with, and do not use the image",
            )
        return content

    def __str__(self) -> str:
        return f"sha256:{self.hex}"

    def __repr__(self) -> str:
        return f"Digest('{self}')"
