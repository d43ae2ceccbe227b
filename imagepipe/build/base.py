r"""Finds the images that a Dockerfile starts from, without building it.

>>> find_bases("ARG V=1\nFROM busybox:${V} AS a\nFROM a\nCOPY x /\n", {}, None)
Bases(final='busybox:1', every=('busybox:1',))
"""

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field

from imagepipe.errors import InputError

__all__ = ["Bases", "find_bases"]

# Source: Dockerfile reference "FROM" and "ARG"; variables follow the shell's ${V}, ${V:-d}, ${V:+a} forms.
_FROM = re.compile(r"FROM\s+(?:--platform=\S+\s+)?(?P<image>\S+)(?:\s+AS\s+(?P<stage>\S+))?\s*$", re.IGNORECASE)
_ARG = re.compile(r"ARG\s+(?P<args>.+)$", re.IGNORECASE)
# Several in one line since moby v20.10; quotes hold blanks together. Source: frontend/dockerfile/parser parseNameVal.
_ONE_ARG = re.compile(r"""(?P<name>\w+)(?:=(?P<value>(?:"[^"]*"|'[^']*'|[^\s"'])*))?(?:\s+|$)""")
_COPY_FROM = re.compile(r"COPY\s+(?:--\S+\s+)*?--from=(?P<image>\S+)\s", re.IGNORECASE)
_VARIABLE = re.compile(r"\$(?:(?P<bare>\w+)|\{(?P<name>\w+)(?::(?P<mode>[-+])(?P<word>[^}]*))?\})")


@dataclass(frozen=True, slots=True)
class Bases:
    """What a Dockerfile builds on.

    Attributes:
        final: The image below the stage that is built, or None for scratch.
        every: Every image named by a FROM or a COPY --from that is not another stage, in order, without scratch.
    """

    final: str | None
    every: tuple[str, ...]


@dataclass(slots=True)
class _Stages:
    images: dict[str, str] = field(default_factory=dict)
    order: list[str] = field(default_factory=list)
    copied: list[str] = field(default_factory=list)

    def add(self, image: str, stage: str | None) -> None:
        name = (stage or f"#{len(self.order)}").lower()
        self.images[name] = self.images.get(image.lower(), image)
        self.order.append(name)

    def copy(self, source: str) -> None:
        """Takes down what a COPY takes its files from, unless that is a stage, by its name or number."""
        if source.lower() not in self.images and not source.isdecimal():
            self.copied.append(source)


def find_bases(dockerfile: str, args: Mapping[str, str], target: str | None) -> Bases:
    """Returns the images that the Dockerfile's stages start from.

    Args:
        dockerfile: The Dockerfile's text.
        args: Build arguments, which override the defaults of ARG lines above the first FROM.
        target: The stage to build, or None for the last.

    Raises:
        InputError: There is no FROM, an argument has no value, or the target is no stage.
    """
    known: dict[str, str] = {}
    stages = _Stages()
    for line in _instructions(dockerfile.removeprefix("\ufeff")):
        if (declared := _ARG.match(line)) and not stages.order:
            for one in _ONE_ARG.finditer(declared["args"]):
                known[one["name"]] = args.get(one["name"], _expand(re.sub("[\"']", "", one["value"] or ""), known))
        elif start := _FROM.match(line):
            image = _expand(start["image"], known)
            if not image:
                raise InputError(
                    f"{line}: the argument in FROM has no value",
                    hint="give it in build.args, and declare it with ARG above the first FROM",
                )
            stages.add(image, start["stage"])
        elif copy := _COPY_FROM.match(line):
            stages.copy(copy["image"])
    if not stages.order:
        raise InputError("no FROM in the Dockerfile", hint="start it with FROM")
    chosen = target.lower() if target else stages.order[-1]
    if chosen not in stages.images:
        raise InputError(f"no stage named {target!r} in the Dockerfile", hint="name a stage that FROM … AS … defines")
    named = (*stages.images.values(), *stages.copied)
    external = tuple(dict.fromkeys(image for image in named if image != "scratch"))
    final = stages.images[chosen]
    return Bases(None if final == "scratch" else final, external)


def _instructions(dockerfile: str) -> Iterator[str]:
    pending = ""
    for raw in dockerfile.splitlines():
        line = raw.strip()
        if not line or line.startswith("#"):
            continue
        if line.endswith("\\"):
            pending += line[:-1] + " "
            continue
        yield (pending + line).strip()
        pending = ""
    if pending:
        yield pending.strip()


def _expand(text: str, known: Mapping[str, str]) -> str:
    def replace(match: re.Match[str]) -> str:
        value = known.get(match["bare"] or match["name"], "")
        if match["mode"] == "-":
            return value or match["word"]
        if match["mode"] == "+":
            return match["word"] if value else ""
        return value

    return _VARIABLE.sub(replace, text)
