"""How a VCH answers: errors as status and message, streams as JSON lines."""

import json
from typing import Any

from starlette.requests import Request
from starlette.responses import Response

PRODUCT = "vSphere Integrated Containers"

LAST_TEXT_VERSION = (1, 23)
"""Up to this API version errors are plain text. Source: docker 1.13 api/server/httputils/errors.go:81."""

# Source: docker 1.13 api/server/httputils/errors.go:31-79, the first keyword found decides.
_KEYWORDS = (
    ("not found", 404),
    ("no such", 404),
    ("bad parameter", 400),
    ("no command", 400),
    ("conflict", 409),
    ("impossible", 406),
    ("wrong login/password", 401),
    ("unauthorized", 401),
    ("hasn't been activated", 403),
    ("this node", 503),
)


class RefusalError(Exception):
    """The VCH says no, in its own words."""

    def __init__(self, message: str, status: int | None = None) -> None:
        super().__init__(message)
        self.message = message
        self.status = status_of(message) if status is None else status


def status_of(message: str) -> int:
    """Returns the HTTP status that VIC derives from an error's text."""
    lowered = message.lower()
    return next((status for keyword, status in _KEYWORDS if keyword in lowered), 500)


def not_implemented(method: str) -> RefusalError:
    """Returns the refusal of a backend method. Source: VIC v1.5.8 lib/apiservers/engine/errors/errors.go:46."""
    return RefusalError(f"{PRODUCT} does not yet implement {method}", 500)


def from_portlayer(message: str) -> RefusalError:
    """Returns an error of VIC's lower half. Source: VIC v1.5.8 lib/apiservers/engine/errors/errors.go:113."""
    return RefusalError(f"Server error from portlayer: {message}", 500)


def error_response(version: tuple[int, int] | None, status: int, message: str) -> Response:
    """Returns the error in the shape that the caller's API version expects (None: no version in the path)."""
    if version is not None and version <= LAST_TEXT_VERSION:
        return Response(message + "\n", status, media_type="text/plain")
    return Response(json.dumps({"message": message}) + "\n", status, media_type="application/json")


def version_of(request: Request) -> tuple[int, int] | None:
    """Returns the API version of the request's path, None if it had none."""
    version: tuple[int, int] | None = getattr(request.state, "api_version", None)
    return version


def flag(request: Request, name: str) -> bool:
    """Returns a yes/no of the query. Source: docker 1.13 api/server/httputils/form.go:11."""
    return request.query_params.get(name, "").strip().lower() not in {"", "0", "no", "false", "none"}


def line(value: object) -> bytes:
    """Returns one object of a progress stream; VIC separates them with CR LF."""
    return json.dumps(value, separators=(",", ":")).encode() + b"\r\n"


def stream_error(message: str) -> dict[str, Any]:
    """Returns the object that ends a stream which failed after its first line."""
    return {"errorDetail": {"message": message}, "error": message}
