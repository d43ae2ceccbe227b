"""JSON that somebody else wrote: whatever is wrong with it is one kind of error.

>>> json_in(b'{"size": 7}')
{'size': 7}
>>> json_in("[" * 9999)
Traceback (most recent call last):
    ...
ValueError: nested too deeply
"""

import json
import math
from typing import Any

__all__ = ["json_in"]


def json_in(text: bytes | str) -> Any:
    """Returns the value that a JSON text is; every number in it is finite.

    Raises:
        ValueError: It is no JSON, holds what only Python takes for a number, or is nested deeper than anybody needs.
    """
    try:
        return json.loads(text, parse_float=_finite, parse_constant=_finite)
    except RecursionError as error:
        raise ValueError("nested too deeply") from error


def _finite(text: str) -> float:
    number = float(text)
    if not math.isfinite(number):
        raise ValueError(f"not a number: {text[:40]}")
    return number
