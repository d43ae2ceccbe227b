"""What the scanner of a Harbor 2.x found in images.

Source: goharbor/harbor v2.15.2 api/v2.0/swagger.yaml (NativeReportSummary), src/pkg/scan/rest/v1/spec.go.
"""

from collections.abc import Callable, Mapping
from datetime import datetime
from functools import cached_property
from typing import Annotated, Any, Final

from pydantic import BeforeValidator, Field

from imagepipe.errors import UnsupportedError
from imagepipe.harbor.client import Call
from imagepipe.harbor.connection import Connection
from imagepipe.harbor.v2.session import Session, encoded_repository, open_session, project_path
from imagepipe.harbor.wire import Foreign, Items, Limits, parse
from imagepipe.model.reference import Pinned
from imagepipe.model.scan import ScanReport, ScanStatus, Vulnerability

__all__ = ["Scans2"]

# Harbor shows one of them, the newer one first; a project's SBOM stands under another key.
_REPORTS: Final = (
    "application/vnd.security.vulnerability.report; version=1.1",
    "application/vnd.scanner.adapter.vuln.report.harbor+json; version=1.0",
)
# Source: Harbor v2.15.2 src/jobservice/job/status.go; anything else has ended without a result.
_STATUS: Final[Mapping[str, ScanStatus]] = {
    "success": ScanStatus.DONE,
    "pending": ScanStatus.RUNNING,
    "scheduled": ScanStatus.RUNNING,
    "running": ScanStatus.RUNNING,
}
Text = Annotated[str, BeforeValidator(lambda value: value or "")]


class _Scanner(Foreign):
    name: Text = ""
    version: Text = ""


class _Summary(Foreign):
    fixable: int = 0
    summary: Limits = Field(default_factory=dict)


class _Overview(Foreign):
    scan_status: Text = ""
    severity: Text = ""
    summary: _Summary | None = None
    end_time: datetime | None = None
    scanner: _Scanner | None = None


class _Finding(Foreign):
    id: str
    package: Text = ""
    severity: Text = ""
    fix_version: Text = ""


class _Report(Foreign):
    vulnerabilities: Items[_Finding] = ()


class Scans2:
    """Keeps `ports.Scans`; Harbor is not asked before the first scan is.

    Args:
        connect: Tells how Harbor is reached.
        registry: Whose images it scans.
        dialect: Take it for this one; None: find out.
    """

    def __init__(self, connect: Callable[[], Connection], *, registry: str | None, dialect: str | None = None) -> None:
        self._connect = connect
        self._registry = registry
        self._dialect = dialect

    def report(self, image: Pinned) -> ScanReport | None:
        """Returns the newest scan of the image, or None when it was never scanned.

        Raises:
            UnsupportedError: This is no Harbor 2.x, or the image is elsewhere.
            AccessError, NotFoundError, UnavailableError: Harbor says no, or is away.
        """
        what = f"read the scan of {image}"
        data = self._ask(image, what, {"with_scan_overview": True})
        shown = _one(data.get("scan_overview") if isinstance(data, Mapping) else None)
        if shown is None:
            return None
        wire = parse(_Overview, shown, what)
        summary, scanner = wire.summary or _Summary(), wire.scanner or _Scanner()
        return ScanReport(
            _STATUS.get(wire.scan_status.lower(), ScanStatus.CRASHED),
            wire.severity or "None",
            dict(summary.summary),
            summary.fixable,
            wire.end_time,
            f"{scanner.name} {scanner.version}".strip() or "an unnamed scanner",
        )

    def vulnerabilities(self, image: Pinned) -> tuple[Vulnerability, ...]:
        """Returns each finding of the newest scan; none when there is no report.

        Raises:
            AccessError, NotFoundError, UnavailableError: As `report`; a robot needs the right to read
                `artifact-addition` too.
        """
        what = f"read the vulnerabilities of {image}"
        shown = _one(self._ask(image, what, {}, "additions", "vulnerabilities"))
        wire = parse(_Report, shown or {}, what)
        return tuple(Vulnerability(one.id, one.package, one.severity, one.fix_version) for one in wire.vulnerabilities)

    def _ask(self, image: Pinned, what: str, params: Mapping[str, bool], *rest: str) -> Any:
        repository = image.repository
        if repository.registry != self._registry:
            raise UnsupportedError(
                f"{what}: it is not in the Harbor that is configured ({self._registry or 'none'})",
                hint="name that registry in imagepipe.toml, or promote under a policy without max_severity",
            )
        name = encoded_repository(repository.name)
        path = project_path(repository.project, "repositories", name, "artifacts", str(image.digest), *rest)
        with self._session.inside(repository.project):
            return self._session.client.json(Call("GET", path, what, params))

    @cached_property
    def _session(self) -> Session:
        return open_session(
            self._connect(),
            self._dialect,
            "read scans from Harbor",
            instead="take max_severity out of the policy, and look at the scan in Harbor's web interface",
        )


def _one(shown: object) -> object:
    """Returns the report out of those by type, or None where there is none."""
    if not isinstance(shown, Mapping):
        return None
    return next((shown[kind] for kind in _REPORTS if shown.get(kind)), None)
