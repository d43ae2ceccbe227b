"""Bodies that Go's decoder would not take, called raw: a VCH refuses them in its words and goes on."""

import asyncio
from typing import Any

import httpx
import pytest

from tests.contract.vch_doubles import HOST, Small

WRAPPER = "runconfig.ContainerConfigWrapper"


def cannot(what: str, into: str) -> str:
    return f"json: cannot unmarshal {what} into {into}"


def field(what: str, name: str, go_type: str) -> str:
    return cannot(what, f"Go struct field {name} of type {go_type}")


@pytest.mark.parametrize(
    ("path", "body", "message"),
    [
        ("/containers/create", [], cannot("array", f"Go value of type {WRAPPER}")),
        ("/containers/create", {"Image": 5}, field("number", "ContainerConfigWrapper.Image", "string")),
        ("/containers/create", {"HostConfig": []}, field("array", "ContainerConfigWrapper.HostConfig", "HostConfig")),
        ("/containers/create", {"HostConfig": {"Memory": "1g"}}, field("string", "HostConfig.Memory", "int64")),
        ("/containers/create", {"HostConfig": {"Memory": True}}, field("bool", "HostConfig.Memory", "int64")),
        ("/containers/create", {"HostConfig": {"Binds": "a:/b"}}, field("string", "HostConfig.Binds", "[]string")),
        ("/containers/create", {"HostConfig": {"Binds": [1]}}, field("number", "HostConfig.Binds", "string")),
        ("/networks/create", [], cannot("array", "Go value of type types.NetworkCreateRequest")),
        ("/networks/create", {"Name": {}}, field("object", "NetworkCreateRequest.Name", "string")),
        ("/networks/bridge/connect", "x", cannot("string", "Go value of type types.NetworkConnect")),
        ("/volumes/create", [], cannot("array", "Go value of type volume.VolumesCreateBody")),
        ("/volumes/create", {"DriverOpts": {"Capacity": 5}}, field("number", "VolumesCreateBody.DriverOpts", "string")),
        ("/auth", [], cannot("array", "Go value of type types.AuthConfig")),
        ("/auth", {"username": 5}, field("number", "AuthConfig.username", "string")),
        ("/containers/c/exec", {"Cmd": "ls"}, field("string", "ExecConfig.Cmd", "[]string")),
    ],
)
def test_json_of_another_kind_is_refused_as_go_refuses_it(path: str, body: Any, message: str) -> None:
    async def scene() -> tuple[httpx.Response, httpx.Response]:
        small = Small()
        small.engine.created.append({"Id": "c"})
        refused = await small.call("POST", path, json=body)
        return refused, await small.call("GET", "/_ping")

    refused, after = asyncio.run(scene())
    assert (refused.status_code, refused.json()) == (500, {"message": message})
    assert after.text == "OK"


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "EOF"),
        (b'{"Name"', "unexpected EOF"),
        (b"hello", "invalid character 'h' looking for beginning of value"),
    ],
)
@pytest.mark.parametrize("path", ["/containers/create", "/networks/create", "/volumes/create", "/auth"])
def test_what_is_no_json_is_refused_as_go_refuses_it(path: str, content: bytes, message: str) -> None:
    headers = {"content-type": "application/json"}
    answer = asyncio.run(Small().call("POST", path, content=content, headers=headers))

    assert (answer.status_code, answer.json()) == (500, {"message": message})


@pytest.mark.parametrize("path", ["/containers/create", "/networks/create", "/volumes/create", "/containers/c/exec"])
def test_a_body_of_another_type_is_refused(path: str) -> None:
    answer = asyncio.run(Small().call("POST", path, content=b"{}", headers={"content-type": "text/plain"}))

    message = "Content-Type specified (text/plain) must be 'application/json'"
    assert (answer.status_code, answer.json()) == (500, {"message": message})


def test_a_login_needs_no_content_type() -> None:
    content = f'{{"username": "ci", "password": "secret", "serveraddress": "{HOST}"}}'
    answer = asyncio.run(Small().call("POST", "/auth", content=content))

    assert answer.json() == {"Status": "Login Succeeded", "IdentityToken": ""}
