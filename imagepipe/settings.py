"""Every setting with its unit, default and source, and where each value came from.

Order: flag > `IMAGEPIPE_…` (nested with `__`) > `HARBOR_…` and `DOCKER_…` > `--config` or the nearest `imagepipe.toml`
> `$XDG_CONFIG_HOME/imagepipe/config.toml` > default.

>>> settings = load_settings(flags={"registry": "vic.example"}, config_file=None, cwd=Path("/"), environ={"HOME": "/"})
>>> settings.harbor_url
'https://vic.example'
"""

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Final

from pydantic import Field, PrivateAttr, SecretStr, ValidationError

from imagepipe.errors import NotFoundError, SettingsError
from imagepipe.layers import (
    Layer,
    absolute,
    environment_layer,
    find_upwards,
    flags_layer,
    foreign_layer,
    home_folder,
    merge,
    one_password,
    place_of,
    read_toml,
)
from imagepipe.model.evidence import Approvals, BuildSource, Freeze, Identity, PublicKey, Signatory, Soak, TrustPolicy
from imagepipe.model.host import Target
from imagepipe.model.result import Credential
from imagepipe.model.scan import Waiver
from imagepipe.problems import Key, did_you_mean, dotted, problems_of
from imagepipe.sections import (
    BuildSettings,
    GroupMembers,
    HarborSettings,
    PolicySettings,
    Registry,
    Section,
    SignerSettings,
    SigningSettings,
    TargetSettings,
    Timeouts,
    is_host,
)

__all__ = [
    "BuildSettings",
    "HarborSettings",
    "PolicySettings",
    "Settings",
    "SignerSettings",
    "SigningSettings",
    "TargetSettings",
    "Timeouts",
    "cache_folder",
    "load_settings",
    "origins",
    "state_folder",
]

CONFIG_NAME: Final = "imagepipe.toml"
_PREFIX: Final = "IMAGEPIPE_"
# Names with our prefix that are no settings: --config itself, and what the sandbox keeps for itself.
_NOT_SETTINGS: Final = ("IMAGEPIPE_CONFIG", "IMAGEPIPE_SANDBOX")
_SECRET_FILE_BYTES: Final = 64 * 1024
_MASK: Final = "********"


