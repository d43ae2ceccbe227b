"""A robot's secret goes into a file, an environment file or a command's stdin, and is never lost on the way."""

import json
import re
import stat
from collections.abc import Callable
from pathlib import Path
from zlib import crc32

import pytest

from tests.e2e.box import Box
from tests.e2e.cli import Cli, Run
from tests.e2e.test_administration import acting, held, robots

pytestmark = pytest.mark.sandbox

Command = Callable[..., Run]


@pytest.fixture
def lee(box: Box, cli: Cli, tmp_path: Path) -> Command:
    """The project admin, whose secrets on the way are kept beside the test."""
    return acting(box, cli, "project_admin", XDG_STATE_HOME=str(tmp_path / "state"))


@pytest.fixture
def project(lee: Command, request: pytest.FixtureRequest) -> str:
    """A new project of lee's, named after the test."""
    name = f"t{crc32(request.node.name.encode())}"
    lee("project", "create", name, "--yes").ok()
    return name


def taker(folder: Path, script: str) -> str:
    """Returns a command that takes a secret as the script says; it stands in the folder."""
    file = folder / "take"
    file.write_text(f"#!/bin/sh\ncd {folder}\n{script}\n")
    file.chmod(0o755)
    return f"{file} '{{login}}'"


def test_a_command_takes_a_secret_and_what_it_fails_to_take_is_handed_over_again(
    box: Box, lee: Command, project: str, tmp_path: Path
) -> None:
    create = ("robot", "create", project, "ci", "--can", "push", "--days", "2", "--yes", "--json")
    lee(*create, "--to-command", "no-such-program").fails(3, "`no-such-program`: no such program", hint="PATH")
    failing = taker(tmp_path, 'cat > lost; echo "no space for it"; exit 3')
    run = lee(*create, "--to-command", failing)
    kept = next((tmp_path / "state" / "imagepipe" / "secrets").rglob("*.json"))
    box.secrets.append(json.loads(kept.read_text())["password"])
    run.fails(
        10,
        "it ended with 3: no space for it",
        re.escape(f"kept in {kept}"),
        hint=f"imagepipe robot rotate {project} ci",
        kind="partial",
    )
    assert stat.S_IMODE(kept.stat().st_mode) == 0o600
    assert robots(lee, project) == {"ci": True}

    command = taker(tmp_path, 'cat > taken; echo "$1" > login; echo "took $(cat taken)"')
    rotate = ("robot", "rotate", project, "ci", "--to-command", command, "--yes", "-v")
    again = lee(*rotate, "--json").ok()
    assert again.json()["created"] is False
    assert (again.json()["out"], again.json()["command"]) == (None, str(tmp_path / "take"))
    assert "what it printed holds the secret, and is not shown" in again.err
    assert not kept.exists()
    assert (tmp_path / "taken").read_text() == box.secrets[-1] == (tmp_path / "lost").read_text()

    assert lee(*rotate).ok().out == f"robot${project}+ci.g2\n"
    box.secrets.append((tmp_path / "taken").read_text())
    assert (tmp_path / "login").read_text() == f"robot${project}+ci.g2\n"
    assert robots(lee, project) == {"ci": False, "ci.g2": True}
    assert lee(*rotate, "--json").ok().json()["created"] is False
    lee(*rotate, "--finish", "--grace", "0").ok()
    assert robots(lee, project) == {"ci.g2": True}


def test_an_env_file_keeps_what_else_it_holds(box: Box, lee: Command, project: str, tmp_path: Path) -> None:
    file = tmp_path / ".env"
    file.write_text("TZ=UTC\nDEPLOY_PASSWORD=old\n")
    create = ("robot", "create", project, "--can", "pull", "--days", "1", "--out", str(file), "--yes")
    lee(*create, "ci").ok()
    lee(*create, "deploy", "--env-name", "DEPLOY").ok()
    lines = dict(line.split("=", 1) for line in file.read_text().splitlines())
    assert list(lines) == ["TZ", "DEPLOY_PASSWORD", "HARBOR_USERNAME", "HARBOR_PASSWORD", "DEPLOY_USERNAME"]
    assert (lines["TZ"], lines["DEPLOY_USERNAME"]) == ("UTC", f"'robot${project}+deploy'")
    assert lines["DEPLOY_PASSWORD"] != "old"
    box.secrets += [lines["HARBOR_PASSWORD"], lines["DEPLOY_PASSWORD"]]
    assert stat.S_IMODE(file.stat().st_mode) == 0o600


@pytest.mark.parametrize(
    ("argv", "said"),
    [
        (("--out", "x", "--to-command", "true"), "one place"),
        (("--to-command", "'"), "cannot be split"),
        (("--to-command", " "), "names no command"),
        (("--to-command", "true", "--stdin", "xml"), "'xml' is not known"),
        (("--out", "x.env", "--env-name", "a b"), "begins no variable's name"),
    ],
)
def test_a_place_that_makes_no_sense_is_refused(lee: Command, argv: tuple[str, ...], said: str) -> None:
    lee("robot", "create", "es-sandbox", "x", "--can", "pull", "--days", "1", *argv).fails(2, said)


