"""Our names of project settings against the metadata of Harbor 1.x.

>>> from_metadata({"severity": "negligible"})["max_severity"]
'none'
"""

from collections.abc import Mapping
from typing import Final

from imagepipe.errors import InputError, UnsupportedError
from imagepipe.harbor.features import SINCE, release
from imagepipe.model.access import PROJECT_SETTINGS

__all__ = ["KNOWN", "SEVERITIES", "Setting", "checked", "from_metadata", "to_metadata"]

Setting = bool | str | int
# Source: goharbor/harbor v1.7.8 src/common/models/pro_meta.go. enable_content_trust is there too, and asks Notary v1.
_KEYS: Final[Mapping[str, str]] = {
    "public": "public",
    "auto_scan": "auto_scan",
    "prevent_vulnerable": "prevent_vul",
    "max_severity": "severity",
}
KNOWN: Final = tuple(_KEYS)
# Ours, and Harbor's word. Source: same file; critical: v1.10.0 src/core/api/metadata.go
SEVERITIES: Final[Mapping[str, str]] = {"none": "negligible", "low": "low", "medium": "medium", "high": "high"}
_CRITICAL_SINCE: Final = (1, 10)
_KIND_WORDS: Final[Mapping[type, str]] = {bool: "true or false", str: "a word"}
_NEWER: Final = (2, 0)


def checked(settings: Mapping[str, Setting], version: str, what: str) -> None:
    """Lets settings pass that Harbor 1.x knows: it would store nonsense without a word.

    Raises:
        UnsupportedError: A setting or severity that came later; the message says when.
        InputError: A value is not of the setting's kind.
    """
    for name, value in settings.items():
        if name not in PROJECT_SETTINGS:
            raise UnsupportedError(f"{what}: no setting named {name!r}", hint=f"use {', '.join(KNOWN)}")
        if name not in KNOWN:
            major, minor = SINCE.get(name, _NEWER)
            raise UnsupportedError(
                f"{what}: {name} needs Harbor ≥ {major}.{minor}, this is {version}", hint=f"use {', '.join(KNOWN)}"
            )
        kind = PROJECT_SETTINGS[name]
        if type(value) is not kind:
            raise InputError(f"{what}: {name} is {value!r}", hint=f"give it as {_KIND_WORDS[kind]}")
        if name == "max_severity":
            _check_severity(str(value), version, what)


def _check_severity(value: str, version: str, what: str) -> None:
    if value in SEVERITIES:
        return
    if value != "critical":
        raise InputError(f"{what}: max_severity is {value!r}", hint=f"use one of {', '.join(SEVERITIES)}")
    if (release(version) or (1, 0)) < _CRITICAL_SINCE:
        raise UnsupportedError(
            f"{what}: max_severity critical needs Harbor ≥ 1.10, this is {version}",
            hint=f"use one of {', '.join(SEVERITIES)}",
        )


def to_metadata(settings: Mapping[str, Setting]) -> dict[str, str]:
    """Returns Harbor's metadata for settings; every value is a text."""
    return {_KEYS[name]: _text(value) for name, value in settings.items()}


def from_metadata(metadata: Mapping[str, str]) -> dict[str, Setting]:
    """Returns the settings that metadata mean; a flag that is missing is off."""
    ours = {theirs: own for own, theirs in SEVERITIES.items()}
    settings: dict[str, Setting] = {}
    for name, key in _KEYS.items():
        text = metadata.get(key, "").lower()
        if PROJECT_SETTINGS[name] is bool:
            settings[name] = text in ("true", "1")
        elif text:
            settings[name] = ours.get(text, text)
    return settings


def _text(value: Setting) -> str:
    return str(value).lower() if isinstance(value, bool) else SEVERITIES.get(str(value), str(value))
