"""Our names of project settings against Harbor's metadata, whose values are all texts.

>>> from_metadata({"public": "true"}, Gate("2.15.2"))["public"]
True
"""

from collections.abc import Mapping
from typing import Final

from imagepipe.errors import InputError, UnsupportedError
from imagepipe.harbor.features import Gate
from imagepipe.model.access import PROJECT_SETTINGS

__all__ = ["STORAGE", "Setting", "checked", "from_metadata", "known_settings", "to_metadata"]

Setting = bool | str | int
STORAGE: Final = "storage_limit_bytes"
# Source: goharbor/harbor v2.15.2 api/v2.0/swagger.yaml (ProjectMetadata)
_KEYS: Final[Mapping[str, str]] = {
    "public": "public",
    "auto_scan": "auto_scan",
    "auto_sbom": "auto_sbom_generation",
    "prevent_vulnerable": "prevent_vul",
    "max_severity": "severity",
    "require_cosign": "enable_content_trust_cosign",
    "require_notation": "enable_content_trust",
    "reuse_system_cve_allowlist": "reuse_sys_cve_allowlist",
}
# What Harbor does where the key is missing. Source: goharbor/harbor v2.15.2 src/pkg/project/models/project.go
_TRUE_BY_DEFAULT: Final = ("reuse_system_cve_allowlist",)
_SEVERITIES: Final = ("none", "low", "medium", "high", "critical")
# 1024 TB. Source: goharbor/harbor v2.15.2 src/pkg/quota/types/resources.go (MaxLimitedValue)
_MAX_BYTES: Final = 1024**5


def known_settings(gate: Gate) -> tuple[str, ...]:
    """Returns the settings that this version knows."""
    return tuple(name for name in PROJECT_SETTINGS if gate.has(name))


def checked(settings: Mapping[str, Setting], gate: Gate, what: str) -> None:
    """Lets settings pass that can be set: Harbor itself drops or keeps nonsense without a word.

    Raises:
        UnsupportedError: There is no such setting, or this version does not know it.
        InputError: A value is not of the setting's kind.
    """
    for name, value in settings.items():
        kind = PROJECT_SETTINGS.get(name)
        if kind is None:
            raise UnsupportedError(f"{what}: no setting named {name!r}", hint=f"use {', '.join(PROJECT_SETTINGS)}")
        gate.require(name, f"{what}: {name}")
        if type(value) is not kind:
            raise InputError(f"{what}: {name} is {value!r}", hint=f"give it as {_KIND_WORDS[kind]}")
        if name == "max_severity" and value not in _SEVERITIES:
            raise InputError(f"{what}: {name} is {value!r}", hint=f"use one of {', '.join(_SEVERITIES)}")
        if isinstance(value, int) and name == STORAGE and value != -1 and not 0 < value <= _MAX_BYTES:
            raise InputError(f"{what}: {name} is {value}", hint="give bytes up to 1024 TB, or -1 for no limit")


_KIND_WORDS: Final[Mapping[type, str]] = {bool: "true or false", int: "a number of bytes", str: "a word"}


def to_metadata(settings: Mapping[str, Setting]) -> dict[str, str]:
    """Returns Harbor's metadata for settings; the storage limit is no metadata."""
    return {_KEYS[name]: _text(value) for name, value in settings.items() if name in _KEYS}


def from_metadata(metadata: Mapping[str, str], gate: Gate) -> dict[str, Setting]:
    """Returns the settings that metadata mean, with what Harbor takes for granted where a key is missing."""
    settings: dict[str, Setting] = {}
    for name in known_settings(gate):
        if name not in _KEYS:
            continue
        text = metadata.get(_KEYS[name])
        if PROJECT_SETTINGS[name] is bool:
            settings[name] = name in _TRUE_BY_DEFAULT if text is None else text.lower() in ("true", "1")
        elif text:
            settings[name] = text.lower()
    return settings


def _text(value: Setting) -> str:
    return str(value).lower() if isinstance(value, bool) else str(value)
