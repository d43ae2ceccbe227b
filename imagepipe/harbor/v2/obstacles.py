"""What stops pushes and pulls at a Harbor 2.x besides missing rights."""

from typing import Annotated, Final

from pydantic import BeforeValidator, Field

from imagepipe.harbor.client import Call, decoded
from imagepipe.harbor.detect import system_info
from imagepipe.harbor.v2.session import Session, encoded_repository, project_path
from imagepipe.harbor.wire import Foreign, Items, parse
from imagepipe.model.access import ArtifactState, Project

__all__ = ["Obstacles2"]

# Source: goharbor/harbor v2.15.2 src/pkg/accessory/model/{cosign,notation}/…
_SIGNATURES: Final = {"signature.cosign": "cosign", "signature.notation": "notation"}
_FINISHED: Final = "success"


class _Tag(Foreign):
    name: str = ""
    immutable: bool = False


class _Accessory(Foreign):
    type: str = ""


class _Scan(Foreign):
    severity: str = ""
    scan_status: str = ""


_Scans = Annotated[dict[str, _Scan], BeforeValidator(lambda value: value or {})]


class _Artifact(Foreign):
    tags: Items[_Tag] = ()
    accessories: Items[_Accessory] = ()
    scan_overview: _Scans = Field(default_factory=dict)


class Obstacles2:
    """Keeps `ports.administration.Obstacles`."""

    def __init__(self, session: Session) -> None:
        self._session = session

    def read_only(self) -> bool | None:
        """Tells whether Harbor takes no writes at all."""
        told = (system_info(self._session.client) or {}).get("read_only")
        return told if isinstance(told, bool) else None

    def artifact(self, project: Project, repository: str, reference: str) -> ArtifactState | None:
        """Returns the state of an image; None: there is none, or it is not shown to us."""
        what = f"look at {project.name}/{repository} {reference}"
        path = project_path(project.name, "repositories", encoded_repository(repository), "artifacts", reference)
        wanted: dict[str, str | int | bool] = {
            "with_tag": True,
            "with_immutable_status": True,
            "with_accessory": True,
            "with_scan_overview": True,
        }
        response = self._session.client.call(Call("GET", path, what, wanted, accept=(400, 401, 403, 404)))
        if not response.is_success:
            return None
        found = parse(_Artifact, decoded(response, what), what)
        finished = [scan for scan in found.scan_overview.values() if scan.scan_status.lower() == _FINISHED]
        return ArtifactState(
            immutable=any(tag.immutable for tag in found.tags if tag.name == reference),
            signatures=frozenset(_SIGNATURES[one.type] for one in found.accessories if one.type in _SIGNATURES),
            severity=finished[0].severity.lower() if finished else None,
            counts_bundles=self._session.gate.has("cosign-bundle"),
        )
