"""What came with which version of Harbor.

>>> Gate("2.11.0").require("audit-ext", "read the audit log")
Traceback (most recent call last):
imagepipe.errors.UnsupportedError: read the audit log: needs Harbor ≥ 2.13, this is 2.11.0
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from imagepipe.errors import UnsupportedError

__all__ = ["FIRST", "SINCE", "Gate", "release"]

_RELEASE: Final = re.compile(r"v?(\d+)\.(\d+)")
# Source: the API descriptions and src/common/rbac/const.go of goharbor/harbor v2.0.0 … v2.15.2, compared tag by tag
SINCE: Final[Mapping[str, tuple[int, int]]] = {
    # What is below a project's name in a path; before, its number stood there. goharbor/harbor#13744, #13815
    "path:": (2, 2),
    "path:summary": (2, 2),
    "path:members": (2, 3),
    "path:immutabletagrules": (2, 3),
    "robots": (2, 2),  # /robots; before, robots were tokens below their project
    "require_cosign": (2, 5),  # enable_content_trust_cosign
    "require_notation": (2, 9),  # before, enable_content_trust asked Notary v1, which is gone
    "permissions": (2, 10),  # GET /permissions, and rights checked against it
    "auto_sbom": (2, 11),  # auto_sbom_generation
    "right:sbom": (2, 11),
    "right:quota": (2, 11),
    "right:robot": (2, 12),
    "right:member": (2, 12),
    "right:user": (2, 12),
    "right:user-group": (2, 12),
    "right:ldap-user": (2, 12),
    "project-artifacts": (2, 12),  # GET /projects/{p}/artifacts
    "audit-ext": (2, 13),  # auditlog-exts
    "cosign-bundle": (2, 15),  # a bundle counts as cosign's signature; before, as anything else that is attached
}
# Roles and settings that not every Harbor has, by our names. Source: the same, and goharbor/harbor v1.7.0, v1.8.0,
# v1.10.0 src/common/const.go
FIRST: Final[Mapping[str, str]] = {
    "maintainer": "1.8",
    "limitedGuest": "1.10",
    "reuse_system_cve_allowlist": "2.0",
    "storage_limit_bytes": "2.0",
    **{name: ".".join(map(str, SINCE[name])) for name in ("require_cosign", "require_notation", "auto_sbom")},
}


def release(version: str) -> tuple[int, int] | None:
    """Returns major and minor of a version, or None for one that names neither (`dev-5d4ff4b4`)."""
    found = _RELEASE.match(version)
    return (int(found[1]), int(found[2])) if found else None


@dataclass(frozen=True, slots=True)
class Gate:
    """What one Harbor can do, by its version; one that hides its version counts as the newest.

    Attributes:
        version: `2.15.2`.
    """

    version: str

    def has(self, feature: str) -> bool:
        """Tells whether this Harbor has the feature; what is not in the table was always there."""
        own = release(self.version)
        return own is None or feature not in SINCE or own >= SINCE[feature]

    def require(self, feature: str, what: str) -> None:
        """Lets pass what this Harbor has.

        Raises:
            UnsupportedError: It came later; the message says when.
        """
        if not self.has(feature):
            major, minor = SINCE[feature]
            raise UnsupportedError(
                f"{what}: needs Harbor ≥ {major}.{minor}, this is {self.version}",
                hint=f"ask for an upgrade to Harbor {major}.{minor} or newer, or do without",
            )
