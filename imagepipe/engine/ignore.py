r"""What `.dockerignore` leaves out of a build context, as the Docker CLI reads it.

Source: moby v20.10.24 pkg/fileutils/fileutils.go, builder/dockerignore/dockerignore.go. docker-py's own matcher
lets `**/secrets` through below the second level, so it is not used.

>>> ignored = Ignore.parse("**/secrets\n!a/secrets/public")
>>> [ignored.leaves_out(path) for path in ("a/b/secrets/key", "a/secrets/public", "a/main.py")]
[True, False, False]
"""

import posixpath
import re
from dataclasses import dataclass

from imagepipe.errors import InputError

__all__ = ["Ignore"]


@dataclass(frozen=True, slots=True)
class _Rule:
    """One pattern: what it matches, whether that is left out, and the text before its first wildcard."""

    pattern: re.Pattern[str]
    leaves_out: bool
    literal: str


@dataclass(frozen=True, slots=True)
class Ignore:
    """Patterns in their order; the last one that matches a path, or a folder above it, decides."""

    rules: tuple[_Rule, ...]

    @classmethod
    def parse(cls, text: str, *, keep: tuple[str, ...] = ()) -> "Ignore":
        """Returns the patterns of a `.dockerignore`.

        Args:
            text: The file's content.
            keep: Paths that are sent whatever the patterns say: the engine itself needs them.

        Raises:
            InputError: A pattern cannot be read.
        """
        rules = []
        for number, line in enumerate(text.removeprefix("\ufeff").splitlines(), start=1):
            if line.startswith("#") or not line.strip():
                continue
            pattern = line.strip()
            kept = pattern.startswith("!")
            cleaned = _clean(pattern[1:] if kept else pattern)
            if cleaned in ("", "."):
                continue
            try:
                rules.append(_Rule(re.compile(_translate(cleaned)), not kept, re.split(r"[*?\[\\]", cleaned)[0]))
            except re.error as error:
                raise InputError(f".dockerignore:{number}: not a pattern: {pattern!r} ({error})") from error
        return cls((*rules, *(_Rule(re.compile(re.escape(path)), False, path) for path in keep)))

    def leaves_out(self, path: str) -> bool:
        """Tells whether this path, relative to the context with `/` between its parts, is not sent."""
        parts = path.split("/")
        above = ["/".join(parts[:depth]) for depth in range(1, len(parts) + 1)]
        answer = False
        for rule in self.rules:
            if answer != rule.leaves_out and any(rule.pattern.fullmatch(one) for one in above):
                answer = rule.leaves_out
        return answer

    def may_keep_below(self, folder: str) -> bool:
        """Tells whether a folder that is left out may still hold something that is sent."""
        inside = f"{folder}/"
        return any(
            rule.literal.startswith(inside) or (inside.startswith(rule.literal) and rule.literal != folder)
            for rule in self.rules
            if not rule.leaves_out
        )


def _clean(pattern: str) -> str:
    cleaned = posixpath.normpath(pattern.strip()) if pattern.strip() else ""
    return cleaned.lstrip("/")


def _translate(pattern: str) -> str:
    """Returns the regular expression of a pattern: Go's filepath.Match, and `**` for any number of folders."""
    out, rest = "", pattern
    while rest:
        if rest.startswith("**"):
            rest = rest[2:].removeprefix("/")
            out += "(?:.*/)?" if rest else ".*"
        elif rest[0] in "*?":
            out += "[^/]*" if rest[0] == "*" else "[^/]"
            rest = rest[1:]
        elif rest[0] == "[" and "]" in rest[2:]:
            end = rest.index("]", 2)
            out += "[" + rest[1:end].replace("[", "\\[") + "]"
            rest = rest[end + 1 :]
        elif rest[0] == "\\" and len(rest) > 1:
            out += re.escape(rest[1])
            rest = rest[2:]
        else:
            out += re.escape(rest[0])
            rest = rest[1:]
    return f"(?s:{out})"
