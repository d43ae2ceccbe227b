"""`imagepipe sandbox` itself: up and down again and again, also after a crash, and what it tells of itself."""

import json
import re
import shlex
import signal
import stat
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.e2e.box import Box
from tests.e2e.cli import Cli
from tests.e2e.traces import machine, traces

pytestmark = pytest.mark.sandbox

UP_S = 120.0


@pytest.fixture
def second(folder: Path, cli: Cli) -> Iterator[Path]:
    """The directory of another sandbox beside the one of all tests; taken down whatever happens."""
    directory = folder / "second"
    yield directory
    cli.run("sandbox", "down", "--dir", str(directory), deadline_s=UP_S).ok()
    assert traces(directory) == set()


def test_the_document_tells_everything_that_others_rely_on(box: Box, cli: Cli) -> None:
    document = cli.run("sandbox", "status", "--dir", str(box.directory), "--json").ok().json()
    host, port = box.registry.host.split(":")
    assert (document["schema"], document["state"]) == ("imagepipe.sandbox/v1", "up")
    assert (document["dir"], document["config"]) == (str(box.directory), f"{box.directory}/imagepipe.toml")
    assert document["build_host"]["host"].startswith("unix:///")
    registry = document["registry"]
    assert {key: registry[key] for key in ("host", "url", "flavour", "project")} == {
        "host": f"{host}:{port}",
        "url": f"https://{host}:{port}",
        "flavour": "harbor",
        "project": "es-sandbox",
    }
    assert {"admin", "developer", "guest", "ci"} <= set(registry["users"])
    assert list(document["targets"]) == ["vch-a", "vch-b", "engine-a"]
    assert [one["kind"] for one in document["targets"].values()] == ["vch", "vch", "docker"]
    for one in document["targets"].values():
        assert re.fullmatch(r"tcp://[0-9.]+:2376", one["host"])
        assert {file.name for file in Path(one["cert_path"]).iterdir()} == {"ca.pem", "cert.pem", "key.pem"}
        assert set(one["networks"]) == {"bridge", "public"}
    assert set(document["sigstore"]) == {"trust_config", "trusted_root", "issuer", "identity", "token_file"}
    assert {"harbor", "registry", "sigstore", "build", "vch-a", "vch-b", "engine-a"} <= {
        one["name"] for one in document["processes"]
    }
    assert all(Path(f"/proc/{one['pid']}").exists() for one in document["processes"])


def test_files_that_the_document_names_are_there_and_secrets_are_private(box: Box) -> None:
    registry, sigstore = box.document["registry"], box.document["sigstore"]
    secrets = [user["password_file"] for user in registry["users"].values()] + [sigstore["token_file"]]
    secrets += [f"{one['cert_path']}/key.pem" for one in box.document["targets"].values()]
    for file in (*secrets, registry["ca_file"], sigstore["trust_config"], sigstore["trusted_root"]):
        assert Path(file).stat().st_size > 0
    assert {stat.S_IMODE(Path(file).stat().st_mode) for file in secrets} == {0o600}
    assert stat.S_IMODE(box.directory.stat().st_mode) == 0o700


def test_up_on_a_sandbox_that_is_up_changes_nothing(box: Box, cli: Cli) -> None:
    before = cli.run("sandbox", "status", "--dir", str(box.directory), "--json").ok().json()
    again = cli.run("sandbox", "up", "--dir", str(box.directory), "--json").ok().json()
    assert again == before


def test_up_with_other_options_on_a_sandbox_that_is_up_is_refused(box: Box, cli: Cli) -> None:
    run = cli.run("sandbox", "up", "--dir", str(box.directory), "--flavour", "vic", "--json")
    run.fails(2, "up with flavour harbor", hint="take it down first", kind="usage")


def test_a_directory_that_is_too_deep_for_sockets_is_refused(cli: Cli, folder: Path) -> None:
    run = cli.run("sandbox", "up", "--dir", str(folder / ("deep" * 20)), "--json")
    run.fails(3, "too long for unix sockets", hint="shorter directory", kind="settings")


