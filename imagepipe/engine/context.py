"""A build context as a tar stream that is never held in memory or on disk, however large the folder.

>>> from tempfile import TemporaryDirectory
>>> with TemporaryDirectory() as folder:
...     _ = Path(folder, "Dockerfile").write_text("FROM scratch")
...     len(b"".join(pack(Path(folder), "Dockerfile")))
2048
"""

import os
import stat
import tarfile
from collections.abc import Iterator, Mapping
from io import BytesIO
from pathlib import Path
from typing import Final

from imagepipe.engine.ignore import Ignore
from imagepipe.errors import InputError

__all__ = ["check_context", "pack", "read_ignore_text"]

_PIECE_BYTES: Final = 64 * 1024


def check_context(context: Path, dockerfile: str) -> None:
    """Proves that there is something to build.

    Raises:
        InputError: The context or the Dockerfile is missing, or the Dockerfile lies outside the context.
    """
    if not context.is_dir():
        raise InputError(f"{context}: no such build context", hint="correct build.context; it is a folder")
    path = context / dockerfile
    if _is_outside(dockerfile):
        raise InputError(
            f"{dockerfile}: outside the build context {context}",
            hint="move the Dockerfile into the context, or choose a context that holds it",
        )
    if not path.is_file():
        raise InputError(f"{path}: no such Dockerfile", hint="correct build.dockerfile; it is relative to the context")
    _check_inside(path, context)


def pack(context: Path, dockerfile: str, *, instead: Mapping[str, bytes] | None = None) -> Iterator[bytes]:
    """Yields the context as a tar archive, without what `.dockerignore` leaves out.

    Owners are root and names sorted, as the Docker CLI sends them, so that two checkouts share the builder's cache.

    Args:
        context: The folder.
        dockerfile: The Dockerfile, relative to it; always sent.
        instead: Files of the top folder that are sent with this content, whether they are there or not.

    Raises:
        InputError: A file cannot be read, or changes while it is read.
    """
    ignore = _read_ignore(context, os.path.normpath(dockerfile))
    own = instead or {}
    for name in _walk(context, "", ignore):
        if name not in own:
            yield from _entry(context / name, name)
    for name, content in sorted(own.items()):
        yield from _made(name, content)
    yield b"\0" * (2 * tarfile.BLOCKSIZE)


def read_ignore_text(context: Path) -> str | None:
    """Returns the text of `.dockerignore`, or None where there is none.

    Raises:
        InputError: It cannot be read, or is a link to something outside the context.
    """
    _check_inside(context / ".dockerignore", context)
    try:
        return (context / ".dockerignore").read_text(encoding="utf-8")
    except FileNotFoundError:
        return None
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"{context / '.dockerignore'}: cannot be read: {error}") from error


def _made(name: str, content: bytes) -> Iterator[bytes]:
    info = tarfile.TarInfo(name)
    info.size = len(content)
    yield info.tobuf(tarfile.PAX_FORMAT, "utf-8", "surrogateescape")
    yield content
    yield b"\0" * (-len(content) % tarfile.BLOCKSIZE)


def _check_inside(path: Path, context: Path) -> None:
    """Returns when a file that we read lies in the context: links in it may lead to anything on this machine.

    Whoever may propose a change chooses them, and what we read is sent to the builder as a file.
    """
    if not path.resolve().is_relative_to(context.resolve()):
        raise InputError(
            f"{path}: a link to something outside the build context", hint="put the file itself into the context"
        )


def _is_outside(relative: str) -> bool:
    return Path(relative).is_absolute() or os.path.normpath(relative).startswith(os.pardir)


def _read_ignore(context: Path, dockerfile: str) -> Ignore:
    text = read_ignore_text(context) or ""
    # The engine reads both, and drops them itself where the patterns say so.
    # Source: docker/cli v20.10.24 cli/command/image/build/dockerignore.go TrimBuildFilesFromExcludes.
    return Ignore.parse(text, keep=(dockerfile, ".dockerignore"))


def _walk(context: Path, folder: str, ignore: Ignore) -> Iterator[str]:
    """Yields the paths that are sent, sorted, folders before what is in them; links are not followed."""
    try:
        entries = sorted(os.scandir(context / folder), key=lambda entry: entry.name)
    except OSError as error:
        raise InputError(f"{context / folder}: cannot be read: {error.strerror}") from error
    for entry in entries:
        name = f"{folder}/{entry.name}" if folder else entry.name
        left_out = ignore.leaves_out(name)
        if not left_out:
            yield name
        if entry.is_dir(follow_symlinks=False) and (not left_out or ignore.may_keep_below(name)):
            yield from _walk(context, name, ignore)


def _entry(path: Path, name: str) -> Iterator[bytes]:
    try:
        if stat.S_ISSOCK(path.lstat().st_mode):  # tar has no word for it
            return
        # A fresh archive each time: it would remember every file's inode, and tell hard links, which the builder
        # copies anyway.
        with tarfile.open(fileobj=BytesIO(), mode="w") as headers:
            info = headers.gettarinfo(path, arcname=name)
        info.uid = info.gid = 0
        info.uname = info.gname = ""
        info.mtime = int(info.mtime)
        yield info.tobuf(tarfile.PAX_FORMAT, "utf-8", "surrogateescape")
        if info.isreg():
            yield from _content(path, info.size)
    except OSError as error:
        raise InputError(
            f"{path}: cannot be read: {error.strerror or error}",
            hint="make it readable, or list it in .dockerignore",
        ) from error


def _content(path: Path, size_bytes: int) -> Iterator[bytes]:
    left = size_bytes
    with path.open("rb") as file:
        while left > 0:
            piece = file.read(min(_PIECE_BYTES, left))
            if not piece:
                raise InputError(f"{path}: became shorter while it was sent", hint="build when nothing writes to it")
            left -= len(piece)
            yield piece
    padding = -size_bytes % tarfile.BLOCKSIZE
    if padding:
        yield b"\0" * padding
