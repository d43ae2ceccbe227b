"""A robot's secret is renewed by a command that dies at every moment of its work, and of a robot that has expired."""

import re
import shutil
import signal
import sqlite3
import time
from collections.abc import Mapping
from pathlib import Path

import httpx
import pytest

from imagepipe.sandbox.probing import trusting
from tests.e2e.box import Box
from tests.e2e.cli import Cli
from tests.e2e.mortal import Death, Mortals
from tests.e2e.sweeping import deaths
from tests.e2e.test_administration import Command, acting, held, robots

pytestmark = pytest.mark.sandbox

# Events, and the one request that makes something: what the others change is told by the event that follows.
MOMENTS = ("event", "POST /api")


@pytest.fixture
def lee(box: Box, cli: Cli) -> Command:
    """The project admin."""
    return acting(box, cli, "project_admin")


@pytest.fixture
def mortals(box: Box, cli: Cli, tmp_path: Path) -> Mortals:
    """Runs commands as lee, until they die; what they keep is kept beside the test."""
    user = box.document["registry"]["users"]["project_admin"]
    lee = {
        "IMAGEPIPE_HARBOR__USERNAME": user["username"],
        "IMAGEPIPE_HARBOR__PASSWORD_FILE": user["password_file"],
    }
    return mortals_as(cli, tmp_path, lee)


def mortals_as(cli: Cli, folder: Path, who: Mapping[str, str]) -> Mortals:
    environ = {"PATH": "/usr/bin:/bin", "HOME": str(cli.home), "LANG": "C.UTF-8", **cli.environ}
    return Mortals(folder, {**environ, "XDG_STATE_HOME": str(folder / "state"), **who})


def lets_in(box: Box, file: Path) -> bool:
    """Tells whether Harbor knows the robot whose secret is in the file; what a file holds is whole."""
    registry, values = box.document["registry"], held(file)
    box.secrets.append(values["HARBOR_PASSWORD"])
    login = values["HARBOR_USERNAME"], values["HARBOR_PASSWORD"]
    with httpx.Client(verify=trusting(Path(registry["ca_file"])), trust_env=False) as client:
        return client.get(f"{registry['url']}/api/v2.0/users/current", auth=login).status_code == 412


def test_a_rotation_survives_its_death_at_every_moment_and_the_secret_always_works(
    box: Box, lee: Command, mortals: Mortals, tmp_path: Path
) -> None:
    project, file = "mortal-robots", tmp_path / "ci.env"
    lee("project", "create", project, "--yes").ok()
    create = ("robot", "create", project, "ci", "--can", "push", "--days", "2", "--out", str(file), "--yes")
    rotate = ("robot", "rotate", project, "ci", "--out", str(file), "--yes")

    def anew() -> None:
        file.unlink(missing_ok=True)
        assert mortals.live(*create).code == 0

    anew()
    swept = deaths(mortals.live(*rotate), MOMENTS)
    assert len(swept) >= 8
    for death in swept:
        assert mortals.live("robot", "delete", project, "ci", "--yes").code == 0
        anew()
        died = mortals.live(*rotate, death=death)
        assert died.code == -signal.SIGKILL, death
        assert lets_in(box, file), death
        again = mortals.live(*rotate, "--grace", "0")
        assert again.code == 0, again.err
        assert lets_in(box, file), death
        if len(robots(lee, project)) > 1:
            assert mortals.live(*rotate, "--grace", "0", "--finish").code == 0
        assert list(robots(lee, project).values()) == [True], death
        assert lets_in(box, file), death