def test_an_access_file_makes_robots_whose_secrets_a_command_takes(
    box: Box, lee: Command, project: str, tmp_path: Path
) -> None:
    file = tmp_path / "access.yaml"
    robot = "{can: [pull], days: 1}"
    file.write_text(f"version: 1\nprojects:\n  {project}:\n    robots: {{a: {robot}, b: {robot}}}\n")
    command = taker(tmp_path, 'cat > "$1"; case "$1" in *+b) exit 1;; esac')
    apply = ("access", "apply", str(file), "--yes", "--json", "--to-command", command, "--stdin", "env")
    lee(*apply, "--secrets", "x").fails(2, "one place")
    document = lee(*apply).fails(10, "ended with 1", hint="robot rotate", schema="imagepipe.access-apply/v1")
    box.secrets += [
        line.split("=")[1]
        for x in "ab"
        for line in (tmp_path / f"robot${project}+{x}").read_text().splitlines()
        if "PASSWORD" in line
    ]
    assert [one["subject"] for one in document["done"]] == ["a"]
    assert robots(lee, project) == {"a": True, "b": True}
    lee("robot", "rotate", project, "b", "--to-command", "sh -c 'cat > /dev/null'", "--yes").ok()
    assert robots(lee, project) == {"a": True, "b": True}


def test_a_robot_of_the_whole_harbor_is_made_rotated_by_itself_and_deleted(
    box: Box, cli: Cli, lee: Command, project: str, tmp_path: Path
) -> None:
    admin, file = acting(box, cli, "admin"), tmp_path / "whole.env"
    to = ("--out", str(file))
    lee("robot", "create", "/", "whole", "--can", "push", "--days", "2", *to).fails(2, "in which projects", hint="--in")
    create = ("robot", "create", "/", "whole", "--can", "push,project:read", "--in", project, "--days", "2", "--yes")
    system = "robot:create,robot:delete,robot:list,robot:read"
    lee(*create, *to).fails(5, "robot")
    lee("robot", "create", project, "x", "--can", "pull", "--in", "es-sandbox", "--days", "1", *to).fails(2, "--in")
    admin(*create, "--in", "nowhere", *to).fails(4, "nowhere")
    assert admin(*create, "--system-can", system, *to).ok().out == "robot$whole\n"
    first = held(file)
    box.secrets.append(first["HARBOR_PASSWORD"])

    config = box.config({"harbor.username": None, "harbor.password_file": None})
    rotate = ("robot", "rotate", "/", "whole", *to, "--yes")
    turned = cli.run(*rotate, "--json", env=first, config=config).ok()
    assert turned.json()["robot"]["login"] == "robot$whole.g2"
    places = {one["namespace"]: one["rights"] for one in turned.json()["robot"]["grants"]}
    assert set(places) == {"/", project}
    assert places["/"] == sorted(system.split(","))
    assert "stays switched on until it is deleted" in turned.err
    second = held(file)
    box.secrets.append(second["HARBOR_PASSWORD"])
    cli.run("project", "show", project, env=second, config=config).ok()
    cli.run(*rotate, "--finish", "--grace", "0", env=second, config=config).ok()

    listed = admin("robot", "list", "/").ok().out.splitlines()
    (row,) = [line.split("\t") for line in listed if line.startswith("robot$whole")]
    assert row[0] == "robot$whole.g2"
    assert row[1] == f"{system.replace(',', ', ')} in the system; push and 1 more in {project}"
    soon = admin("robot", "list", "--expiring", "90", "--json")
    assert soon.code == 9, soon.said
    assert "robot$whole.g2" in [one["login"] for one in soon.json()["robots"]]
    assert soon.json()["unseen"] == []
    unseen = lee("robot", "list", "--expiring", "0", "--json").ok()
    assert unseen.json()["unseen"][0] == "/"
    assert "/: left out: robots of the whole Harbor are for system administrators" in unseen.err
    admin("robot", "delete", "/", "whole", "--yes").ok()
    admin("robot", "delete", "/", "whole", "--yes").fails(4, "no robot 'whole' in /")


def test_a_robot_that_only_administers_is_proven_by_logging_in(box: Box, cli: Cli, tmp_path: Path) -> None:
    admin, file = acting(box, cli, "admin"), tmp_path / "lists.json"
    create = ("robot", "create", "/", "lists", "--system-can", "project:list", "--days", "1")
    admin(*create, "--out", str(file), "--yes").ok()
    admin("robot", "rotate", "/", "lists", "--out", str(file), "--grace", "0", "--yes").ok()
    held_now = json.loads(file.read_text())
    assert held_now["username"] == "robot$lists.g2"
    box.secrets.append(held_now["password"])
    admin("robot", "delete", "/", "lists", "--yes").ok()
