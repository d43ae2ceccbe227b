"""How a robot's secret is written, and what is read back of it: text alone, without files.

>>> from_env("HARBOR_USERNAME=ci", PREFIX) is None
True
"""

import json
import re
import shlex
from collections.abc import Mapping
from contextlib import suppress
from enum import StrEnum
from typing import Final

from imagepipe.model.access import RobotSecret
from imagepipe.model.received import json_in
from imagepipe.model.result import Credential

__all__ = ["PREFIX", "SecretForm", "from_env", "from_json", "is_secret", "merged", "variables", "written"]

# Our own variables, HARBOR_USERNAME and HARBOR_PASSWORD, begin so.
PREFIX: Final = "HARBOR"
# A name of at most 255 characters and what is round it, with a secret of at most 128 characters.
# Source: goharbor/harbor v2.15.2 src/server/v2.0/handler/robot.go, src/pkg/robot (secret: 8 to 128 characters)
_LONGEST_SECRET_BYTES: Final = 4096
# Source: POSIX.1-2017 XCU 2.9.1 (assignments), 2.14 export
_ASSIGNMENT: Final = re.compile(r"(?P<lead>\s*(?:export\s+)?)(?P<name>[A-Za-z_][A-Za-z0-9_]*)=(?P<value>.*)")


class SecretForm(StrEnum):
    """How a secret is written.

    `env` is for a shell (`. ci.env`) and our own variables; `json` has username and password; `secret` is the secret
    alone, as in a password file.
    """

    ENV = "env"
    JSON = "json"
    SECRET = "secret"  # noqa: S105 - the name of a form


def is_secret(content: bytes, form: SecretForm) -> bool:
    """Tells whether it looks like what we write: a secret alone is one word."""
    if len(content) > _LONGEST_SECRET_BYTES:
        return False
    if form is SecretForm.SECRET:
        return len(content.split()) == 1
    try:
        data = json_in(content)
    except ValueError:
        return False
    return isinstance(data, dict) and data.keys() == {"username", "password"}


def from_json(text: str) -> Credential | None:
    """Returns the login and secret of a JSON object, or None where it has none."""
    try:
        data = json.loads(text)
        return Credential(str(data["username"]), str(data["password"]))
    except (ValueError, KeyError, TypeError):
        return None


def from_env(text: str, prefix: str) -> Credential | None:
    """Returns the login and secret that a shell would have, or None where there is none."""
    held: dict[str, str] = {}
    for line in text.split("\n"):
        found = _ASSIGNMENT.fullmatch(line)
        with suppress(ValueError):
            words = shlex.split(found["value"]) if found else ()
            if found and len(words) == 1:
                held[found["name"]] = words[0]
    name, password = held.get(f"{prefix}_USERNAME"), held.get(f"{prefix}_PASSWORD")
    return Credential(name, password) if name and password else None


def written(made: RobotSecret, form: SecretForm, prefix: str = PREFIX) -> str:
    """Returns a robot's login and secret in one form, without a line break at the end."""
    match form:
        case SecretForm.JSON:
            return json.dumps({"username": made.robot.login, "password": made.secret})
        case SecretForm.ENV:
            return merged("", variables(made, prefix)).rstrip("\n")
        case _:
            return made.secret


def variables(made: RobotSecret, prefix: str) -> dict[str, str]:
    """Returns the variables that hold a robot's login and secret."""
    return {f"{prefix}_USERNAME": made.robot.login, f"{prefix}_PASSWORD": made.secret}


def merged(text: str, values: Mapping[str, str]) -> str:
    """Returns a shell's assignments with these values in place; every other line stays as it is."""
    left, lines = dict(values), []
    for line in text.removesuffix("\n").split("\n") if text else ():
        found = _ASSIGNMENT.fullmatch(line)
        if found is None or found["name"] not in values:
            lines.append(line)
        elif found["name"] in left:
            name = found["name"]
            lines.append(f"{found['lead']}{name}={shlex.quote(left.pop(name))}")
    lines += [f"{name}={shlex.quote(value)}" for name, value in left.items()]
    return "".join(f"{line}\n" for line in lines)
