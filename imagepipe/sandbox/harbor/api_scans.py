"""REST: vulnerability scans. What they find is told by the switch `scans`; without that switch there is no scanner.

Source: goharbor/harbor v2.15.2 src/server/v2.0/handler/scan.go, src/controller/scan/base_controller.go,
src/pkg/scan/vulnerability/vul.go.
"""

from __future__ import annotations

from typing import Any

from starlette.responses import Response

from imagepipe.sandbox.harbor.call import Call
from imagepipe.sandbox.harbor.problems import HarborError, json_response
from imagepipe.sandbox.harbor.store import Row

# Source: v2.15.2 src/pkg/scan/rest/v1/spec.go (MimeTypeNativeReport, MimeTypeGenericVulnerabilityReport);
# api/v2.0/swagger.yaml (acceptVulnerabilities) for their order.
REPORT_11 = "application/vnd.security.vulnerability.report; version=1.1"
REPORT_10 = "application/vnd.scanner.adapter.vuln.report.harbor+json; version=1.0"
SCANNER = {"name": "Trivy", "vendor": "Aqua Security", "version": "v0.68.1"}
UNFINISHED = frozenset({"Pending", "Scheduled", "Running"})


async def start(call: Call, project: Row, artifact: Row) -> Response:
    """Answers a scan's start: 202, 409 while one runs, 412 without a scanner.

    Raises:
        HarborError: 409 or 412.
    """
    faults = call.harbor.faults
    if not faults.has_scanner:
        raise HarborError("PRECONDITION", f"no available scanner for project: {project['id']}")
    result = faults.scan(artifact["digest"])
    if result is not None and result.get("status", "Success") in UNFINISHED:
        raise HarborError("CONFLICT", f"a previous scan process is {result['status']}")
    faults.rescan(artifact["digest"])
    return Response(status_code=202)


def shown(call: Call, digest: str) -> dict[str, Any]:
    """Returns an artifact's `scan_overview` by report type, empty when it was never scanned."""
    result = _result(call, digest)
    return {report_type(call): _overview(call, result)} if result else {}


def report(call: Call, digest: str) -> Response:
    """Returns what a scan has found, `{}` when there was none or it has not ended well."""
    result = _result(call, digest)
    if not result or result.get("status", "Success") != "Success":
        return json_response({})
    found = {
        "generated_at": call.harbor.stamp(),
        "scanner": SCANNER,
        "severity": result.get("severity", "None"),
        "vulnerabilities": result.get("vulnerabilities", []),
    }
    return json_response({report_type(call): found})


def report_type(call: Call) -> str:
    """Returns the first report type the client accepts; without a header, the newer one."""
    accepted = [each.strip() for each in call.request.headers.get("x-accept-vulnerabilities", "").split(",")]
    return next((each for each in accepted if each in {REPORT_10, REPORT_11}), REPORT_11)


def _result(call: Call, digest: str) -> dict[str, Any]:
    result = call.harbor.faults.scan(digest) or {}
    return {} if result.get("status") == "NotScanned" else result


def _overview(call: Call, result: dict[str, Any]) -> dict[str, Any]:
    """Returns a scan's summary from what the sandbox was told of it."""
    counts, status, now = result.get("summary", {}), result.get("status", "Success"), call.harbor.stamp()
    return {
        "report_id": "5d62aa3f-7ad3-4f4a-9cf5-0d2f3b6f1c2e",
        "scan_status": status,
        "severity": result.get("severity", "None"),
        "duration": 1,
        "summary": {"total": sum(counts.values()), "fixable": result.get("fixable", 0), "summary": counts},
        "start_time": now,
        "end_time": now,
        "complete_percent": 0 if status in UNFINISHED else 100,
        "scanner": SCANNER,
    }