def test_a_robot_that_has_expired_is_told_so_and_has_a_successor_from_an_admin(
    box: Box, cli: Cli, lee: Command, tmp_path: Path
) -> None:
    project, file = "expired-robots", tmp_path / "ci.env"
    lee("project", "create", project, "--yes").ok()
    lee("robot", "create", project, "ci", "--can", "push", "--days", "2", "--out", str(file), "--yes").ok()
    login = f"robot${project}+ci"
    assert lets_in(box, file)
    with sqlite3.connect(box.layout.data("harbor") / "harbor.db") as store:
        store.execute("UPDATE robots SET expires_at = ? WHERE name = ?", (int(time.time()) - 60, f"{project}+ci"))
    store.close()
    assert not lets_in(box, file)

    nobody = box.config({"harbor.username": None, "harbor.password_file": None})
    shown = cli.run("project", "show", project, "--json", env=held(file), config=nobody)
    shown.fails(5, re.escape(f"as {login}"), hint="a robot that has expired or is switched off", kind="credentials")
    (row,) = lee("robot", "list", project).ok().out.splitlines()
    assert row.split("\t")[:4:3] == [login, "expired"]
    ends = lee("robot", "list", project, "--expiring", "0")
    assert ends.code == 9, ends.said
    assert ends.err == "1 robot ends soon, or has ended: use `imagepipe robot rotate`\n"
    review = lee("access", "review", project, "--format", "csv").ok().out
    assert f"{login},push" in review
    assert "expired" in review
    asked = tmp_path / "access.yaml"
    asked.write_text(lee("access", "export", project).ok().out)
    told = lee("access", "plan", str(asked), "--detailed-exitcode").ok().out
    assert told.startswith(f"! {project}: robot ci has expired on ")
    turned = lee("robot", "rotate", project, "ci", "--out", str(file), "--yes").ok()
    assert turned.out == f"{login}.g2\n"
    assert lets_in(box, file)
    # Other tests look for robots that end soon, anywhere.
    lee("robot", "delete", project, "ci", "--yes").ok()


def test_an_apply_survives_its_death_at_every_moment_and_is_ended_by_the_same_command(
    box: Box, lee: Command, mortals: Mortals, tmp_path: Path
) -> None:
    project, secrets = "mortal-access", tmp_path / "secrets"
    lee("project", "create", project, "--yes").ok()
    before, after, secret = tmp_path / "before.yaml", tmp_path / "after.yaml", secrets / f"{project}+ci.env"
    text = f"version: 1\nprojects:\n  {project}:\n    unmanaged: remove\n"
    before.write_text(f"{text}    settings: {{auto_scan: false}}\n    members: {{projectAdmin: [lee], guest: [gus]}}\n")
    after.write_text(
        f"{text}    settings: {{auto_scan: true}}\n    members: {{projectAdmin: [lee], developer: [dana]}}\n"
        "    robots: {ci: {can: [push], days: 2}}\n"
    )
    apply = ("access", "apply", str(after), "--secrets", str(secrets), "--yes")

    def anew() -> None:
        assert mortals.live("access", "apply", str(before), "--yes").code == 0
        shutil.rmtree(secrets, ignore_errors=True)

    anew()
    swept = deaths(mortals.live(*apply), (*MOMENTS, "PUT /api/v2.0/robots"))
    assert len(swept) == 11
    renewed = 0
    for death in swept:
        anew()
        assert mortals.live(*apply, death=death).code == -signal.SIGKILL, death
        if not secret.exists():
            # Harbor tells a secret once: who died with it in his hands is followed by another robot, on any machine.
            shutil.rmtree(secrets, ignore_errors=True)
        again = mortals.live(*apply)
        assert again.code == 0, (death, again.err)
        renewed += "renew robot ci: its secret was never handed over" in again.err
        assert lets_in(box, secret), death
        assert mortals.live("access", "plan", str(after), "--detailed-exitcode").code == 0, death
    assert renewed == 1


def test_what_a_robot_that_makes_robots_died_with_is_told_by_the_folder_alone(
    box: Box, cli: Cli, lee: Command, tmp_path: Path
) -> None:
    project, secrets, file = "made-by-a-robot", tmp_path / "secrets", tmp_path / "access.yaml"
    lee("project", "create", project, "--yes").ok()
    rights = "push,project:read,metadata:list,member:list,robot:create,robot:list,robot:read,robot:delete"
    create = ("robot", "create", "/", "maker", "--can", rights, "--in", project, "--days", "2", "--yes")
    acting(box, cli, "admin")(*create, "--out", str(tmp_path / "maker.env")).ok()
    maker = held(tmp_path / "maker.env")
    box.secrets.append(maker["HARBOR_PASSWORD"])
    nobody = box.config({"harbor.username": None, "harbor.password_file": None})
    mortals = mortals_as(cli, tmp_path, {"IMAGEPIPE_CONFIG": str(nobody), **maker})
    robot = "{ci: {can: [push], days: 1}}"
    file.write_text(f"version: 1\nprojects:\n  {project}: {{unmanaged: keep, robots: {robot}}}\n")
    apply = ("access", "apply", str(file), "--secrets", str(secrets), "--yes")

    died = mortals.live(*apply, death=Death("POST /api/v2.0/robots"))
    assert died.code == -signal.SIGKILL, died
    (row,) = lee("robot", "list", project).ok().out.splitlines()
    assert row.split("\t")[::4] == [f"robot${project}+ci", ""]
    again = mortals.live(*apply)
    assert again.code == 10, again.err
    told = re.search(rf"robot ci of {project}: .* died .*\nhint: run `imagepipe (?P<fix>[^`]+)`", again.err)
    assert told, again.err
    assert mortals.live(*told["fix"].split(), "--yes").code == 0
    assert mortals.live(*apply).code == 0
    assert lets_in(box, secrets / f"{project}+ci.env")
    lee("robot", "delete", project, "ci", "--yes").ok()
    acting(box, cli, "admin")("robot", "delete", "/", "maker", "--yes").ok()


