"""Targets that are pinned when they are written down, and refused as soon as somebody else answers in their place."""

import json
import shutil
import sys
import tomllib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from imagepipe.sandbox.namespaces import enter
from imagepipe.sandbox.pki import Authority
from imagepipe.sandbox.probing import trusting, wait_for
from imagepipe.sandbox.processes import Starter, end_one
from imagepipe.sandbox.state import Record
from tests.e2e.box import Box
from tests.e2e.cli import Cli
from tests.e2e.images import hand_made

pytestmark = pytest.mark.sandbox

READY_S = 20.0


@pytest.fixture
def file(box: Box, tmp_path: Path) -> Path:
    """A configuration of the test's own."""
    return Path(shutil.copy(box.document["config"], tmp_path / "imagepipe.toml"))


def env_file(box: Box, folder: Path, name: str) -> Path:
    """Writes what vic-machine writes of a VCH: one line, no scheme, no quotes."""
    row = box.document["targets"][name]
    line = f"DOCKER_TLS_VERIFY=1 DOCKER_CERT_PATH={row['cert_path']} DOCKER_HOST={row['host'].removeprefix('tcp://')}"
    (folder / "vch.env").write_text(f"{line} COMPOSE_TLS_VERSION=TLSv1_2")
    return folder / "vch.env"


@contextmanager
def another_certificate(box: Box, name: str) -> Iterator[None]:
    """Lets a VCH show another certificate meanwhile, of the same authority and for the same names."""
    pki = box.layout.pki(name)
    kept = {path: path.read_bytes() for path in (pki / "server-cert.pem", pki / "server-key.pem")}
    address = box.document["targets"][name]["host"].removeprefix("tcp://").partition(":")[0]
    Authority.load(pki).issue_server(name, (address, "127.0.0.1"))
    restart(box, name)
    try:
        yield
    finally:
        for path, content in kept.items():
            path.write_bytes(content)
        restart(box, name)


def restart(box: Box, name: str) -> None:
    """Starts a VCH's front again; the engine behind it goes on."""
    layout = box.layout
    state = Record.read(layout.state_file)
    assert state is not None
    end_one(next(process for process in state.processes if process.name == name))
    starter = Starter(world_id=layout.world_id, directory=layout.directory)
    argv = [*enter(layout.namespace(name)), sys.executable, "-m", "imagepipe.sandbox.vch"]
    new = starter.start(name, [*argv, "--config", str(layout.configuration(f"{name}.json"))], layout.log(name))
    Record(layout.state_file, state).add_process(new)
    url = box.host(name).url + "/_ping"
    wait_for(new, url, timeout_s=READY_S, tls=trusting(layout.pki(name) / "ca.pem", layout.client_certificates(name)))


def test_a_vch_becomes_a_target_by_the_file_of_vic_machine_and_everything_else_stays(
    box: Box, cli: Cli, file: Path, tmp_path: Path
) -> None:
    before = file.read_text()
    added = cli.run(
        *("targets", "add", "prod-a", "--from-env", str(env_file(box, tmp_path, "vch-a"))),
        *("--policy", "sandbox", "--yes", "--json"),
        config=file,
    ).ok()
    document = added.json()
    assert (document["schema"], document["kind"], document["id"]) == ("imagepipe.target/v1", "vch", "vch-a")
    assert document["host"] == box.document["targets"]["vch-a"]["host"]
    assert document["certificate"]["fingerprint"] == document["pin"]
    assert document["pin"] in added.err
    lines = file.read_text().splitlines()
    start = lines.index("[targets.prod-a]")
    assert [*lines[: start - 1], *lines[start + 7 :]] == before.splitlines()
    written = tomllib.loads(file.read_text())["targets"]["prod-a"]
    assert written == {key: document[key] for key in ("kind", "host", "cert_path", "policy", "pin", "id")}
    listed = cli.run("targets", "list", "--json", config=file).ok().json()
    (row,) = [one for one in listed["targets"] if one["name"] == "prod-a"]
    assert (row["pin"], row["id"]) == (document["pin"], "vch-a")
    cli.run("targets", "remove", "prod-a", "--yes", config=file).ok()
    assert tomllib.loads(file.read_text()) == tomllib.loads(before)


