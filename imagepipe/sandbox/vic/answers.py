"""What Harbor 1.x answers: texts for errors, indented JSON for the rest; and its registry's own JSON errors.

Source: goharbor/harbor v1.7.8 src/common/api/base.go, src/core/proxy/interceptors.go;
make/common/templates/core/app.conf (runmode = dev, in which beego indents).
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from http import HTTPStatus
from typing import Any

from starlette.responses import Response

DISTRIBUTION = {"Docker-Distribution-Api-Version": "registry/2.0"}
FORMATTED_SINCE = (1, 8)
"""Since then a refusal is `{"code":403,"message":"admin"}`. Source: goharbor/harbor#12273 (v1.8.1, v1.10.3)."""
_JSON = "application/json; charset=utf-8"
_TEXT = {"Content-Type": "text/plain; charset=utf-8", "X-Content-Type-Options": "nosniff"}
_MISSING_PAGE = (
    "<!DOCTYPE html>\n<html>\n<head><title>Page Not Found</title></head>\n<body>page not found</body>\n</html>\n"
)


class RefusalError(Exception):
    """An answer that is given instead of the asked one; its text is all that the client learns."""

    def __init__(self, status: int, text: str = "", *, newline: bool = True) -> None:
        super().__init__(text)
        self.status = status
        self.text = text
        self._newline = newline

    def response(self, *, formatted: bool = False) -> Response:
        """Returns the HTTP answer. Go's http.Error adds a newline; beego's CustomAbort does not."""
        text = _compact({"code": self.status, "message": self.text}) if formatted else self.text
        body = f"{text}\n" if self._newline or formatted else text
        return Response(body, status_code=self.status, headers=_TEXT)


def aborted(status: int, text: str = "") -> RefusalError:
    """Returns a refusal as beego's CustomAbort writes it."""
    return RefusalError(status, text, newline=False)


class RegistryError(Exception):
    """A refusal of the registry: one error with a `detail`, in docker/distribution 2.6's shape."""

    def __init__(
        self, status: int, code: str, message: str, detail: object = None, headers: Mapping[str, str] | None = None
    ) -> None:
        super().__init__(message)
        self.status = status
        self.error = {"code": code, "message": message, "detail": detail}
        self.headers = dict(headers or {})

    def response(self) -> Response:
        """Returns the HTTP answer."""
        headers = {**DISTRIBUTION, **self.headers, "Content-Type": _JSON}
        return Response(_compact({"errors": [self.error]}) + "\n", status_code=self.status, headers=headers)


class PolicyError(Exception):
    """A refusal of Harbor's own handlers before the registry: JSON under a text's content type.

    Source: goharbor/harbor v1.7.8 src/core/proxy/interceptors.go (marshalError).
    """

    def __init__(self, status: int, message: str, code: str = "PROJECT_POLICY_VIOLATION") -> None:
        super().__init__(message)
        self.status = status
        self.code = code
        self.message = message

    def response(self) -> Response:
        """Returns the HTTP answer."""
        error = {"code": self.code, "message": self.message, "detail": self.message}
        return Response(_compact({"errors": [error]}) + "\n", status_code=self.status, headers=_TEXT)


def data(value: object, headers: Mapping[str, str] | None = None) -> Response:
    """Returns an answer of the REST API."""
    body = json.dumps(value, indent=2, ensure_ascii=False)
    return Response(body, headers={**(headers or {}), "Content-Type": _JSON})


def created(request_path: str, resource_id: int) -> Response:
    """Returns a 201 without body that names the new resource below the request's path."""
    return Response(status_code=201, headers={"Location": f"{request_path.rstrip('/')}/{resource_id}"})


def missing_page() -> Response:
    """Returns what an unknown route gets: a page for people."""
    return Response(_MISSING_PAGE, status_code=404, headers={"Content-Type": "text/html; charset=utf-8"})


def server_error() -> Response:
    """Returns what a broken handler gives; beego's text is not a contract."""
    return Response(HTTPStatus.INTERNAL_SERVER_ERROR.phrase, status_code=500, headers=_TEXT)


def _compact(value: Any) -> str:
    return json.dumps(value, separators=(",", ":"), ensure_ascii=False)
