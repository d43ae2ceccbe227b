"""Where trust in keyless signatures comes from: a file of a private Sigstore, or the public one.

>>> SigstoreTrust.load("public").name
'the public Sigstore'
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Final

from imagepipe.errors import SettingsError

__all__ = ["PUBLIC", "SigstoreTrust"]

PUBLIC: Final = "public"
# Source: protobuf-specs sigstore_trustroot.proto; sigstore-python 4.5.1 sigstore/models.py knows no others.
_CLIENT_TRUST_CONFIG: Final = "application/vnd.dev.sigstore.clienttrustconfig.v0.1+json"
_TRUSTED_ROOT: Final = "application/vnd.dev.sigstore.trustedroot+json;version=0.1"
_SIGNING_CONFIG: Final = "application/vnd.dev.sigstore.signingconfig.v0.2+json"


@dataclass(frozen=True, slots=True)
class SigstoreTrust:
    """The keys and certificates that a keyless signature must lead back to, and the services that make one.

    Attributes:
        name: The file, or `the public Sigstore`, for messages.
        document: The client trust config; its `signingConfig` may be missing, then it serves verification only.
            None: the public Sigstore, by its TUF repository.
        offline: Whether the public Sigstore's keys are taken as they are on this machine, without a refresh.
        refresh_timeout_s: Longest wait for that refresh, a handful of small files, in seconds.
    """

    name: str
    document: Mapping[str, Any] | None = field(repr=False, hash=False)
    offline: bool = False
    refresh_timeout_s: float = 60.0

    @classmethod
    def load(cls, source: str | Path | None) -> "SigstoreTrust":
        """Returns the trust that a setting names: a file, or `public` (also None).

        Raises:
            SettingsError: The file cannot be read, or is neither a client trust config nor a trusted root.
        """
        if source is None or str(source) == PUBLIC:
            return cls("the public Sigstore", None)
        path = Path(source).expanduser()
        try:
            data = json.loads(path.read_bytes())
        except OSError as error:
            raise SettingsError(f"{path}: cannot read the Sigstore trust file: {error.strerror}") from error
        except (ValueError, RecursionError) as error:
            raise SettingsError(f"{path}: the Sigstore trust file is not JSON: {error}") from error
        return cls(str(path), _client_trust_config(str(path), data))

    def without_refresh(self) -> "SigstoreTrust":
        """Returns the same trust, taken from this machine only."""
        return replace(self, offline=True)

    def for_signing(self) -> Mapping[str, Any] | None:
        """Returns the client trust config, or None for the public Sigstore.

        Raises:
            SettingsError: The file names no services to sign with.
        """
        if self.document is not None and "signingConfig" not in self.document:
            raise SettingsError(
                f"{self.name}: a trusted root serves verification only; signing needs a client trust config",
                hint="set signing.trust_config to the ClientTrustConfig JSON of your Sigstore",
            )
        return self.document


def _client_trust_config(name: str, data: Any) -> Mapping[str, Any]:
    kind = _media_type(data)
    if kind == _TRUSTED_ROOT:
        return {"mediaType": _CLIENT_TRUST_CONFIG, "trustedRoot": _with_base_urls(data)}
    if kind != _CLIENT_TRUST_CONFIG:
        raise SettingsError(
            f"{name}: unknown kind of Sigstore trust file: mediaType {kind!r}",
            hint=f"give a ClientTrustConfig ({_CLIENT_TRUST_CONFIG}) or a trusted root ({_TRUSTED_ROOT})",
        )
    for part, expected in (("trustedRoot", _TRUSTED_ROOT), ("signingConfig", _SIGNING_CONFIG)):
        if (found := _media_type(data.get(part))) != expected:
            raise SettingsError(f"{name}: {part} has mediaType {found!r}; only {expected} is understood")
    return {**data, "trustedRoot": _with_base_urls(data["trustedRoot"])}


def _media_type(data: object) -> str | None:
    found = data.get("mediaType") if isinstance(data, dict) else None
    return found[:120] if isinstance(found, str) else None


def _with_base_urls(root: Mapping[str, Any]) -> Mapping[str, Any]:
    """Fills `baseUrl`, which sigstore-python demands and never calls when verifying.

    Source: cosign v2.5.0 `cosign trusted-root create` writes none
    """
    filled = {key: [_with_base_url(log) for log in root[key]] for key in ("tlogs", "ctlogs") if _is_list(root.get(key))}
    return {**root, **filled}


def _with_base_url(log: object) -> object:
    return {"baseUrl": "", **log} if isinstance(log, dict) else log


def _is_list(value: object) -> bool:
    return isinstance(value, list)
