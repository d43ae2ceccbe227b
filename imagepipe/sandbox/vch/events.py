"""`GET /events`: dockerd's events as a VCH tells them."""

import json
from collections.abc import AsyncIterator, Mapping
from typing import Any

from starlette.requests import Request
from starlette.responses import Response

from imagepipe.sandbox.vch.facade import Facade
from imagepipe.sandbox.vch.forward import forward
from imagepipe.sandbox.vch.tables import image_hex

# Source: VIC v1.5.8 lib/apiservers/engine/backends/container.go, eventmonitor.go: what is logged, under which name.
_ACTIONS = {
    **{name: name for name in ("create", "start", "stop", "restart", "kill", "die", "destroy", "attach", "detach")},
    "resize": "resize",
    "rename": "Rename",
}
_EXECS = ("exec_create: ", "exec_start: ")


async def events(facade: Facade, request: Request) -> Response:
    """Answers `GET /events`: containers and images only, images under their VIC names."""

    async def shown(chunks: AsyncIterator[bytes]) -> AsyncIterator[bytes]:
        rest = b""
        async for chunk in chunks:
            *lines, rest = (rest + chunk).split(b"\n")
            for raw in lines:
                value = _event(facade, json.loads(raw)) if raw.strip() else None
                if value is not None:
                    yield json.dumps(value).encode() + b"\n"

    return await forward(facade, request, through=shown)


def _event(facade: Facade, value: dict[str, Any]) -> Mapping[str, Any] | None:
    if value.get("Type") == "image":
        return _image_event(value)
    action = _action(str(value.get("Action")))
    if value.get("Type") != "container" or not action:
        return None
    attributes = {name: text for name, text in value["Actor"]["Attributes"].items() if name != "execID"}
    if "oldName" in attributes:  # Source: VIC v1.5.8 backends/container.go:1838
        del attributes["oldName"]
        attributes["newName"] = attributes["name"]
    named = facade.tables.made_of(value["id"])
    if named is not None:
        attributes["image"] = named
    actor = {**value["Actor"], "Attributes": attributes}
    return {**value, "Action": action, "status": action, "from": attributes.get("image", ""), "Actor": actor}


def _action(action: str) -> str:
    return action if action.startswith(_EXECS) else _ACTIONS.get(action, "")


def _image_event(value: dict[str, Any]) -> Mapping[str, Any]:
    # a pull is told under the name that was asked for, without its tag. Source: VIC v1.5.8 backends/image.go:440
    name = str(value["id"])
    shown = name.partition("@")[0] if value.get("Action") == "pull" else image_hex(name)
    return {**value, "id": shown, "Actor": {**value["Actor"], "ID": shown}}
