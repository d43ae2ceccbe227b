"""What a machine lacks is named all at once, with the way round it."""

import socket
import subprocess
import sys
from pathlib import Path

import pytest

from imagepipe.errors import SettingsError
from imagepipe.sandbox import requirements


def everything(program: str) -> str | None:
    return f"/usr/bin/{program}"


def nothing(_program: str) -> str | None:
    return None


def test_root_with_all_programs_may_go_on() -> None:
    requirements.check("own", user_id=lambda: 0, which=everything, may_make_namespaces=lambda: True)


def test_root_that_may_not_make_namespaces_is_told_so_with_what_to_do_instead() -> None:
    with pytest.raises(SettingsError) as caught:
        requirements.check("own", user_id=lambda: 0, which=everything, may_make_namespaces=lambda: False)
    assert "the right to make network and mount namespaces" in caught.value.message
    assert "privileged" in str(caught.value.hint)
    assert "--engine existing" in str(caught.value.hint)


def test_all_that_is_missing_is_named_with_what_the_existing_engine_does_instead(tmp_path: Path) -> None:
    with pytest.raises(SettingsError) as caught:
        requirements.check("own", user_id=lambda: 1000, which=nothing, proc=tmp_path)
    for name in ("dockerd (package docker.io)", "docker-registry", "nsenter", "root", "net namespaces"):
        assert name in caught.value.message
    assert "--engine existing" in str(caught.value.hint)
    assert "behind the VCH" in str(caught.value.hint)


@pytest.mark.sandbox
@pytest.mark.parametrize("right", ["sys_admin", "net_admin"])
def test_the_kernel_itself_is_asked_for_the_right(right: str) -> None:
    script = "from imagepipe.sandbox import requirements; requirements.check('own')"
    for dropped, refused in (("-mac_override", False), (f"-{right}", True)):
        words = ("setpriv", "--bounding-set", dropped, "--inh-caps", dropped, sys.executable, "-c", script)
        done = subprocess.run(words, capture_output=True, text=True, timeout=60, check=False)
        assert ("the right to make network and mount namespaces" in done.stderr) is refused
        assert (done.returncode != 0) is refused, done.stderr


@pytest.mark.sandbox
def test_root_of_a_user_namespace_is_told_that_it_lacks_the_right() -> None:
    script = "from imagepipe.sandbox import requirements; requirements.check('own')"
    words = ("unshare", "--user", "--map-root-user", sys.executable, "-c", script)
    done = subprocess.run(words, capture_output=True, text=True, timeout=60, check=False)
    assert "the right to make network and mount namespaces" in done.stderr


@pytest.mark.parametrize("engine", ["existing", "none"])
def test_without_engines_of_its_own_it_needs_neither_root_nor_an_engines_programs(engine: str) -> None:
    requirements.check(engine, user_id=lambda: 1000, which=lambda name: None if name == "dockerd" else name)


def test_an_existing_engine_still_needs_a_registry() -> None:
    with pytest.raises(SettingsError, match="docker-registry"):
        requirements.check("existing", which=nothing)


def test_an_engine_elsewhere_is_refused() -> None:
    with pytest.raises(SettingsError, match="not a unix socket"):
        requirements.existing_engine({"DOCKER_HOST": "tcp://prod:2376"})


def test_a_socket_where_nothing_answers_is_named(tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match="no Docker Engine answers"):
        requirements.existing_engine({"DOCKER_HOST": f"unix://{tmp_path}/none.sock"})


def test_a_socket_where_something_else_answers_is_no_engine(tmp_path: Path) -> None:
    with socket.socket(socket.AF_UNIX) as deaf:
        deaf.bind(f"{tmp_path}/deaf.sock")
        with pytest.raises(SettingsError, match="no Docker Engine answers"):
            requirements.existing_engine({"DOCKER_HOST": f"unix://{tmp_path}/deaf.sock"})
