from pathlib import Path

import pytest

from imagepipe.envfile import Address, read_env, variables
from imagepipe.errors import InputError, NotFoundError


def certificates(folder: Path) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    for name in ("ca.pem", "cert.pem", "key.pem"):
        (folder / name).write_text("x")
    return folder


def test_the_one_line_of_vic_machine_is_read_with_blanks_in_its_path(tmp_path: Path) -> None:
    folder = certificates(tmp_path / "my vch")
    file = tmp_path / "vch.env"
    file.write_text(
        f"DOCKER_TLS_VERIFY=1 DOCKER_CERT_PATH={folder} DOCKER_HOST=10.0.0.5:2376 COMPOSE_TLS_VERSION=TLSv1_2"
    )
    assert read_env(file) == Address("tcp://10.0.0.5:2376", folder)


def test_a_folder_that_vic_machine_names_wrongly_is_found_beside_the_file(tmp_path: Path) -> None:
    folder = certificates(tmp_path / "certs" / "prod-a")
    (folder / "prod-a.env").write_text(f"DOCKER_TLS_VERIFY=1 DOCKER_CERT_PATH={tmp_path}/prod-a DOCKER_HOST=a:2376")
    assert read_env(folder / "prod-a.env").cert_path == folder


def test_a_folder_that_is_nowhere_is_kept_so_that_it_is_named(tmp_path: Path) -> None:
    file = tmp_path / "vch.env"
    file.write_text("DOCKER_CERT_PATH=gone DOCKER_HOST=a:2376")
    assert read_env(file).cert_path == tmp_path / "gone"


def test_without_tls_there_is_no_folder_and_with_tls_alone_it_is_the_files_own(tmp_path: Path) -> None:
    file = tmp_path / "vch.env"
    file.write_text("DOCKER_HOST=a:2375 COMPOSE_TLS_VERSION=TLSv1_2\n")
    assert read_env(file) == Address("tcp://a:2375", None)
    file.write_text("DOCKER_TLS_VERIFY=1 DOCKER_HOST=tcp://a:2376")
    assert read_env(file) == Address("tcp://a:2376", tmp_path)


def test_export_lines_quotes_and_comments_are_read_as_a_shell_would(tmp_path: Path) -> None:
    text = "# DOCKER_HOST=no\nexport DOCKER_HOST=\"tcp://a:2376\"\n  export DOCKER_CERT_PATH='/x y'\nA=\nB='\n"
    assert variables(text) == {"DOCKER_HOST": "tcp://a:2376", "DOCKER_CERT_PATH": "/x y", "A": "", "B": "'"}


def test_a_file_that_names_no_host_is_refused_and_one_that_is_not_there(tmp_path: Path) -> None:
    file = tmp_path / "vch.env"
    with pytest.raises(NotFoundError, match="no such file"):
        read_env(file)
    file.write_text("DOCKER_TLS_VERIFY=1")
    with pytest.raises(InputError, match="sets no DOCKER_HOST"):
        read_env(file)
    file.write_bytes(b"\xff")
    with pytest.raises(InputError, match="cannot be read"):
        read_env(file)
