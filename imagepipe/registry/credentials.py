"""Finds who we are at a registry: given values, Docker's `config.json`, containers' `auth.json`, or nobody.

>>> given = {"vic.example": Credential("robot$ci", "secret")}
>>> RegistryCredentials(given, environ={}, home=Path("/nowhere")).for_registry("vic.example")
Credential(username='robot$ci')
"""

import base64
import json
import os
import re
import subprocess
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Final

from imagepipe.errors import DeadlineError, SettingsError
from imagepipe.http.redact import redact
from imagepipe.model.result import Credential

__all__ = ["RegistryCredentials"]

_HELPER_TIMEOUT_S: Final = 30.0  # a helper may ask a keychain or a cloud
_HELPER_NAME: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*")
# Source: docker-credential-helpers v0.8 credentials/error.go
_NOT_FOUND: Final = "credentials not found in native keychain"
_HUB_NAMES: Final = ("docker.io", "index.docker.io", "registry-1.docker.io")
# Source: docker/cli cli/config/configfile; Docker keeps its own registry under the address of the old API
_HUB_KEY: Final = "https://index.docker.io/v1/"
# Source: docker-credential-helpers README "Development": this name marks an identity token
_IDENTITY_MARK: Final = "<token>"


class RegistryCredentials:
    """Keeps the port `CredentialSource`: the first source that knows the registry speaks.

    Args:
        given: Credentials by registry that come before every file.
        environ: Where `DOCKER_CONFIG`, `REGISTRY_AUTH_FILE`, `XDG_RUNTIME_DIR`, `XDG_CONFIG_HOME` and `PATH` are read.
        home: The user's home folder.
    """

    def __init__(
        self,
        given: Mapping[str, Credential] | None = None,
        *,
        environ: Mapping[str, str] | None = None,
        home: Path | None = None,
    ) -> None:
        self._given = dict(given or {})
        self._environ = dict(os.environ if environ is None else environ)
        self._home = home if home is not None else Path.home()

    def for_registry(self, registry: str) -> Credential | None:
        """Returns the credential for `host[:port]`, or None for anonymous.

        Raises:
            SettingsError: A file or helper is broken; the message names it.
            DeadlineError: A helper does not answer.
        """
        if registry in self._given:
            return self._given[registry]
        for file in self._files():
            found = self._from_file(file, registry)
            if found is not None:
                return found
        return None

    def _files(self) -> Iterator[Path]:
        """Yields the files in order. Source: docker/cli config.Dir; containers-auth.json(5)."""
        yield self._folder("DOCKER_CONFIG", self._home / ".docker") / "config.json"
        if self._environ.get("REGISTRY_AUTH_FILE"):
            yield Path(self._environ["REGISTRY_AUTH_FILE"])
            return
        if self._environ.get("XDG_RUNTIME_DIR"):
            yield Path(self._environ["XDG_RUNTIME_DIR"]) / "containers" / "auth.json"
        yield self._folder("XDG_CONFIG_HOME", self._home / ".config") / "containers" / "auth.json"

    def _folder(self, variable: str, default: Path) -> Path:
        return Path(self._environ[variable]) if self._environ.get(variable) else default

    def _from_file(self, file: Path, registry: str) -> Credential | None:
        data = _read(file)
        helpers = _table(data, "credHelpers", file)
        helper = next((helpers[key] for key in _keys(registry) if key in helpers), None) or data.get("credsStore")
        if helper:
            found = self._from_helper(str(helper), _HUB_KEY if registry in _HUB_NAMES else registry, file)
            if found is not None:
                return found
        for key, entry in _table(data, "auths", file).items():
            if _host(key) in _keys(registry) and isinstance(entry, dict):
                return _from_entry(entry, key, file)
        return None

    def _from_helper(self, name: str, server: str, file: Path) -> Credential | None:
        """Asks a credential helper: the server on its stdin, JSON on its stdout.

        Source: docker-credential-helpers v0.8 credentials/credentials.go
        """
        if not _HELPER_NAME.fullmatch(name):
            raise SettingsError(f"{file}: not the name of a credential helper: {name[:80]!r}")
        program = f"docker-credential-{name}"
        try:
            done = subprocess.run(
                [program, "get"],
                input=server.encode(),
                capture_output=True,
                timeout=_HELPER_TIMEOUT_S,
                check=False,
                env=self._environ,
            )
        except subprocess.TimeoutExpired as error:
            raise DeadlineError(f"{program} get {server}: no answer within {_HELPER_TIMEOUT_S:g} s") from error
        except OSError as error:
            raise SettingsError(
                f"{file}: {program} cannot be run: {error.strerror}",
                hint="install the helper, or take it out of the file",
            ) from error
        if done.returncode != 0:
            # By the protocol a helper says on stdout why it failed.
            said = redact((done.stdout + b" " + done.stderr).decode(errors="replace").strip())
            if _NOT_FOUND in said:
                return None
            raise SettingsError(f"{program} get {server} failed: {said[:200]}", hint="log in again with docker login")
        return _from_helper_answer(done.stdout, program, server)


