"""Promotion under another name: the image is copied inside the registry with all its evidence, and runs as the copy."""

import json
import signal
from collections.abc import Callable
from typing import Any

import pytest

from tests.e2e.box import Box
from tests.e2e.cli import Cli
from tests.e2e.images import hand_made
from tests.e2e.registry import Registry
from tests.e2e.test_administration import acting
from tests.e2e.workspace import Workspace

pytestmark = pytest.mark.sandbox

PROJECT = "released"


@pytest.fixture(scope="module")
def released(box: Box, cli: Cli) -> Registry:
    """The registry, as a developer of two projects: one to build in, one to release into, and `closed` is neither."""
    who, admin = Registry(box.document["registry"], "developer"), acting(box, cli, "admin")
    for name in (PROJECT, "closed"):
        admin("project", "create", name, "--yes").ok()
    admin("member", "add", PROJECT, who.member, "--role", "developer", "--yes").ok()
    return who


@pytest.fixture(scope="module")
def dev(cli: Cli, released: Registry) -> Cli:
    """The command line of that developer: a project's robot may write into no other project."""
    user = released.part["users"]["developer"]
    own = {"USERNAME": user["username"], "PASSWORD_FILE": user["password_file"]}
    return Cli(cli.home, {**cli.environ, **{f"IMAGEPIPE_HARBOR__{key}": value for key, value in own.items()}}, cli.runs)


@pytest.fixture
def image(box: Box, cli: Cli, request: pytest.FixtureRequest) -> str:
    """A signed image in a repository of its own."""
    pinned = box.registry.push(f"es-sandbox/copies/{name_of(request)}", "1", hand_made(request.node.name))
    cli.run("sign", pinned).ok()
    return pinned


@pytest.fixture
def name(request: pytest.FixtureRequest) -> str:
    """Where it is copied to."""
    return f"{PROJECT}/{name_of(request)}"


def name_of(request: pytest.FixtureRequest) -> str:
    return str(request.node.name).removeprefix("test_").replace("_", "-")[:40].rstrip("-")


def digest(pinned: str) -> str:
    return pinned.partition("@")[2]


def promote(dev: Cli, image: str, name: str, *more: str) -> dict[str, Any]:
    return dev.run("promote", image, "--to", "vch-a", "--as", name, "--yes", "--json", *more).ok().json()


def attached(dev: Cli, image: str) -> list[dict[str, Any]]:
    return list(dev.run("tree", image, "--json").ok().json()["attached"])


def test_a_built_image_is_released_with_signature_and_provenance(
    box: Box, cli: Cli, dev: Cli, released: Registry, workspace: Callable[..., Workspace]
) -> None:
    made = workspace("hello-released")
    built = cli.run("run", made.name, cwd=made.folder).ok().out.strip()
    dev.run("promote", built, "--to", "vch-b", "--yes").ok()
    before = attached(dev, built)
    assert len(before) == 3
    done = promote(dev, built, f"{PROJECT}/hello:1.4", "--to", "engine-a", "--reason", "release")
    name = f"{box.registry.host}/{PROJECT}/hello"
    assert done["image"] == f"{name}@{digest(built)}"
    assert done["copy"] == {"from": built, "name": f"{name}:1.4"}
    assert released.digest(f"{PROJECT}/hello", "1.4") == digest(built)
    for target in ("vch-a", "engine-a"):
        assert box.host(target).holds(done["image"])
        assert not box.host(target).holds(built)
    proofs = [dev.run("verify", one, "--json").ok().json()["proofs"] for one in (built, f"{name}:1.4")]
    assert proofs[0] == proofs[1]
    after = attached(dev, f"{name}:1.4")
    assert [one for one in after if one["digest"] != done["record"]] == before
    assert all(one["verified"] for one in after)
    (record,) = (one for one in released.records(f"{PROJECT}/hello", digest(built)) if "copy" in one)
    assert record["copy"]["from"] == built
    # The record that came along is of the chain of the other name.
    assert [target["sequence"] for target in record["targets"]] == [1, 1]
    told = dev.run("history", f"{PROJECT}/hello", "--json").ok().json()
    assert [one["record"] for one in told["entries"]] == [done["record"]]
    assert all(one["intact"] for one in told["chains"])
    status = dev.run("status", "vch-a", f"{PROJECT}/hello", "--json").ok().json()
    (held,) = status["targets"][0]["images"]
    assert (held["image"], held["state"], held["current"]) == (done["image"], "promoted", True)
    run = dev.run("reject", done["image"], "--reason", "leaks keys", "--json").ok()
    assert run.json()["not_rejected"] == [built]
    assert f"warning: {built} is the same image, and is not rejected by that" in run.err


