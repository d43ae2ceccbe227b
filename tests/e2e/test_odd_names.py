"""Projects of digits only, repositories with slashes, and people whose names hold `@` and spaces."""

import pytest

from tests.e2e.box import Box
from tests.e2e.cli import Cli
from tests.e2e.images import hand_made
from tests.e2e.test_administration import acting, members

pytestmark = pytest.mark.sandbox


def test_odd_names_go_through_every_command(box: Box, cli: Cli) -> None:
    lee, project = acting(box, cli, "project_admin"), "20261126"
    people = ("ann@example.com", "Carl von Carlsen")
    for number, name in enumerate(people):
        body = {"username": name, "email": f"odd{number}@es-sandbox.test", "realname": name, "password": "Odd-Names-1"}
        box.admin.api("POST", "users", body)
    lee("project", "create", project, "--yes").ok()
    for name in people:
        lee("member", "add", project, name, "--role", "guest", "--yes").ok()
        lee("member", "set", project, name, "--role", "maintainer", "--yes").ok()
    assert members(lee, project) == {"lee": "projectAdmin", **dict.fromkeys(people, "maintainer")}
    image = f"{project}/team/web/app"
    box.admin.push(image, "1.0", hand_made("slashes"))
    shown = lee("project", "show", project, "--json").ok().json()
    assert shown["facts"]["repositories"] == 1
    assert shown["facts"]["last_push"] is not None
    assert shown["facts"]["used_bytes"] > 0
    lee("project", "set", project, "require_cosign=true", "--yes").ok()
    why = lee("access", "why", f"{image}:1.0", "--json").ok().json()
    assert why["cause"]["fix"] == f"imagepipe sign {image}:1.0"
    lee("access", "review", project, "--format", "csv").ok()
    fix = lee("access", "why", f"{image}:1.0", "--push", "--as", "Dora Maar", "--json").ok().json()["cause"]["fix"]
    assert fix == f"imagepipe member add {project} 'Dora Maar' --role developer"
    for name in people:
        lee("member", "remove", project, name, "--yes").ok()
    assert members(lee, project) == {"lee": "projectAdmin"}