class Settings(Section):
    """All settings."""

    registry: Registry | None = Field(
        default=None, description="host or host:port that images go to, as on a whitelist; default: none."
    )
    harbor: HarborSettings = Field(default_factory=HarborSettings)
    build: BuildSettings = Field(default_factory=BuildSettings)
    signing: SigningSettings = Field(default_factory=SigningSettings)
    targets: dict[str, TargetSettings] = Field(default={}, description="Hosts by name; `env` is Docker's variables.")
    groups: dict[str, GroupMembers] = Field(
        default={}, description="Names in [targets], by a name that stands for all of them wherever a target is named."
    )
    policies: dict[str, PolicySettings] = Field(default={}, description="Trust policies by name.")
    timeouts: Timeouts = Field(default_factory=Timeouts)

    _layers: Sequence[Layer] = PrivateAttr(default=())

    def model_post_init(self, context: Any) -> None:
        """Keeps the layers, so that each value's origin can be told."""
        self._layers = context or ()

    def require_registry(self) -> str:
        """Returns the registry.

        Raises:
            SettingsError: None is configured.
        """
        if self.registry is None:
            raise SettingsError(
                "no registry is configured", hint=f'write registry = "host" in {CONFIG_NAME}, or set IMAGEPIPE_REGISTRY'
            )
        return self.registry

    @property
    def harbor_url(self) -> str:
        """Harbor's base URL, without a slash at the end; raises SettingsError where none is known."""
        return self.harbor.url or f"https://{self.require_registry()}"

    def harbor_credential(self) -> Credential | None:
        """Returns the name and password of `[harbor]`, or None when neither is set.

        Raises:
            SettingsError: One is set without the other, or the password file is empty or unreadable.
            NotFoundError: The password file is not there.
        """
        name, password, file = self.harbor.username, self.harbor.password, self.harbor.password_file
        if name is None and password is None and file is None:
            return None
        if name is None:
            raise SettingsError("harbor: a password without a username", hint="set harbor.username or HARBOR_USERNAME")
        if password is not None:
            return Credential(name, password.get_secret_value())
        if file is None:
            raise SettingsError("harbor: a username without a password", hint="set harbor.password_file")
        return Credential(name, self._secret("harbor.password_file", file))

    def signing_password(self) -> str | None:
        """Returns the password of the signing key, or None where no file is named; raises as `harbor_credential`."""
        file = self.signing.password_file
        return None if file is None else self._secret("signing.password_file", file)

    def target(self, name: str) -> Target:
        """Returns the target of that name.

        Raises:
            NotFoundError: There is none.
        """
        found = self.targets.get(name)
        if found is None:
            raise NotFoundError(
                f"no target named {name!r}{did_you_mean(name, [*self.targets, *self.groups])}",
                hint="set DOCKER_HOST" if name == "env" else f"add [targets.{name}] to {CONFIG_NAME}",
            )
        cert_path = str(found.cert_path) if found.cert_path else None
        return Target(name, found.kind, found.host, cert_path, found.policy, found.pin, found.id)

    def members(self, names: Iterable[str]) -> tuple[str, ...]:
        """Returns the targets that the names of targets and groups stand for, each once, in their order."""
        return tuple(dict.fromkeys(one for name in names for one in self.groups.get(name, [name])))

    def policy(self, name: str) -> TrustPolicy:
        """Returns the policy of that name, its key files read.

        Raises:
            NotFoundError: There is none, or one of its key files is not there.
            SettingsError: A key file is empty or unreadable.
        """
        found = self.policies.get(name)
        if found is None:
            raise NotFoundError(
                f"no policy named {name!r}{did_you_mean(name, self.policies)}",
                hint=f"add [policies.{name}] to {CONFIG_NAME}",
            )
        signed_by = self._signatories(f"policies.{name}.signed_by", found.signed_by)
        approvers = found.approvals
        return TrustPolicy(
            name,
            signed_by,
            found.require_provenance,
            found.max_severity,
            only_fixable=found.only_fixable,
            max_scan_age_days=found.max_scan_age_days,
            waivers=tuple(Waiver(one.cve, one.owner, one.until) for one in found.waivers),
            provenance=BuildSource(found.provenance.source, found.provenance.branch) if found.provenance else None,
            require=tuple(dict.fromkeys(found.require)),
            after=Soak(self.members(found.after.targets), found.after.hours) if found.after else None,
            freezes=tuple(Freeze(one.since, one.until, one.why) for one in found.freeze),
            approvals=Approvals(self._signatories(f"policies.{name}.approvals.by", approvers.by), approvers.count)
            if approvers
            else None,
        )

    def origin(self, *key: str) -> str:
        """Returns where a key's value comes from: `imagepipe.toml:3`, a variable's name, `default`."""
        return place_of(self._layers, key) or "default"

    def _signatories(self, key: str, entries: Sequence[SignerSettings]) -> tuple[Signatory, ...]:
        return tuple(self._signatory(f"{key}.{index}", entry) for index, entry in enumerate(entries))

    def _signatory(self, key: str, entry: SignerSettings) -> Signatory:
        if entry.key is not None:
            return PublicKey(entry.key.stem, self._read(f"{key}.key", entry.key))
        assert entry.identity is not None
        assert entry.issuer is not None
        return Identity(entry.identity, entry.issuer)

    def _secret(self, key: str, file: Path) -> str:
        try:
            return self._read(key, file).decode().rstrip("\r\n")
        except UnicodeDecodeError:
            # The decoder's error holds the bytes, which are the secret.
            raise SettingsError(f"{key}: {file} is not UTF-8", hint="write the secret as text") from None

    def _read(self, key: str, file: Path) -> bytes:
        try:
            content = file.read_bytes()[:_SECRET_FILE_BYTES]
        except FileNotFoundError as error:
            raise NotFoundError(f"{key}: no such file: {file}", hint="check the path") from error
        except OSError as error:
            raise SettingsError(f"{key}: cannot read {file}: {error.strerror}", hint="check its permissions") from error
        if not content.strip():
            raise SettingsError(f"{key}: {file} is empty", hint="write the secret or key into it")
        return content


def load_settings(
    *, flags: Mapping[str, object], config_file: Path | None, cwd: Path, environ: Mapping[str, str]
) -> Settings:
    """Returns the settings of one command.

    Args:
        flags: Dotted keys and values from the command line; None is no value.
        config_file: What --config (or IMAGEPIPE_CONFIG) names, in place of the nearest `imagepipe.toml`.
        cwd: The working directory: the search starts here, and relative flags and variables stand against it.
        environ: The environment.

    Raises:
        SettingsError: Lists every problem as `file:line: key: what`, or with the variable in place of the file.
        NotFoundError: `config_file` is not there.
    """
    lower = [foreign_layer(environ, cwd, is_host=is_host), *_files(config_file, cwd, environ)]
    ours = environment_layer(Settings, environ, prefix=_PREFIX, base=cwd, known=merge(lower), ignore=_NOT_SETTINGS)
    layers = [flags_layer(flags, cwd), ours, *lower]
    if place_of(layers, ("targets", "env", "host")):
        # Docker's variables do not tell what listens there; an engine is what they were made for.
        layers.append(Layer("default", {"targets": {"env": {"kind": "docker"}}}, cwd))
    home = home_folder(environ)
    layers = one_password([absolute(Settings, layer, home) for layer in layers])
    try:
        settings = Settings.model_validate(merge(layers), context=layers)
    except ValidationError as error:
        found = [(problem.key, problem.what) for problem in problems_of(error, Settings)]
    else:
        found = list(_inconsistent(settings))
        if not found:
            return settings
    lines = [f"{_nearest(layers, key)}: {dotted(key)}: {what}" for key, what in found]
    raise SettingsError("\n".join(lines), hint="correct it" if len(lines) == 1 else "correct each of them")


