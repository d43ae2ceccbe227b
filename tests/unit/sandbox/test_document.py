"""The document and the generated configuration say where everything is, and hold no secret."""

import dataclasses
import os
import tomllib
from pathlib import Path

import pytest

from imagepipe.sandbox import document
from imagepipe.sandbox.layout import Addresses, Layout
from imagepipe.sandbox.processes import start_time
from imagepipe.sandbox.standins import Places
from imagepipe.sandbox.state import ProcessRecord, State

LAYOUT = Layout(Path("/tmp/box"))
PLACES = Places.own(LAYOUT, Addresses(7))
USERS = {"admin": "admin", "developer": "dana", "guest": "gus", "ci": "robot$es-sandbox+ci"}
STATE = State("abc123", "harbor", "own", "up", 7, endpoints=PLACES.plain(), users=USERS)


def this_process() -> ProcessRecord:
    return ProcessRecord("build", os.getpid(), start_time(os.getpid()) or 0, (), "")


def test_places_survive_being_written_and_read() -> None:
    assert Places.of(PLACES.plain()) == PLACES


def test_a_sandbox_without_engines_has_neither_build_host_nor_targets() -> None:
    bare = dataclasses.replace(STATE, engine="none", flavour="harbor-1", endpoints=Places.alone().plain())
    told = document.describe(LAYOUT, bare)
    assert (told["build_host"], told["targets"]) == ({"host": None}, {})
    written = tomllib.loads(document.configuration(LAYOUT, bare))
    assert written.keys() == {"registry", "harbor", "signing", "policies"}


def test_the_document_has_the_shape_that_scripts_rely_on() -> None:
    told = document.describe(LAYOUT, STATE)
    assert (told["schema"], told["state"], told["dir"]) == ("imagepipe.sandbox/v1", "up", "/tmp/box")
    assert told["build_host"] == {"host": "unix:///tmp/box/engines/build/docker.sock"}
    assert told["registry"]["host"] == "198.18.7.2:8443"
    assert told["registry"]["flavour"] == "harbor"
    assert told["registry"]["project"] == "es-sandbox"
    ci = {"username": "robot$es-sandbox+ci", "password_file": "/tmp/box/secrets/ci.password"}
    assert told["registry"]["users"]["ci"] == ci
    assert told["targets"]["vch-a"] == {
        "kind": "vch",
        "host": "tcp://198.18.7.11:2376",
        "cert_path": "/tmp/box/certs/vch-a",
        "networks": {"bridge": "bridge", "public": "public"},
    }
    assert told["targets"]["engine-a"]["kind"] == "docker"
    assert set(told["sigstore"]) == {"trust_config", "trusted_root", "issuer", "identity", "token_file"}


def test_a_sandbox_whose_processes_run_is_up_and_one_that_lost_some_is_broken() -> None:
    running = this_process()
    assert document.describe(LAYOUT, dataclasses.replace(STATE, processes=(running,)))["state"] == "up"
    gone = dataclasses.replace(running, start_time=1)
    told = document.describe(LAYOUT, dataclasses.replace(STATE, processes=(running, gone)))
    assert told["state"] == "broken"
    assert [row["alive"] for row in told["processes"]] == [True, False]


def test_a_sandbox_that_is_on_its_way_says_so_even_before_it_has_addresses() -> None:
    early = State("abc123", "harbor", "own", "starting")
    assert document.describe(LAYOUT, early)["state"] == "starting"


@pytest.mark.parametrize(("broken", "state"), [(False, "down"), (True, "broken")])
def test_nothing_there_is_down_and_an_unreadable_state_is_broken(*, broken: bool, state: str) -> None:
    assert document.absent(LAYOUT, broken=broken)["state"] == state


def test_the_configuration_is_toml_that_points_at_every_part() -> None:
    config = tomllib.loads(document.configuration(LAYOUT, STATE))
    assert config["registry"] == "198.18.7.2:8443"
    assert config["harbor"]["username"] == "robot$es-sandbox+ci"
    assert config["harbor"]["password_file"] == "/tmp/box/secrets/ci.password"
    assert config["build"]["host"] == "unix:///tmp/box/engines/build/docker.sock"
    assert config["signing"]["mode"] == "keyless"
    assert {name: target["kind"] for name, target in config["targets"].items()} == {
        "vch-a": "vch",
        "vch-b": "vch",
        "engine-a": "docker",
    }
    assert config["policies"]["sandbox"]["signed_by"] == [
        {"identity": "ci@es-sandbox.test", "issuer": "http://198.18.7.2:5031"}
    ]


def test_an_existing_engine_is_a_target_without_certificates() -> None:
    places = Places.existing("unix:///run/docker.sock")
    state = dataclasses.replace(STATE, engine="existing", endpoints=places.plain())
    config = tomllib.loads(document.configuration(LAYOUT, state))
    assert "cert_path" not in config["targets"]["engine-a"]
    assert config["targets"]["engine-a"]["host"] == config["build"]["host"] == "unix:///run/docker.sock"
    assert config["targets"]["vch-a"]["host"] != config["targets"]["vch-b"]["host"]
    assert all(target["host"].startswith(("tcp://127.0.0.1:", "unix://")) for target in config["targets"].values())


def test_the_environment_names_files_only() -> None:
    assert document.environment(LAYOUT) == {
        "IMAGEPIPE_CONFIG": "/tmp/box/imagepipe.toml",
        "IMAGEPIPE_SIGNING__IDENTITY_TOKEN_FILE": "/tmp/box/secrets/identity-token",
    }
