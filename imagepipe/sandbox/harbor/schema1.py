"""Signed manifests of schema 1: what their digest speaks of, and how they are read.

Every media type that no other reader knows is read so, too.
Source: docker/distribution v2.8.3 manifests.go (UnmarshalManifest), manifest/schema1/manifest.go; docker/libtrust
jsonsign.go (ParsePrettySignature). Signatures are the registry's to verify.
"""

from __future__ import annotations

import base64
import binascii
import json
from typing import Any

SIGNED = "application/vnd.docker.distribution.manifest.v1+prettyjws"
LAYER = "application/vnd.docker.container.image.rootfs.diff+x-gtar"


class NotSignedError(Exception):
    """The bytes are no signed manifest."""


def canonical(document: object, raw: bytes) -> bytes:
    """Returns the bytes of a manifest without its signatures, of which its digest is made.

    Raises:
        NotSignedError: In libtrust's words.
    """
    if not isinstance(document, dict):
        raise NotSignedError(f"error unmarshalling content: json: cannot unmarshal {_kind(document)} into Go value")
    blocks = document.get("signatures")
    if "signatures" not in document:
        raise NotSignedError("missing signature key")
    if not isinstance(blocks, list) or not all(isinstance(block, dict) for block in blocks):
        raise NotSignedError("error unmarshalling signatures: json: cannot unmarshal into Go value")
    formats = [_format(block) for block in blocks]
    for name, position in (("length", 0), ("tail", 1)):
        if len({found[position] for found in formats}) > 1:
            raise NotSignedError(f"conflicting format {name}")
    length, tail = formats[0] if formats else (0, b"")
    return raw[:length] + tail


def _format(block: dict[str, Any]) -> tuple[int, bytes]:
    try:
        protected = _decoded(block.get("protected"))
    except (binascii.Error, ValueError) as error:
        raise NotSignedError(f"base64 decode error: {error}") from error
    try:
        header = json.loads(protected)
    except ValueError as error:
        raise NotSignedError(f"error unmarshalling protected header: {error}") from error
    if not isinstance(header, dict) or not isinstance(header.get("formatLength"), int | float):
        raise NotSignedError("missing formatted length")
    if not isinstance(header.get("formatTail"), str):
        raise NotSignedError("missing formatted tail")
    try:
        return int(header["formatLength"]), _decoded(header["formatTail"])
    except (binascii.Error, ValueError) as error:
        raise NotSignedError(f"base64 decode error on tail: {error}") from error


def _decoded(text: object) -> bytes:
    words = text if isinstance(text, str) else ""
    return base64.b64decode(words + "=" * (-len(words) % 4), altchars=b"-_", validate=True)


def _kind(value: object) -> str:
    kinds = {list: "array", str: "string", bool: "bool"}
    return kinds.get(type(value), "number")
