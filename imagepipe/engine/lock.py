"""A lock kept on a VCH or an engine itself, as a volume whose labels name the holder.

An engine answers a second creation with the volume that is there, a VCH refuses it: either way one of two wins.
Source: moby v20.10.24 volume/service/store.go (Create is idempotent under the name's lock); VIC v1.5.8
lib/portlayer/storage/volume/cache/cache.go:123 (looked up and created under one lock).

>>> EngineLock.__name__
'EngineLock'
"""

import re
from collections.abc import Mapping
from typing import Any, Final

from imagepipe.engine.client import Endpoint
from imagepipe.errors import CredentialsError, ImagepipeError, NotFoundError, UnsupportedError
from imagepipe.model.host import TargetKind
from imagepipe.model.lock import Holder

__all__ = ["VOLUME", "EngineLock"]

VOLUME: Final = "imagepipe-lock"
_PATH: Final = f"/volumes/{VOLUME}"
# Both kinds have a driver of this name; a VCH refuses to go without one.
# Source: VIC v1.5.8 lib/apiservers/engine/proxy/storage_proxy.go:93-98.
_DRIVER: Final = "local"
# The smallest that VIC's own tests make. Source: VIC v1.5.8 tests/test-cases/Group1-Docker-Commands/1-19.
_CAPACITY: Final = {"Capacity": "2MB"}
# Source: VIC v1.5.8 lib/apiservers/engine/proxy/storage_proxy.go:119.
_EXISTS: Final = re.compile(r"volume named \S+ already exists", re.IGNORECASE)


class EngineLock:
    """Keeps the port `HostLock` on one host.

    Args:
        endpoint: Its address.
        kind: What it is: a VCH makes a disk of a volume, and is told how small.
    """

    def __init__(self, endpoint: Endpoint, kind: TargetKind) -> None:
        self._endpoint = endpoint
        self._options = _CAPACITY if kind is TargetKind.VCH else {}

    def take(self, holder: Holder) -> Holder | None:
        """Returns who holds the lock now: this holder, or who was there before; None while that cannot be told.

        Raises:
            UnsupportedError: The host answers, and keeps no volumes for us.
            AccessError, UnavailableError: It refuses us, or is away.
        """
        body = {"Name": VOLUME, "Driver": _DRIVER, "DriverOpts": self._options, "Labels": holder.labels()}
        try:
            found = _holder(self._endpoint.post("/volumes/create", body=body))
        except ImagepipeError as error:
            if _EXISTS.search(error.message):
                return self.holder()
            if self._is_away(error):
                raise error.doing("lock it") from error
            raise UnsupportedError(f"it keeps no volumes for us: {error.message}", hint=error.hint) from error
        # Of a volume that is older than its engine's last start, this answer tells no labels; the inspection does.
        # Source: moby v20.10.24 volume/service/restore.go, store.go (create, Get).
        return found if found.nonce == holder.nonce else self.holder()

    def holder(self) -> Holder | None:
        """Returns who holds the lock, or None when nobody does.

        Raises:
            AccessError, UnavailableError: The host refuses us, or is away.
        """
        try:
            return _holder(self._endpoint.get(_PATH))
        except NotFoundError:
            return None
        except ImagepipeError as error:
            raise error.doing("look at its lock") from error

    def release(self, nonce: str) -> Holder | None:
        """Lets go of the lock that bears this nonce; returns who else holds it, when it is not ours any more.

        Raises:
            AccessError, RefusedError, UnavailableError: The host says no, or is away.
        """
        found = self.holder()
        if found is None:
            return None
        if found.nonce != nonce:
            return found
        try:
            self._endpoint.delete(_PATH)
        except NotFoundError:
            return None
        except ImagepipeError as error:
            raise error.doing("release its lock") from error
        return None

    def _is_away(self, error: ImagepipeError) -> bool:
        """Tells whether the host itself was not reached; its own words about a volume do not begin with its name."""
        return isinstance(error, CredentialsError) or error.message.startswith(self._endpoint.host)


def _holder(volume: Any) -> Holder:
    labels = volume.get("Labels") if isinstance(volume, Mapping) else None
    return Holder.parse(labels if isinstance(labels, Mapping) else {})
