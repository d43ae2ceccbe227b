"""What promotion asks of a VCH or an engine: what it is, what it holds, and whether a container can be made of it.

>>> EngineHost.__name__
'EngineHost'
"""

import json
import secrets
from collections.abc import Mapping
from typing import Any, Final

from imagepipe.engine.client import Endpoint, quoted
from imagepipe.engine.identity import host_id, is_vch
from imagepipe.errors import ImagepipeError, InputError, NotFoundError, RefusedError
from imagepipe.model.digest import Digest
from imagepipe.model.host import HostInfo, TargetKind
from imagepipe.model.reference import Pinned, Repository

__all__ = ["PROBE_LABEL", "EngineHost", "describe", "pinned_names", "system_status", "volume_stores"]

# What our own probes carry, so that nobody takes one for a container that somebody wants.
PROBE_LABEL: Final = "dev.imagepipe.probe"
# Where a repository digest names no host, Docker Hub is meant. Source: distribution reference/normalize.go.
_HUB: Final = "docker.io"


class EngineHost:
    """One VCH or engine.

    Args:
        endpoint: Its address.
    """

    def __init__(self, endpoint: Endpoint) -> None:
        self._endpoint = endpoint

    def info(self) -> HostInfo:
        """Returns what answers there.

        Raises:
            CredentialsError: TLS refused us.
            UnavailableError: Nothing answers.
        """
        try:
            return describe(self._endpoint.info(), self._endpoint.version())
        except ImagepipeError as error:
            raise error.doing(f"ask {self._endpoint.host} what it is") from error

    def holds(self, image: Pinned) -> bool:
        """Tells whether the host knows the image by `repository@digest`.

        Raises:
            AccessError, UnavailableError: The host refuses us, or is away.
        """
        try:
            found = self._endpoint.get(f"/images/{quoted(str(image))}/json")
        except NotFoundError:
            return False
        except ImagepipeError as error:
            raise error.doing(f"look for {image} on {self._endpoint.host}") from error
        return image in pinned_names(found)

    def held(self, repository: Repository) -> tuple[Digest, ...]:
        """Returns the digests of this repository that the host holds, sorted.

        Raises:
            AccessError, UnavailableError: The host refuses us, or is away.
        """
        try:
            # Without a filter: which ones a VCH takes differs, and RepoDigests decide anyway.
            images = self._endpoint.get("/images/json") or ()
        except ImagepipeError as error:
            raise error.doing(f"list the images of {self._endpoint.host}") from error
        pinned = {one for image in images for one in pinned_names(image)}
        return tuple(sorted(one.digest for one in pinned if one.repository == repository))

    def probe(self, image: Pinned) -> None:
        """Creates a container from `repository@digest` and removes it again: the layers are really there.

        What a probe left behind that was killed between the two is removed as well.

        Raises:
            RefusedError: It cannot be created.
            AccessError, UnavailableError: The host refuses us, or is away.
        """
        name = f"imagepipe-probe-{secrets.token_hex(6)}"
        # A VCH refuses to create without a command; the container is never started, so any will do.
        # Source: VIC v1.5.8 lib/apiservers/engine/backends/container.go:2061.
        body = {"Image": str(image), "Cmd": ["true"], "Labels": {PROBE_LABEL: str(image)}}
        try:
            self._endpoint.post("/containers/create", params={"name": name}, body=body)
        except NotFoundError as error:
            self._remove(name)
            raise RefusedError(
                f"create a container from {image} on {self._endpoint.host}: {error.message}",
                hint="the host lacks the image or some of its layers: remove it there, then promote again",
            ) from error
        except ImagepipeError as error:
            self._remove_quietly(name)
            raise error.doing(f"create a container from {image} on {self._endpoint.host}") from error
        except BaseException:
            self._remove_quietly(name)
            raise
        self._remove(name)
        for left in self._left_behind():
            self._remove_quietly(left)

    def _left_behind(self) -> list[str]:
        """Returns the ids of probes that nobody removed.

        One that was made by another machine just now may be among them: it has proven what it was made for, and its
        maker does not mind that it is gone.
        """
        try:
            ours = {"all": "1", "filters": json.dumps({"label": [PROBE_LABEL]})}
            found = self._endpoint.get("/containers/json", params=ours)
        except ImagepipeError:
            return []  # the image is proven all the same
        return [str(one["Id"]) for one in found or () if PROBE_LABEL in (one.get("Labels") or {})]

    def _remove(self, name: str) -> None:
        try:
            # `v`: the image's own volumes were made with it. Force: a VCH may still be busy creating.
            self._endpoint.delete(f"/containers/{name}", params={"force": "1", "v": "1"})
        except NotFoundError:
            return
        except ImagepipeError as error:
            failure = error.doing(f"remove the container {name} from {self._endpoint.host}")
            failure.hint = f"remove it by hand: docker rm -f -v {name}"
            raise failure from error

    def _remove_quietly(self, name: str) -> None:
        """Removes what may have been created although the answer was an error; that error is the one to tell."""
        try:
            self._remove(name)
        except ImagepipeError:
            return


def describe(info: Mapping[str, Any], version: Mapping[str, Any]) -> HostInfo:
    """Returns the facts in the answers to `/info` and `/version`.

    Source: VIC v1.5.8 lib/apiservers/engine/backends/system.go:97-332: keys of SystemStatus begin with a space.
    """
    vch = is_vch(info)
    status = system_status(info) if vch else {}
    engines = [value for key, value in status.items() if key.endswith("Backend Engine")]
    return HostInfo(
        kind=TargetKind.VCH if vch else TargetKind.DOCKER,
        name=str(info.get("Name") or ""),
        version=str(version.get("Version") or ""),
        api_version=str(version.get("ApiVersion") or ""),
        ready=engines == ["RUNNING"] if vch else True,
        whitelist=_whitelist(status),
        host_id=host_id(info),
    )


def volume_stores(info: Mapping[str, Any]) -> tuple[str, ...]:
    """Returns the volume stores that a VCH lists in `/info`. Source: VIC v1.5.8 backends/system.go."""
    return tuple(system_status(info).get("VolumeStores", "").split())


def system_status(info: Mapping[str, Any]) -> Mapping[str, str]:
    """Returns what a VCH tells in `/info` beside Docker's own fields; nothing on an engine."""
    pairs = info.get("SystemStatus")
    rows = pairs if isinstance(pairs, list) else []
    return {str(row[0]).strip(): str(row[1]).strip() for row in rows if isinstance(row, list) and len(row) == 2}


def _whitelist(status: Mapping[str, str]) -> tuple[str, ...] | None:
    """Returns the registries that a VCH lists, or None when any is allowed or it does not list them."""
    listed = status.get("Whitelisted Registries")
    if not status.get("Registry Whitelist Mode", "").startswith("enabled") or listed is None:
        return None
    return tuple(one.strip() for one in listed.split(",") if one.strip())


def pinned_names(image: Any) -> set[Pinned]:
    """Returns the image's `RepoDigests`; entries of images without a name (`<none>@<none>`) are no references."""
    digests = image.get("RepoDigests") if isinstance(image, Mapping) else None
    found = set()
    for entry in digests or ():
        try:
            found.add(Pinned.parse(str(entry), default_registry=_HUB))
        except InputError:
            continue
    return found
