"""The one error shape Harbor answers with, byte for byte."""

from __future__ import annotations

import json
from collections.abc import Mapping
from http import HTTPStatus
from typing import Any

from starlette.responses import Response

# Source: goharbor/harbor v2.15.2 src/lib/http/error.go (codeMap); UNPROCESSABLE_ENTITY comes from go-openapi.
STATUS = {
    "BAD_REQUEST": 400,
    "DIGEST_INVALID": 400,
    "MANIFEST_INVALID": 400,
    "UNSUPPORTED": 400,
    "UNAUTHORIZED": 401,
    "FORBIDDEN": 403,
    "DENIED": 403,
    "NOT_FOUND": 404,
    "METHOD_NOT_ALLOWED": 405,
    "CONFLICT": 409,
    "PRECONDITION": 412,
    "VIOLATE_FOREIGN_KEY_CONSTRAINT": 412,
    "PROJECTPOLICYVIOLATION": 412,
    "UNPROCESSABLE_ENTITY": 422,
    "TOO_MANY_REQUEST": 429,
}
# Go's encoding/json writes these as escapes inside error bodies. Source: encoding/json HTMLEscape.
_GO_ESCAPES = str.maketrans({c: f"\\u{ord(c):04x}" for c in "<>&\u2028\u2029"})


class HarborError(Exception):
    """An answer that Harbor gives instead of the asked one."""

    def __init__(self, code: str, message: str, headers: Mapping[str, str] | None = None) -> None:
        super().__init__(message)
        self.code = code
        self.message = message
        self.headers = dict(headers or {})

    @property
    def status(self) -> int:
        """Returns the HTTP status; an unknown code is a 500."""
        return STATUS.get(self.code, 500)

    def response(self) -> Response:
        """Returns the HTTP answer; the text of a server error is hidden."""
        code, message = (self.code, self.message) if self.status < 500 else ("UNKNOWN", "internal server error")
        body = json.dumps({"errors": [{"code": code, "message": message}]}, separators=(",", ":"), ensure_ascii=False)
        return Response(
            body.translate(_GO_ESCAPES) + "\n",
            status_code=self.status,
            headers={**self.headers, "Content-Type": "application/json; charset=utf-8"},
        )


def bad_request(message: str) -> HarborError:
    """Returns a 400."""
    return HarborError("BAD_REQUEST", message)


def not_found(message: str) -> HarborError:
    """Returns a 404."""
    return HarborError("NOT_FOUND", message)


def invalid(*failures: str) -> HarborError:
    """Returns the 422 of the request binder. Source: goharbor/harbor#13765."""
    return HarborError("UNPROCESSABLE_ENTITY", "\n".join(["validation failure list:", *failures]))


def json_response(payload: Any, status: int = 200, headers: Mapping[str, str] | None = None) -> Response:
    """Returns a REST answer as go-openapi's JSON producer writes it: compact, one newline at the end."""
    body = json.dumps(payload, separators=(",", ":"), ensure_ascii=False) + "\n"
    return Response(body, status_code=status, headers={**(headers or {}), "Content-Type": "application/json"})


def gateway_response(status: int) -> Response:
    """Returns nginx's own error page, which stands in front of every Harbor."""
    title = f"{status} {HTTPStatus(status).phrase if status != 504 else 'Gateway Time-out'}"
    page = (
        f"<html>\r\n<head><title>{title}</title></head>\r\n<body>\r\n<center><h1>{title}</h1></center>\r\n"
        "<hr><center>nginx</center>\r\n</body>\r\n</html>\r\n"
    )
    return Response(page, status_code=status, headers={"Content-Type": "text/html"})
