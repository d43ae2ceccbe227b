"""What Harbor 1.x checks before a request reaches the registry, and so before anybody is asked who they are.

Source: goharbor/harbor v1.7.8 src/core/proxy/{proxy,interceptors}.go.
"""

from __future__ import annotations

from typing import Final

from imagepipe.sandbox.harbor.manifests import DOCKER_MANIFEST
from imagepipe.sandbox.vic.answers import PolicyError
from imagepipe.sandbox.vic.parts import Vic

SCHEMA1: Final = "application/vnd.docker.distribution.manifest.v1+json"
SIGNED_SCHEMA1: Final = "application/vnd.docker.distribution.manifest.v1+prettyjws"
_CHANGES: Final = frozenset({"DELETE", "POST", "PATCH", "PUT"})
# Source: goharbor/harbor#7597, #8855 (1.8.2); src/core/middlewares/multiplmanifest/handler.go before 2.0.
_LISTS_REFUSED_SINCE: Final = (1, 8)
# Source: goharbor/harbor#10952, #11328, #11932 (1.10.1, 1.10.2); src/core/middlewares/sizequota/handler.go,
# src/core/middlewares/util/util.go (ParseManifestInfoFromReq) before 2.0.
_TYPES_CHECKED_SINCE: Final = (1, 10)
_COUNTED: Final = frozenset({SCHEMA1, SIGNED_SCHEMA1, DOCKER_MANIFEST})
# Source: goharbor/harbor v1.7.8 src/common/models/scan_job.go, src/common/utils/clair/utils.go (ParseClairSev).
_SEVERITIES: Final = {"negligible": 1, "none": 1, "unknown": 2, "low": 3, "medium": 4, "high": 5, "critical": 5}
_NAMES: Final = {1: "negligible", 2: "unknown", 3: "low", 4: "medium", 5: "high"}


def check_read_only(vic: Vic, method: str) -> None:
    """Accepts a request unless it changes something while nothing may.

    Raises:
        PolicyError: 403 DENIED.
    """
    if vic.read_only and method in _CHANGES:
        message = "The system is in read only mode. Any modification is prohibited."
        raise PolicyError(403, message, code="DENIED")


def check_push(vic: Vic, media_type: str) -> None:
    """Accepts a manifest of a kind that Harbor's own handlers know, whoever sends it.

    Raises:
        PolicyError: 415 for a manifest list, 500 for what is not Docker's.
    """
    release = vic.config.release
    if release >= _LISTS_REFUSED_SINCE and "manifest.list.v2" in media_type:
        raise PolicyError(415, "Manifest.list is not supported.", code="UNSUPPORTED_MEDIA_TYPE")
    if release >= _TYPES_CHECKED_SINCE and media_type not in _COUNTED:
        handler = "Error occurred when to handle request in size quota handler"
        raise PolicyError(500, f"{handler}: unsupported content type for manifest: {media_type}", code="InternalError")


async def check_pull(vic: Vic, repository: str, reference: str) -> None:
    """Accepts GET of a manifest, whoever asks; HEAD is never checked.

    Raises:
        PolicyError: 412, or 400 for a repository outside of any project.
    """
    name, slash, _ = repository.partition("/")
    if not slash:
        raise PolicyError(400, f"Bad repository name: {repository}")
    digest = await vic.inside.digest(repository, reference)
    project = vic.directory.project(name) if digest else None
    if project is None:
        return
    # A project that cannot be read counts as one with every policy on.
    if project.broken or project.metadata.get("enable_content_trust") == "true":
        _check_signed(vic, repository, reference, digest)
    if project.broken or project.metadata.get("prevent_vul") == "true":
        threshold = _SEVERITIES.get(project.metadata.get("severity", ""), _SEVERITIES["unknown"])
        _check_severity(vic, digest, threshold)


def _check_signed(vic: Vic, repository: str, reference: str, digest: str) -> None:
    signed = vic.signatures(repository)
    matched = digest in signed.values() if reference.startswith("sha256:") else signed.get(reference) == digest
    if not matched:
        raise PolicyError(412, "The image is not signed in Notary.")


def _check_severity(vic: Vic, digest: str, threshold: int) -> None:
    scan = vic.faults.scan(digest)
    if scan is None or scan.get("status", "Success") != "Success":
        raise PolicyError(412, "Cannot get the image severity.")
    severity = _SEVERITIES.get(str(scan.get("severity", "none")).lower(), 0)
    if severity == 0:
        raise PolicyError(412, "Cannot get the image severity.")
    if severity >= threshold:
        raise PolicyError(
            412,
            f'The severity of vulnerability of the image: "{_NAMES[severity]}" is equal or higher than the threshold '
            f'in project setting: "{_NAMES[threshold]}".',
        )
