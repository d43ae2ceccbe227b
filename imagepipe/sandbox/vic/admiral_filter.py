"""As much of OData's `$filter` as people send to Admiral: `a eq 'b'`, joined by `and` and `or`, with `*` for anything.

Source: vmware/xenon v1.6.14.1 xenon-common ODataQueryVisitor.java.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any
from urllib.parse import unquote

_TERM = re.compile(r"\s*\(?\s*(?P<field>[\w.$]+)\s+(?P<operator>eq|ne)\s+'(?P<value>[^']*)'\s*\)?\s*")


def matches(text: str, document: Mapping[str, Any]) -> bool:
    """Returns whether a document passes a filter; `and` binds closer than `or`."""
    return any(all(_holds(term, document) for term in each.split(" and ")) for each in text.split(" or "))


def _holds(term: str, document: Mapping[str, Any]) -> bool:
    found = _TERM.fullmatch(term)
    if found is None:
        return False
    value: Any = document
    for part in found["field"].split("."):
        value = value.get(part) if isinstance(value, Mapping) else None
    pattern = ".*".join(map(re.escape, unquote(found["value"]).split("*")))
    text = str(value).lower() if isinstance(value, bool) else str(value)
    held = value is not None and re.fullmatch(pattern, text) is not None
    return held if found["operator"] == "eq" else not held