def _read(file: Path) -> dict[str, Any]:
    try:
        data = json.loads(file.read_bytes() or b"{}")
    except (FileNotFoundError, NotADirectoryError):
        return {}
    except OSError as error:
        raise SettingsError(f"{file}: cannot be read: {error.strerror}") from error
    except ValueError as error:
        raise SettingsError(f"{file}: not JSON: {_place(error)}", hint="repair the file or log in again") from error
    if not isinstance(data, dict):
        raise SettingsError(f"{file}: not a JSON object", hint="repair the file or log in again")
    return data


def _place(error: ValueError) -> str:
    return f"line {error.lineno}: {error.msg}" if isinstance(error, json.JSONDecodeError) else "not UTF-8"


def _table(data: Mapping[str, Any], name: str, file: Path) -> dict[str, Any]:
    table = data.get(name) or {}
    if not isinstance(table, dict):
        raise SettingsError(f"{file}: {name} is not an object", hint="repair the file or log in again")
    return table


def _keys(registry: str) -> tuple[str, ...]:
    return (*_HUB_NAMES, _HUB_KEY) if registry in _HUB_NAMES else (registry,)


def _host(key: str) -> str:
    """Returns the host of a key such as `https://host/v1/`; a path without a scheme is a namespace, and stays.

    Source: docker/cli cli/config/credentials/file_store.go ConvertToHostname; containers-auth.json(5)
    """
    _, scheme, rest = key.partition("://")
    return rest.partition("/")[0] if scheme else key.rstrip("/")


def _from_entry(entry: Mapping[str, Any], key: str, file: Path) -> Credential | None:
    if entry.get("identitytoken"):
        raise _identity_token(f"{file}: {key}")
    if entry.get("auth"):
        try:
            username, colon, password = base64.b64decode(str(entry["auth"]), validate=True).decode().partition(":")
        except ValueError as error:
            raise SettingsError(
                f"{file}: auth of {key} is not base64", hint="log in again with docker login"
            ) from error
        if not colon:
            raise SettingsError(f"{file}: auth of {key} is not name:password", hint="log in again with docker login")
        # Docker pads the password with NUL. Source: docker/cli cli/config/configfile/file.go decodeAuth
        return Credential(username, password.strip("\x00"))
    if entry.get("username"):
        return Credential(str(entry["username"]), str(entry.get("password") or ""))
    return None


def _from_helper_answer(stdout: bytes, program: str, server: str) -> Credential | None:
    try:
        data = json.loads(stdout)
        username, password = str(data["Username"]), str(data["Secret"])
    except (ValueError, KeyError, TypeError) as error:
        # The answer may hold a secret: it is not shown, and neither is the error's own text.
        raise SettingsError(f"{program} get {server} answered with something else than a credential") from error
    if username == _IDENTITY_MARK:
        raise _identity_token(f"{program} get {server}")
    return Credential(username, password) if username else None


def _identity_token(where: str) -> SettingsError:
    return SettingsError(
        f"{where}: an identity token, which cannot be used here",
        hint="log in with a user name and password, or with a robot account",
    )
