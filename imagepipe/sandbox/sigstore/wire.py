"""What clients send."""

import json
from typing import Any


def parse_json(text: str | bytes) -> Any:
    """Returns the decoded document.

    Raises:
        ValueError: text is not JSON, or holds half of a surrogate pair, which could be neither signed nor answered.
    """
    document = json.loads(text)
    json.dumps(document, ensure_ascii=False).encode()
    return document
