"""A host that becomes a target: what answers at an address, so that somebody can say yes to it.

>>> introduce.__name__
'introduce'
"""

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any, Final

from imagepipe.doctor.targets import Patient
from imagepipe.errors import CredentialsError, InputError, UnavailableError
from imagepipe.model.certificate import Certificate
from imagepipe.model.host import HostInfo, Target, TargetKind

__all__ = ["Introduction", "check_name", "introduce"]

_NAME: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,62}")
# What Docker's own variables are called. Source: interface of `settings`.
_RESERVED: Final = ("env",)


@dataclass(frozen=True, slots=True)
class Introduction:
    """What answered, and how it is to be written down."""

    target: Target
    info: HostInfo
    certificate: Certificate | None

    def settings(self) -> Mapping[str, str | None]:
        """Returns the keys of `[targets.NAME]`; None for one that has no place in it."""
        return {
            "kind": self.target.kind.value,
            "host": self.target.host,
            "cert_path": self.target.cert_path,
            "policy": self.target.policy,
            "pin": self.target.pin,
            "id": self.target.host_id,
        }

    def to_json(self) -> dict[str, Any]:
        """Returns the introduction as a JSON object."""
        shown = self.certificate
        return {
            "name": self.target.name,
            **self.settings(),
            "answers": {"name": self.info.name, "version": self.info.version, "api_version": self.info.api_version},
            "certificate": {
                "subject": shown.subject,
                "issuer": shown.issuer,
                "names": list(shown.names),
                "valid_until": f"{shown.not_after:%Y-%m-%dT%H:%M:%SZ}",
                "fingerprint": shown.fingerprint,
            }
            if shown
            else None,
        }


def check_name(name: str) -> str:
    """Returns a name that a target can have.

    Raises:
        InputError: It cannot.
    """
    if not _NAME.fullmatch(name) or name in _RESERVED:
        raise InputError(
            f"not a name for a target: {name[:80]!r}",
            hint="use letters, digits, . _ and -; `env` is Docker's variables",
        )
    return name


def introduce(
    name: str, host: str, cert_path: str | None, policy: str | None, connect: Callable[[Target], Patient]
) -> Introduction:
    """Returns what answers at an address; what it says of itself comes over a connection with the certificate shown.

    Raises:
        CredentialsError: Its certificate is not good, or it refuses ours.
        SettingsError: It is no address, or our files are not usable.
        UnavailableError: Nobody answers, or it says nothing that could be held against it later.
    """
    # The kind is what is to be found out, and plays no part in connecting.
    target = Target(name, TargetKind.VCH, host, cert_path, policy)
    look = connect(target).inspector.tls()
    if look is not None:
        if look.fault is not None or look.certificate is None:
            raise CredentialsError(f"{host}: {look.fault or 'shows no certificate'}", hint=look.hint)
        target = replace(target, pin=look.certificate.fingerprint)
    try:
        info = connect(target).host.info()
    except UnavailableError as error:
        if look is None and host.startswith("tcp:"):
            hint = "check the address; where it speaks TLS, as a VCH does, name its certificates with --cert-path"
            raise UnavailableError(error.message, hint=hint) from error
        raise
    if not info.host_id:
        raise UnavailableError(f"{host}: does not say what it is called", hint="check what answers at this address")
    return Introduction(
        replace(target, kind=info.kind, host_id=info.host_id), info, look.certificate if look is not None else None
    )