def test_env_prints_lines_that_a_shell_takes(box: Box, cli: Cli) -> None:
    run = cli.run("sandbox", "env", "--dir", str(box.directory)).ok()
    assert all(re.fullmatch(r"export [A-Z_]+=\S+", line) for line in run.out.splitlines())
    script = f'{run.out}\nprintf %s "$IMAGEPIPE_CONFIG"'
    shell = subprocess.run(("sh", "-eu", "-c", script), capture_output=True, text=True, timeout=20, check=True, env={})
    assert shell.stdout == box.document["config"]
    document = cli.run("sandbox", "env", "--dir", str(box.directory), "--json").ok().json()
    assert [f"export {name}={shlex.quote(value)}" for name, value in document["env"].items()] == run.out.splitlines()


def test_logs_of_one_process_and_of_all(box: Box, cli: Cli) -> None:
    alone = cli.run("sandbox", "logs", "harbor", "--dir", str(box.directory)).ok()
    everything = cli.run("sandbox", "logs", "--dir", str(box.directory)).ok().out
    assert alone.out in everything
    assert "==> harbor <==" in everything
    run = cli.run("sandbox", "logs", "habor", "--dir", str(box.directory), "--json")
    run.fails(4, "habor", hint="harbor", kind="not_found")


def test_where_there_is_no_sandbox_every_command_says_so(cli: Cli, folder: Path) -> None:
    nowhere = ("--dir", str(folder / "none"))
    assert cli.run("sandbox", "status", *nowhere, "--json").ok().json()["state"] == "down"
    cli.run("sandbox", "env", *nowhere, "--json").fails(
        4, "no sandbox is up", hint=f"sandbox up {' '.join(nowhere)}$", kind="not_found"
    )
    for _ in range(2):
        assert cli.run("sandbox", "down", *nowhere, "--json").ok().json()["was_up"] is False
    assert not (folder / "none").exists()


def test_a_directory_with_somebody_elses_files_is_left_alone(cli: Cli, folder: Path) -> None:
    (folder / "theirs").mkdir()
    (folder / "theirs" / "thesis.txt").write_text("years of work")
    for command in ("up", "down"):
        run = cli.run("sandbox", command, "--dir", str(folder / "theirs"), "--json")
        run.fails(3, "is not a sandbox", hint="empty or a new directory", kind="settings")
    assert (folder / "theirs" / "thesis.txt").read_text() == "years of work"


def test_killed_midway_it_comes_up_again_and_goes_down_without_a_trace(box: Box, cli: Cli, second: Path) -> None:
    before = machine()
    where = ("--dir", str(second))
    killed = cli.signalled("sandbox", "up", *where, "--json", when=r"^ok start engine-a ", number=signal.SIGKILL)
    assert killed.code == -signal.SIGKILL
    assert traces(second) - {f"files {second}"}  # engines outlive their owner
    assert cli.run("sandbox", "status", *where, "--json").ok().json()["state"] in ("starting", "broken")
    document = cli.run("sandbox", "up", *where, "--json", deadline_s=UP_S).ok().json()
    assert document["state"] == "up"
    assert document["registry"]["host"] != box.registry.host
    config = {"IMAGEPIPE_CONFIG": document["config"]}
    assert cli.run("digest", "es-sandbox/base:1", "--json", env=config).ok().json()["platforms"]
    assert [cli.run("sandbox", "down", *where, "--json").ok().json()["was_up"] for _ in range(2)] == [True, False]
    assert traces(second) == set()
    assert machine() == before
    # The other sandbox has not noticed.
    assert cli.run("sandbox", "status", "--dir", str(box.directory), "--json").ok().json()["state"] == "up"


def test_ctrl_c_while_it_comes_up_takes_everything_back(cli: Cli, second: Path) -> None:
    where = ("--dir", str(second))
    run = cli.signalled("sandbox", "up", *where, "--json", when=r"^-> start build", number=signal.SIGINT)
    run.fails(130, "interrupted", kind="interrupted")
    assert traces(second) == set()
    assert json.loads(cli.run("sandbox", "status", *where, "--json").ok().out)["state"] == "down"