def test_a_run_that_is_killed_while_a_command_takes_a_secret_is_found_out_and_healed_on_another_machine(
    box: Box, cli: Cli, lee: Command, mortals: Mortals, tmp_path: Path
) -> None:
    project, file, taken = "handed-robots", tmp_path / "access.yaml", tmp_path / "taken.env"
    lee("project", "create", project, "--yes").ok()
    robot = "{ci: {can: [push], days: 2}}"
    file.write_text(f"version: 1\nprojects:\n  {project}: {{unmanaged: keep, robots: {robot}}}\n")
    command = tmp_path / "take"
    command.write_text(f"#!/bin/sh\ncd {tmp_path}\ncat > taken.env\n[ -e once ] || {{ : > once; kill -9 $PPID; }}\n")
    command.chmod(0o755)
    apply = ("access", "apply", str(file), "--to-command", str(command), "--stdin", "env", "--yes")
    plan = ("access", "plan", str(file), "--detailed-exitcode")
    login = f"robot${project}+ci"

    died = mortals.live(*apply)
    assert died.code == -signal.SIGKILL, died
    box.secrets.append(held(taken)["HARBOR_PASSWORD"])
    (row,) = lee("robot", "list", project).ok().out.splitlines()
    assert row.split("\t")[::4] == [login, "(secret not handed over yet)"]

    # A home of its own is all that another machine has.
    other = acting(box, cli, "project_admin", XDG_STATE_HOME=str(tmp_path / "other"))
    told = other(*plan)
    assert (told.code, told.out) == (9, f"~ {project}: renew robot ci: its secret was never handed over\n"), told.said
    other("access", "apply", str(file), "--yes").fails(2, "secrets have to go somewhere", hint="--to-command")
    assert other(*apply).ok().out == told.out
    assert held(taken)["HARBOR_USERNAME"] == f"{login}.g2"
    assert lets_in(box, taken)
    (row,) = lee("robot", "list", project).ok().out.splitlines()
    assert row.split("\t")[::4] == [f"{login}.g2", ""]
    other(*plan).ok()
    assert "no changes" in other(*apply).ok().err
    assert lets_in(box, taken)
    lee("robot", "delete", project, "ci", "--yes").ok()


@pytest.mark.parametrize("place", ["file", "command", "stdout"])
def test_a_robot_is_made_by_the_same_command_that_died_at_any_moment_before(
    box: Box, lee: Command, mortals: Mortals, tmp_path: Path, place: str
) -> None:
    project, taken = f"mortal-{place}", tmp_path / "ci.env"
    lee("project", "create", project, "--yes").ok()
    places = {
        "file": ("--out", str(taken)),
        "command": ("--to-command", f"sh -c 'cat > {taken}'", "--stdin", "env"),
        "stdout": ("--show-secret",),
    }
    create = ("robot", "create", project, "ci", "--can", "push", "--days", "2", "--yes", *places[place])
    whole = mortals.live(*create)
    assert whole.code == 0, whole.err
    swept = deaths(whole, ("event", "POST /api", "PUT /api/v2.0/robots"))
    assert len(swept) == 2
    for death in swept:
        assert mortals.live("robot", "delete", project, "ci", "--yes").code == 0
        taken.unlink(missing_ok=True)
        died = mortals.live(*create, death=death)
        assert died.code == -signal.SIGKILL, death
        again = mortals.live(*create)
        if place == "stdout":
            login, secret = (again.out or died.out).split()
            taken.write_text(f"HARBOR_USERNAME='{login}'\nHARBOR_PASSWORD={secret}\n")
        assert lets_in(box, taken), death
        (row,) = lee("robot", "list", project).ok().out.splitlines()
        assert row.split("\t")[::4] == [f"robot${project}+ci", ""]
        # What is in place already is not made twice.
        assert again.code == (6 if death.moment.startswith("PUT") else 0), (death, again.err)
