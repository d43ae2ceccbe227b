"""Lists as Harbor serves them: `q`, `sort`, `page`, `page_size`, and a Link header that must not be followed blindly.

Source: goharbor/harbor v2.15.2 src/lib/q/builder.go, src/lib/orm/query.go, src/server/v2.0/handler/base.go (Links).
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any
from urllib.parse import parse_qsl, unquote_plus, urlencode

from imagepipe.sandbox.harbor.problems import HarborError, bad_request, invalid
from imagepipe.sandbox.harbor.store import Row

INT64 = 1 << 63
_CONTROL = re.compile(r"[\x00-\x1f\x7f]")
"""What no header's value may hold: a server writes a blank. Source: Go net/http headerNewlineToSpace."""
MAX_PAGE_SIZE = 100
Test = Callable[[Any], bool]


def integer(text: str, name: str, place: str = "query") -> int:
    """Returns an int64 parameter.

    Raises:
        HarborError: 422, the text is none.
    """
    digits = text.removeprefix("-").removeprefix("+")
    if not (digits.isascii() and digits.isdigit()) or not -INT64 <= int(text) < INT64:
        raise invalid(f'{name} in {place} must be of type int64: "{text}"')
    return int(text)


@dataclass(frozen=True, slots=True)
class Listing:
    """One list request: filters, order and page; `q` is read when it is needed, after the caller's rights."""

    q: str
    sorts: Sequence[str]
    page: int
    page_size: int

    @classmethod
    def parse(cls, query: Sequence[tuple[str, str]]) -> Listing:
        """Returns the listing that a query string asks for.

        Raises:
            HarborError: 422 for a page that is none: pages are bound before anything else.
        """
        # A repeated parameter counts by its last value. Source: go-openapi/runtime (GetOK, last of the slice).
        values = dict(query)
        page = integer(values.get("page", "") or "1", "page")
        page_size = integer(values.get("page_size", "") or "10", "page_size")
        if page_size > MAX_PAGE_SIZE:
            raise invalid(f"page_size in query should be less than or equal to {MAX_PAGE_SIZE}")
        sorts = [key for key in values.get("sort", "").split(",") if key]
        return cls(values.get("q", ""), sorts, page, page_size)

    @property
    def keywords(self) -> Mapping[str, str]:
        """Returns the patterns by key.

        Raises:
            HarborError: 400, `q` is none.
        """
        return parse_keywords(self.q)

    def keyword(self, name: str) -> str | None:
        """Returns the raw pattern of a keyword, however its name is spelled (ProjectID, project_id)."""
        return next((value for key, value in self.keywords.items() if plain(key) == plain(name)), None)

    def select(self, rows: Sequence[Row], *, default_sort: str = "id", ignore: Sequence[str] = ()) -> list[Row]:
        """Returns the rows that match, in order; unknown keys neither filter nor sort."""
        ignored = {plain(name) for name in ignore}
        kept = list(rows)
        for key, pattern in self.keywords.items():
            name = _column(rows, key)
            if name is not None and plain(key) not in ignored:
                test = matcher(pattern)
                kept = [row for row in kept if test(row[name])]
        for sort in reversed(self.sorts or [default_sort]):
            name = _column(rows, sort.removeprefix("-"))
            if name is not None:
                kept.sort(key=lambda row: (row[name] is None, row[name]), reverse=sort.startswith("-"))
        return kept

    def cut(self, rows: Sequence[Row]) -> list[Row]:
        """Returns this page's rows; a page size of 0 or less means all."""
        if self.page_size <= 0:
            return list(rows)
        start = max(self.page - 1, 0) * self.page_size
        return list(rows[start : start + self.page_size])

    def headers(self, path: str, raw_query: str, total: int) -> dict[str, str]:
        """Returns X-Total-Count and, where there is more, Link; its URL is relative and unescaped."""
        links = []
        if self.page_size != 0:
            if self.page > 1 and (self.page - 1) * self.page_size < total:
                links.append((self.page - 1, "prev"))
            if self.page_size * self.page < total:
                links.append((self.page + 1, "next"))
        texts = []
        for page, rel in links:
            values = dict(parse_qsl(raw_query, keep_blank_values=True))
            values |= {"page": str(page), "page_size": str(self.page_size)}
            query = unquote_plus(urlencode(sorted(values.items())))
            texts.append(f'<{path}?{_CONTROL.sub(" ", query)}>; rel="{rel}"')
        return {"X-Total-Count": str(total)} | ({"Link": " , ".join(texts)} if texts else {})


def plain(key: str) -> str:
    """Returns a key's spelling-free form: Go field names and column names both count."""
    return key.replace("_", "").lower()


def _column(rows: Sequence[Row], key: str) -> str | None:
    names = rows[0] if rows else {}
    return next((name for name in names if plain(name) == plain(key)), None)


def parse_keywords(text: str) -> dict[str, str]:
    """Returns the patterns of a `q` parameter by key.

    Raises:
        HarborError: 400, a part has no key or no value.
    """
    keywords = {}
    for part in unquote_plus(text).split(",") if text else ():
        key, equals, value = part.partition("=")
        if not (key and equals and value):
            raise bad_request('the query string must contain "=" and the key/value cannot be empty')
        keywords[key] = value
    return keywords


def matcher(pattern: str) -> Test:
    """Returns the test for one value pattern: v, ~v, [a~b], {a b} or (a b).

    Raises:
        HarborError: 400, the pattern is none.
    """
    head, inner = pattern[0], pattern[1:-1]
    closing = {"[": "]", "{": "}", "(": ")"}.get(head)
    if closing is None:
        wanted = pattern[1:] if head == "~" else pattern
        if not wanted:
            raise _bad_value(pattern)
        return (lambda value: wanted in str(value)) if head == "~" else (lambda value: str(value) == wanted)
    if not pattern.endswith(closing) or not inner.strip():
        raise _bad_value(pattern)
    if head != "[":
        choices = {choice.strip("\"'") for choice in inner.split()}
        return lambda value: str(value) in choices
    low, tilde, high = (part.strip() for part in inner.partition("~"))
    if not tilde or not (low or high):
        raise _bad_value(pattern)
    return lambda value: (not low or str(value) >= low) and (not high or str(value) <= high)


def _bad_value(pattern: str) -> HarborError:
    return bad_request(f"invalid query string value: {pattern}")