def origins(settings: Settings) -> list[tuple[str, str, str]]:
    """Returns every setting as dotted key, value for display, and origin, in the order of the sections.

    A secret shows as asterisks, what is not set as nothing.
    """
    return [(dotted(key), _shown(value), settings.origin(*key)) for key, value in _leaves(settings.model_dump(), ())]


def _leaves(data: Mapping[str, Any], key: tuple[str, ...]) -> Iterator[tuple[tuple[str, ...], Any]]:
    for name, value in data.items():
        if isinstance(value, Mapping):
            yield from _leaves(value, (*key, name))
        else:
            yield (*key, name), value


def _shown(value: Any) -> str:
    if value is None:
        return ""
    if isinstance(value, SecretStr):
        return _MASK
    return str(value) if isinstance(value, str | Path) else json.dumps(value, default=str)


def _files(config_file: Path | None, cwd: Path, environ: Mapping[str, str]) -> Iterator[Layer]:
    named = config_file or environ.get("IMAGEPIPE_CONFIG")
    nearest = cwd / named if named else find_upwards(cwd, CONFIG_NAME)
    users = _users_folder(environ, "XDG_CONFIG_HOME", ".config") / "config.toml"
    for path in (nearest, users if _is_there(users) else None):
        if path is not None:
            yield read_toml(path, str(path.relative_to(cwd)) if path.is_relative_to(cwd) else str(path))


def state_folder(environ: Mapping[str, str]) -> Path:
    """Returns where things are kept between runs for this user on this machine; it need not be there."""
    return _users_folder(environ, "XDG_STATE_HOME", ".local/state")


def cache_folder(environ: Mapping[str, str]) -> Path:
    """Returns where things are kept that may be lost, for this user on this machine; it need not be there."""
    return _users_folder(environ, "XDG_CACHE_HOME", ".cache")


def _is_there(users: Path) -> bool:
    try:
        return users.is_file()
    except OSError as error:
        # A job that runs as another user than its HOME belongs to: what that user configured must not be left out.
        raise SettingsError(
            f"{users}: cannot be read: {error.strerror}",
            hint="let HOME or XDG_CONFIG_HOME name a folder of the user who runs this",
        ) from error


def _users_folder(environ: Mapping[str, str], variable: str, default: str) -> Path:
    """Returns our folder among a user's.

    Source: XDG Base Directory Specification 0.8: a relative path is to be ignored.
    """
    base = environ.get(variable, "")
    return (Path(base) if base.startswith("/") else home_folder(environ) / default) / "imagepipe"


def _inconsistent(settings: Settings) -> Iterator[tuple[Key, str]]:
    """Yields what no single value shows: names of things that are not there, keys that are missing together."""
    for name, target in settings.targets.items():
        if target.policy is not None and target.policy not in settings.policies:
            near = did_you_mean(target.policy, settings.policies)
            yield ("targets", name, "policy"), f"no policy named {target.policy!r}{near}"
    for name, policy in settings.policies.items():
        for other in policy.after.targets if policy.after else ():
            if other not in settings.targets and other not in settings.groups:
                near = did_you_mean(other, [*settings.targets, *settings.groups])
                yield ("policies", name, "after", "targets"), f"no target named {other!r}{near}"
    for name, members in settings.groups.items():
        yield from ((("groups", name), what) for what in _odd_group(name, members, settings))
    if settings.signing.mode == "key" and settings.signing.key is None and settings.signing.public_key is None:
        yield ("signing", "mode"), "key needs signing.key to sign, or signing.public_key to verify"


def _odd_group(name: str, members: Sequence[str], settings: Settings) -> Iterator[str]:
    if name in settings.targets:
        yield f"a target is called {name!r} too; rename one of them"
    for other in dict.fromkeys(members):
        if other in settings.groups and other not in settings.targets:
            yield f"{other!r} is a group: name its targets"
        elif other not in settings.targets:
            yield f"no target named {other!r}{did_you_mean(other, settings.targets)}"
        if members.count(other) > 1:
            yield f"target {other!r} is named twice"


def _nearest(layers: Sequence[Layer], key: Key) -> str:
    places = (place_of(layers, key[:length]) for length in range(len(key), 0, -1))
    return next((place for place in places if place is not None), "settings")
