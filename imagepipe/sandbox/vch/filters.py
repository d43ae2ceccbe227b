"""Docker's `filters` parameter, as VIC reads it."""

import fnmatch
import json
from collections.abc import Iterable

from imagepipe.sandbox.vch.answers import RefusalError


def values(filters: str, key: str) -> list[str]:
    """Returns the values of one filter in either JSON form: `{"k":["v"]}` or `{"k":{"v":true}}`."""
    try:
        found = json.loads(filters or "{}").get(key, [])
    except (ValueError, AttributeError) as exc:
        raise RefusalError(f"invalid filter: {filters}", 500) from exc
    return list(found)


def refuse_unknown(filters: str, accepted: Iterable[str]) -> None:
    """Raises for a filter that VIC does not know. Source: docker 1.13 api/types/filters/parse.go:266."""
    try:
        unknown = sorted(set(json.loads(filters or "{}")) - set(accepted))
    except (ValueError, TypeError) as exc:
        raise RefusalError(f"invalid filter: {filters}", 500) from exc
    if unknown:
        raise RefusalError(f"Invalid filter '{unknown[0]}'", 500)


def refuse_unsupported(filters: str, unsupported: Iterable[str]) -> None:
    """Raises for a filter that VIC knows and refuses. Source: VIC v1.5.8 backends/filter/validation.go:49-55."""
    for key in sorted(unsupported):
        if values(filters, key):
            raise RefusalError(f"filter {key} is not currently supported by vic", 500)


def reference_matches(name: str, pattern: str) -> bool:
    """Returns whether `repo:tag` or `repo@digest` matches a pattern with or without a tag."""
    cut = name.partition("@")[0] if "@" in name else name.rpartition(":")[0]
    return fnmatch.fnmatchcase(name, pattern) or fnmatch.fnmatchcase(cut, pattern)