def test_another_certificate_at_a_pinned_target_is_refused_everywhere_until_somebody_accepts_it(
    box: Box, cli: Cli, file: Path
) -> None:
    pinned = box.registry.push("es-sandbox/pinned", "1", hand_made("pinned"))
    cli.run("sign", pinned).ok()
    old = cli.run("targets", "add", "vch-b", "--replace", "--yes", "--json", config=file).ok().json()["pin"]
    with another_certificate(box, "vch-b"):
        log = box.layout.log("vch-b").read_text()
        promote = cli.run("promote", pinned, "--to", "vch-b", "--yes", "--json", config=file)
        promote.fails(
            6,
            old,
            r"its certificate is sha256:(?!" + old.removeprefix("sha256:") + ")",
            "nothing was sent",
            hint="imagepipe targets add vch-b --replace",
            kind="host_changed",
            schema="imagepipe.promote/v1",
        )
        status = cli.run("status", "vch-b", "es-sandbox/pinned", "--json", config=file)
        status.fails(6, "is pinned", kind="host_changed", schema="imagepipe.status/v1")
        doctor = cli.run("doctor", "vch-b", "--json", config=file)
        assert doctor.code == 6, doctor.said
        (found,) = [one for one in doctor.json()["findings"] if one["subject"] == "vch-b"]
        assert (found["check"], found["level"]) == ("pin", "fail")
        assert old in found["detail"]
        assert box.layout.log("vch-b").read_text() == log
        assert not box.host("vch-b").holds(pinned)
        # Who looked and says yes has it written down, and is told what it was.
        again = cli.run("targets", "add", "vch-b", "--replace", "--yes", "--json", config=file).ok()
        assert again.json()["pin"] != old
        assert f"instead of {old}" in again.err
        assert again.json()["policy"] == "sandbox"
        cli.run("promote", pinned, "--to", "vch-b", "--yes", config=file).ok()
        assert box.host("vch-b").holds(pinned)


@pytest.mark.parametrize("name", ["vch-a", "engine-a"])
def test_a_host_that_calls_itself_something_else_than_pinned_is_refused(
    box: Box, cli: Cli, signed: str, name: str
) -> None:
    config = box.config({f"targets.{name}.id": "prod-z"})
    run = cli.run("promote", signed, "--to", name, "--yes", "--json", config=config)
    schema = "imagepipe.promote/v1"
    run.fails(6, "calls itself", "'prod-z' is pinned", hint="--replace", kind="host_changed", schema=schema)
    assert not box.host(name).holds(signed)


def test_what_cannot_be_added_is_told_and_nothing_is_written(box: Box, cli: Cli, file: Path, tmp_path: Path) -> None:
    before = file.read_text()
    env = str(env_file(box, tmp_path, "vch-a"))
    add = ("targets", "add", "prod-a", "--from-env", env)
    cli.run(*add, "--policy", "sandbx", "--yes", config=file).fails(
        4, "no policy named 'sandbx'", "did you mean 'sandbox'"
    )
    cli.run(*add, config=file).fails(2, "no terminal", hint="--yes")
    cli.run("targets", "add", "prod-a", "--yes", config=file).fails(2, "nothing says where", hint="--from-env")
    cli.run(*add, "--host", "tcp://x:1", "--yes", config=file).fails(2, "--from-env says host", hint="out")
    cli.run("targets", "add", "vch-a", "--from-env", env, "--yes", config=file).fails(6, "already", hint="--replace")
    cli.run("targets", "add", "env", "--from-env", env, "--yes", config=file).fails(3, "not a name for a target")
    other = box.document["targets"]["vch-b"]["cert_path"]
    host = box.document["targets"]["vch-a"]["host"]
    strange = cli.run("targets", "add", "x", "--host", host, "--cert-path", other, "--yes", "--json", config=file)
    strange.fails(5, "signed by an authority, which is not trusted here", hint=r"ca\.pem", kind="credentials")
    cli.run("targets", "add", "x", "--host", host, "--yes", config=file).fails(8, "closed", hint="--cert-path")
    cli.run("targets", "remove", "x", "--yes", config=file).fails(4, "no target named 'x'")
    assert file.read_text() == before


def test_a_group_keeps_its_targets_and_its_name(box: Box, cli: Cli, tmp_path: Path) -> None:
    config = box.config({"groups.all": ["vch-a"]})
    cli.run("targets", "remove", "vch-a", "--yes", config=config).fails(6, "group all names vch-a", hint="first")
    add = ("targets", "add", "all", "--from-env", str(env_file(box, tmp_path, "vch-a")), "--yes")
    cli.run(*add, config=config).fails(6, "name of a group", hint="another name")


def test_a_target_that_a_policy_waits_for_is_not_taken_out(box: Box, cli: Cli, tmp_path: Path) -> None:
    config = box.config({"policies.late.signed_by": [{"identity": "a", "issuer": "b"}]})
    with config.open("a") as stream:
        stream.write('[policies.late.after]\ntargets = ["vch-a"]\nhours = 1\n')
    run = cli.run("targets", "remove", "vch-a", "--yes", config=config)
    run.fails(6, "policy late", hint=r"\[policies\.late\]")
    assert json.loads(cli.run("targets", "list", "--json", config=config).ok().out)["targets"][0]["name"] == "vch-a"
