import base64
import json
from pathlib import Path
from typing import Any

import pytest

from imagepipe.errors import SettingsError
from imagepipe.model.result import Credential
from imagepipe.registry.credentials import RegistryCredentials

VIC = "vic.example:8443"


class Home:
    """A home folder with files and helpers that a test puts there."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        (folder / "bin").mkdir()
        self.environ = {"PATH": f"{folder / 'bin'}:/usr/bin:/bin"}

    def write(self, name: str, data: Any) -> Path:
        file = self.folder / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(data if isinstance(data, str) else json.dumps(data))
        return file

    def helper(self, name: str, script: str) -> None:
        """Puts a helper there that keeps what it read on stdin and its arguments in a file of its name."""
        program = self.folder / "bin" / f"docker-credential-{name}"
        program.write_text(f'#!/bin/sh\necho "$* $(cat)" >> {self.folder}/{name}.asked\n{script}\n')
        program.chmod(0o755)

    def asked(self, name: str) -> list[str]:
        return (self.folder / f"{name}.asked").read_text().splitlines()

    def find(self, registry: str = VIC, given: dict[str, Credential] | None = None) -> Credential | None:
        return RegistryCredentials(given, environ=self.environ, home=self.folder).for_registry(registry)


@pytest.fixture
def home(tmp_path: Path) -> Home:
    return Home(tmp_path)


def auth(username: str, password: str) -> dict[str, str]:
    return {"auth": base64.b64encode(f"{username}:{password}".encode()).decode()}


def says(username: str, secret: str) -> str:
    return f"""echo '{json.dumps({"ServerURL": VIC, "Username": username, "Secret": secret})}'"""


def test_without_any_file_we_are_nobody(home: Home) -> None:
    assert home.find() is None


def test_what_is_given_comes_first_and_for_its_registry_only(home: Home) -> None:
    home.write(".docker/config.json", {"auths": {VIC: auth("docker", "1"), "other.example": auth("other", "2")}})
    given = {VIC: Credential("robot$ci", "3")}
    assert home.find(given=given) == Credential("robot$ci", "3")
    assert home.find("other.example", given=given) == Credential("other", "2")


def test_dockers_file_is_read_and_a_colon_in_the_password_kept(home: Home) -> None:
    home.write(".docker/config.json", {"auths": {VIC: auth("bob", "pa:55")}})
    assert home.find() == Credential("bob", "pa:55")


def test_docker_config_names_the_folder(home: Home) -> None:
    home.write(".docker/config.json", {"auths": {VIC: auth("wrong", "1")}})
    home.write("elsewhere/config.json", {"auths": {VIC: auth("right", "2")}})
    home.environ["DOCKER_CONFIG"] = str(home.folder / "elsewhere")
    assert home.find() == Credential("right", "2")


@pytest.mark.parametrize("key", [f"https://{VIC}", f"https://{VIC}/v1/", f"http://{VIC}/v2/"])
def test_an_address_in_the_old_style_is_the_same_registry(home: Home, key: str) -> None:
    home.write(".docker/config.json", {"auths": {key: auth("bob", "1")}})
    assert home.find() == Credential("bob", "1")


def test_another_port_is_another_registry(home: Home) -> None:
    home.write(".docker/config.json", {"auths": {"vic.example": auth("bob", "1")}})
    assert home.find() is None


def test_a_namespace_of_a_registry_is_not_the_registry(home: Home) -> None:
    home.write(".config/containers/auth.json", {"auths": {f"{VIC}/es-sandbox": auth("bob", "1")}})
    assert home.find() is None


def test_docker_hub_is_known_by_its_old_address(home: Home) -> None:
    home.write(".docker/config.json", {"auths": {"https://index.docker.io/v1/": auth("bob", "1")}})
    assert home.find("docker.io") == Credential("bob", "1")


def test_the_helper_of_a_registry_is_asked_on_stdin(home: Home) -> None:
    home.helper("vault", says("bob", "from-vault"))
    home.write(".docker/config.json", {"credHelpers": {VIC: "vault"}, "auths": {VIC: auth("file", "1")}})
    assert home.find() == Credential("bob", "from-vault")
    assert home.asked("vault") == [f"get {VIC}"]


def test_the_store_is_asked_for_every_registry_and_the_file_after_it(home: Home) -> None:
    home.helper("store", "echo credentials not found in native keychain; exit 1")
    home.write(".docker/config.json", {"credsStore": "store", "auths": {VIC: auth("file", "1")}})
    assert home.find() == Credential("file", "1")
    assert home.asked("store") == [f"get {VIC}"]


def test_a_helper_that_fails_is_quoted(home: Home) -> None:
    home.helper("vault", "echo vault is sealed; exit 1")
    home.write(".docker/config.json", {"credHelpers": {VIC: "vault"}})
    with pytest.raises(SettingsError, match=f"docker-credential-vault get {VIC} failed: vault is sealed"):
        home.find()


def test_a_helper_that_answers_nonsense_is_named_and_not_quoted(home: Home) -> None:
    home.helper("vault", """echo '{"Username": "bob", "Sekret": "pa55"}'""")
    home.write(".docker/config.json", {"credHelpers": {VIC: "vault"}})
    with pytest.raises(SettingsError, match="docker-credential-vault") as caught:
        home.find()
    assert "pa55" not in str(caught.value)


def test_a_helper_that_is_not_installed_is_named_with_the_file(home: Home) -> None:
    file = home.write(".docker/config.json", {"credsStore": "nowhere"})
    with pytest.raises(SettingsError, match=f"{file}: docker-credential-nowhere cannot be run"):
        home.find()


def test_a_helper_is_a_name_and_no_path(home: Home) -> None:
    home.write(".docker/config.json", {"credsStore": "x/../../evil"})
    with pytest.raises(SettingsError, match="not the name of a credential helper"):
        home.find()


def test_an_identity_token_is_refused_with_a_way_out(home: Home) -> None:
    home.write(".docker/config.json", {"auths": {VIC: {"identitytoken": "t0ken"}}})
    with pytest.raises(SettingsError, match="identity token") as caught:
        home.find()
    assert "t0ken" not in str(caught.value)
    home.helper("vault", says("<token>", "t0ken"))
    home.write(".docker/config.json", {"credHelpers": {VIC: "vault"}})
    with pytest.raises(SettingsError, match="identity token"):
        home.find()


def test_the_files_of_containers_are_read_after_dockers_in_their_order(home: Home) -> None:
    home.write(".config/containers/auth.json", {"auths": {VIC: auth("last", "1")}})
    assert home.find() == Credential("last", "1")
    home.write("run/containers/auth.json", {"auths": {VIC: auth("session", "2")}})
    home.environ["XDG_RUNTIME_DIR"] = str(home.folder / "run")
    assert home.find() == Credential("session", "2")
    home.environ["REGISTRY_AUTH_FILE"] = str(home.write("named.json", {"auths": {VIC: auth("named", "3")}}))
    assert home.find() == Credential("named", "3")
    home.write(".docker/config.json", {"auths": {VIC: auth("docker", "4")}})
    assert home.find() == Credential("docker", "4")


@pytest.mark.parametrize(
    ("content", "said"),
    [
        ("{", "not JSON: line 1"),
        ("[]", "not a JSON object"),
        ({"auths": [1]}, "auths is not an object"),
        ({"credHelpers": "x"}, "credHelpers is not an object"),
        ({"auths": {VIC: {"auth": "%%%"}}}, "not base64"),
        ({"auths": {VIC: {"auth": base64.b64encode(b"bob").decode()}}}, "not name:password"),
    ],
)
def test_a_file_that_is_wrong_is_named(home: Home, content: Any, said: str) -> None:
    file = home.write(".docker/config.json", content)
    with pytest.raises(SettingsError, match=said) as caught:
        home.find()
    assert str(file) in str(caught.value)


def test_an_entry_without_a_credential_is_nobody(home: Home) -> None:
    home.write(".docker/config.json", {"auths": {VIC: {}}})
    assert home.find() is None
    home.write(".docker/config.json", "")
    assert home.find() is None


def test_a_name_and_password_in_the_clear_are_taken(home: Home) -> None:
    home.write(".docker/config.json", {"auths": {VIC: {"username": "bob", "password": "1"}}})
    assert home.find() == Credential("bob", "1")
