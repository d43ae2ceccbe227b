r"""Puts all labels of an image into one step of its Dockerfile.

The engine's own `labels` parameter makes one step, and one history entry, of each label, and a VCH takes 90 entries in
all. Source: moby v20.10.24 builder/dockerfile/builder.go (`--label` becomes LABEL instructions).

>>> labelled("FROM scratch\n", {"a": 'say "hi"', "b": "$x"}, target=None)
'FROM scratch\n\nLABEL "a"="say \\"hi\\"" "b"="\\$x"\n'
"""

import re
from collections.abc import Mapping
from typing import Final

__all__ = ["DOCKERFILE_NAME", "ignoring", "labelled"]

# The name under which such a Dockerfile is sent beside the user's own; left out of the image's context.
DOCKERFILE_NAME: Final = ".imagepipe.dockerfile"
# A parser directive may change what escapes what. Source: Dockerfile reference "escape".
_ESCAPE: Final = re.compile(r"^\s*#\s*escape\s*=", re.IGNORECASE | re.MULTILINE)


def labelled(dockerfile: str, labels: Mapping[str, str], *, target: str | None) -> str | None:
    """Returns the Dockerfile with one LABEL step at its end, or None where that would not do the same.

    Args:
        dockerfile: The user's Dockerfile.
        labels: All labels.
        target: The stage that is built; only the last one ends where the file ends.
    """
    odd = any("\n" in text or "\r" in text for pair in labels.items() for text in pair)
    unfinished = dockerfile.rstrip().endswith(("\\", "`"))
    if not labels or target is not None or odd or unfinished or _ESCAPE.search(dockerfile):
        return None
    pairs = " ".join(f"{_quoted(key)}={_quoted(value)}" for key, value in sorted(labels.items()))
    return f"{dockerfile}\nLABEL {pairs}\n"


def ignoring(text: str | None) -> str:
    """Returns a `.dockerignore` that leaves our Dockerfile out too, and itself where there was none.

    Source: docker/cli v20.10.24 cli/command/image/build.go AddDockerfileToBuildContext does the same for `-f -`.
    """
    own = f"{DOCKERFILE_NAME}\n"
    return f"{text}\n{own}" if text is not None else f"{own}.dockerignore\n"


def _quoted(text: str) -> str:
    escaped = text.replace("\\", "\\\\").replace('"', '\\"').replace("$", "\\$")
    return f'"{escaped}"'