def test_a_name_that_points_elsewhere_is_never_moved(
    box: Box, dev: Cli, released: Registry, image: str, name: str
) -> None:
    other = released.push(name, "1", hand_made("another"))
    argv = ("promote", image, "--to", "vch-a", "--as", f"{name}:1", "--yes", "--json")
    dev.run(*argv).fails(6, f"the tag points at {digest(other)}", hint="another tag", kind="gate")
    assert released.digest(name, "1") == digest(other)
    assert released.tags(name) == ["1"]


def test_what_the_gates_refuse_is_not_copied(box: Box, dev: Cli, released: Registry, name: str) -> None:
    unsigned = box.registry.push("es-sandbox/copies/unsigned", "1", hand_made("unsigned and copied"))
    argv = ("promote", unsigned, "--to", "vch-a", "--as", f"{name}:1", "--yes", "--json")
    dev.run(*argv, config=box.everybody_away()).fails(6, "has no signature", kind="gate")
    assert released.tags(name) == []


def test_a_saved_plan_says_what_is_copied_and_does_it(
    box: Box, dev: Cli, released: Registry, image: str, name: str
) -> None:
    file = box.file("json")
    said = dev.run("promote", image, "--to", "vch-a", "--as", f"{name}:1", "-o", str(file)).ok().err
    assert f"copy {image} inside the registry, named {box.registry.host}/{name}:1" in said
    assert json.loads(file.read_text())["copy"]["from"] == image
    assert released.tags(name) == []
    done = dev.run("promote", "--plan", str(file), "--yes", "--json").ok().json()
    assert done["copy"]["from"] == image
    assert released.digest(name, "1") == digest(image)
    released.push(name, "2", hand_made("a second"))
    other = dev.run("promote", image, "--to", "vch-a", "--as", f"{name}:2", "-o", str(file), "--json")
    other.fails(6, "the tag points at")


def test_a_copy_that_was_killed_is_completed_by_the_same_command_and_done_once(
    box: Box, dev: Cli, released: Registry, image: str, name: str
) -> None:
    argv = ("promote", image, "--to", "vch-a", "--as", f"{name}:1", "--yes", "--progress", "plain", "--json")
    killed = dev.signalled(*argv, when=r"^-> copy ", number=signal.SIGKILL)
    assert killed.code != 0
    done = dev.run(*argv).ok().json()
    assert released.digest(name, "1") == digest(image)
    assert box.host("vch-a").holds(done["image"])
    assert [one for one in attached(dev, done["image"]) if one["digest"] != done["record"]] == attached(dev, image)
    tags = released.tags(name)
    again = dev.run(*argv).ok().json()
    assert (again["record"], again["targets"][0]["outcome"]) == (done["record"], "present")
    assert released.tags(name) == tags


def test_who_may_not_push_there_is_told_before_a_host_is_touched(box: Box, dev: Cli, image: str) -> None:
    argv = ("promote", image, "--to", "vch-a", "--as", "closed/hello:1", "--yes", "--json")
    dev.run(*argv, config=box.everybody_away()).fails(5, "may not pull closed/hello", hint="admin")
    argv = ("promote", image, "--to", "vch-a", "--as", "nowhere/hello:1", "--yes", "--json")
    dev.run(*argv, config=box.everybody_away()).fails(5, "nowhere", hint="run `imagepipe project create nowhere`")


@pytest.mark.parametrize(
    ("argv", "code", "said"),
    [
        (("--as", "released/x:1"), 2, "--to"),
        (("--to", "vch-a", "--as", "released/x"), 3, "has a tag"),
        (("--to", "vch-a", "--as", "released/x:imagepipe-head.vch-a"), 3, "kept for records"),
        (("--to", "vch-a", "--as", "elsewhere.example/released/x:1"), 6, "inside one registry only"),
    ],
)
def test_a_name_that_makes_no_sense_is_refused(
    dev: Cli, signed: str, argv: tuple[str, ...], code: int, said: str
) -> None:
    dev.run("promote", signed, *argv, "--yes", "--json").fails(code, said)
