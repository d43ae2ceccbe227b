"""Takes secrets out of text that may reach a message.

>>> redact("GET https://bob:pa55@vic.example/v2/ Authorization: Basic Ym9iOnBhNTU=")
'GET https://***@vic.example/v2/ Authorization: ***'
"""

import re
from typing import Final

__all__ = ["redact"]

_GONE: Final = "***"
_RULES: Final = (
    # RFC 3986 section 3.2.1: user information; RFC 9110 section 11.6.2: credentials in a header
    (re.compile(r"(?<=://)[^/@\s]+(?=@)"), _GONE),
    (
        re.compile(r"(?i)\b((?:proxy-)?authorization|x-registry-auth|(?:set-)?cookie)(\s*[:=]\s*)[^\r\n]+"),
        rf"\1\2{_GONE}",
    ),
    (re.compile(r"(?i)\b(bearer|basic)\s+[A-Za-z0-9._~+/=-]{8,}"), rf"\1 {_GONE}"),
    # RFC 7519 section 3: a JWT is three base64url parts, and the first starts with {" encoded
    (re.compile(r"\beyJ[A-Za-z0-9_-]+\.[A-Za-z0-9_-]+\.[A-Za-z0-9_-]*"), _GONE),
    (
        re.compile(
            r"""(?ix)(["']?(?:password|passwd|secret|client_secret|token|access_token|refresh_token|identitytoken
            |id_token|registrytoken|auth|sig|signature|x-amz-signature|x-amz-credential|x-amz-security-token)
            \b["']?\s*[:=]\s*)("[^"]*"|'[^']*'|[^\s&,;}"']+)"""
        ),
        rf"\1{_GONE}",
    ),
)


def redact(text: str) -> str:
    """Returns the text with credentials replaced by `***`.

    Law: doing it twice changes nothing more.
    """
    for pattern, replacement in _RULES:
        text = pattern.sub(replacement, text)
    return text
