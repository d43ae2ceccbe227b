"""The whole exception tree, with the exit code that each branch ends in.

    ImagepipeError                      1   a bug, unless a branch below says otherwise
    ├── UsageError                      2   the command line makes no sense
    ├── InputError                      3   a file or setting is wrong (names file, line, field)
    │   └── SettingsError
    ├── NotFoundError                   4   an image, project, target or file that is not there
    ├── AccessError                     5   401/403, expired identity, wrong client certificate
    │   ├── CredentialsError                the other side does not know us
    │   ├── PermissionRefusedError          it knows us and says no
    │   └── IdentityError                   a signing identity that is missing, expired or not accepted
    ├── RefusedError                    6   everything worked and the answer is no
    │   ├── DigestMismatchError
    │   ├── VerificationError               no evidence satisfies the policy
    │   ├── GateError
    │   ├── HostChangedError                another certificate or id than the target is pinned to
    │   └── UnsupportedError                this Harbor, VCH or engine cannot do it
    ├── BuildError                      7
    ├── UnavailableError                8   the other side broke or is away, after retries
    │   ├── DeadlineError
    │   └── StorageFullError                its disk is full: trying again does not help
    ├── DriftError                      9   drift, pending changes
    │   └── StalePlanError                  a plan that no longer matches the world
    ├── PartialError                    10  some targets done, some not
    └── InterruptedByUserError          130

Foreign exceptions stop at their adapter and become one of these.

    >>> NotFoundError("tag 1.4 is not in es-sandbox/hello", hint="list its tags").exit_code
    4
"""

from collections.abc import Mapping
from typing import ClassVar

__all__ = [
    "AccessError",
    "BuildError",
    "CredentialsError",
    "DeadlineError",
    "DigestMismatchError",
    "DriftError",
    "GateError",
    "HostChangedError",
    "IdentityError",
    "ImagepipeError",
    "InputError",
    "InterruptedByUserError",
    "NotFoundError",
    "PartialError",
    "PermissionRefusedError",
    "RefusedError",
    "SettingsError",
    "StalePlanError",
    "StorageFullError",
    "UnavailableError",
    "UnsupportedError",
    "UsageError",
    "VerificationError",
]


class ImagepipeError(Exception):
    """Anything imagepipe can say about a failure: a message, and one imperative hint.

    Args:
        message: What we were doing, to what, and what the other side said.
        hint: One thing the reader can do about it.
        cause: Why the other side said so, where it was asked: `kind`, `message` and `fix`.
    """

    exit_code: ClassVar[int] = 1
    kind: ClassVar[str] = "internal"

    def __init__(self, message: str, *, hint: str | None = None, cause: Mapping[str, str] | None = None) -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint
        self.cause = cause

    def doing(self, what: str) -> "ImagepipeError":
        """Returns this error with what we were doing put in front, same class and hint."""
        clone = type(self)(f"{what}: {self.message}", hint=self.hint, cause=self.cause)
        clone.__cause__ = self
        return clone


class UsageError(ImagepipeError):
    """The command line makes no sense."""

    exit_code = 2
    kind = "usage"


class InputError(ImagepipeError):
    """A file that a user wrote is wrong; the message starts with `file:line`."""

    exit_code = 3
    kind = "input"


class SettingsError(InputError):
    """A setting is missing or wrong, wherever it came from."""

    kind = "settings"


class NotFoundError(ImagepipeError):
    """The thing that was named does not exist."""

    exit_code = 4
    kind = "not_found"


class AccessError(ImagepipeError):
    """The other side refused us."""

    exit_code = 5
    kind = "access"


class CredentialsError(AccessError):
    """Wrong, missing or expired credentials or client certificate."""

    kind = "credentials"


class PermissionRefusedError(AccessError):
    """Known to the other side, but without the right."""

    kind = "permission"


class IdentityError(AccessError):
    """The identity to sign with is missing, expired or not accepted."""

    kind = "identity"


class RefusedError(ImagepipeError):
    """Everything worked and the answer is no."""

    exit_code = 6
    kind = "refused"


class DigestMismatchError(RefusedError):
    """Bytes that are not what their digest says, or a tag that moved."""

    kind = "digest_mismatch"


class VerificationError(RefusedError):
    """No evidence on the image satisfies the policy."""

    kind = "verification"


class GateError(RefusedError):
    """A gate said no before any target was touched."""

    kind = "gate"


class HostChangedError(RefusedError):
    """A target shows another certificate, or calls itself something else, than what it is pinned to."""

    kind = "host_changed"


class UnsupportedError(RefusedError):
    """This Harbor, VCH or engine cannot do what was asked."""

    kind = "unsupported"


class BuildError(ImagepipeError):
    """The image did not build."""

    exit_code = 7
    kind = "build"


class UnavailableError(ImagepipeError):
    """The other side broke or is away, after retries."""

    exit_code = 8
    kind = "unavailable"


class DeadlineError(UnavailableError):
    """The other side did not answer in time."""

    kind = "deadline"


class StorageFullError(UnavailableError):
    """The other side's disk is full; trying again does not help."""

    kind = "storage_full"


class DriftError(ImagepipeError):
    """The world differs from what was promised, or changes are pending."""

    exit_code = 9
    kind = "drift"


class StalePlanError(DriftError):
    """A plan that no longer matches the world it was made for."""

    kind = "stale_plan"


class PartialError(ImagepipeError):
    """Some targets or members done, some not."""

    exit_code = 10
    kind = "partial"


class InterruptedByUserError(ImagepipeError):
    """The user pressed Ctrl-C."""

    exit_code = 130
    kind = "interrupted"
