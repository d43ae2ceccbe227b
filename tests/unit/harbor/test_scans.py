from datetime import UTC, datetime
from typing import Any

import httpx
import pytest

from imagepipe.errors import CredentialsError, NotFoundError, UnavailableError, UnsupportedError
from imagepipe.harbor.connection import Connection
from imagepipe.harbor.v2.scans import Scans2
from imagepipe.model.digest import Digest
from imagepipe.model.reference import Reference
from imagepipe.model.result import Credential
from imagepipe.model.scan import ScanReport, ScanStatus, Vulnerability
from tests.unit.harbor.fake import FakeHarbor, refused

DIGEST = Digest.of(b"image")
IMAGE = Reference.parse("harbor.example/p/team/app").repository.pin(DIGEST)
# Harbor decodes a repository's name twice.
PATH = f"/projects/p/repositories/team%252Fapp/artifacts/{DIGEST}"
KIND = "application/vnd.security.vulnerability.report; version=1.1"
OVERVIEW = {
    "scan_status": "Success",
    "severity": "High",
    "summary": {"total": 3, "fixable": 1, "summary": {"High": 2, "Low": 1}},
    "end_time": "2026-01-02T03:04:05.000Z",
    "scanner": {"name": "Trivy", "vendor": "Aqua Security", "version": "v0.68.1"},
}


def scans(harbor: FakeHarbor, *, credential: bool = True, dialect: str | None = "harbor-2") -> Scans2:
    connection = Connection(
        url="https://harbor.example",
        credential=Credential("admin", "Harbor12345") if credential else None,
        transport=httpx.MockTransport(harbor),
    )
    return Scans2(lambda: connection, registry="harbor.example", dialect=dialect)


def showing(artifact: dict[str, Any], *rest: str) -> FakeHarbor:
    harbor = FakeHarbor()
    harbor.answers["GET " + "/".join((PATH, *rest))] = lambda _: httpx.Response(200, json=artifact)
    return harbor


def test_a_scan_is_read_by_digest_from_a_repository_with_a_slash() -> None:
    harbor = showing({"scan_overview": {KIND: OVERVIEW}})
    assert scans(harbor).report(IMAGE) == ScanReport(
        ScanStatus.DONE, "High", {"High": 2, "Low": 1}, 1, datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC), "Trivy v0.68.1"
    )
    assert harbor.requests[-1] == f"GET {PATH}?with_scan_overview=true"


@pytest.mark.parametrize("artifact", [{}, {"scan_overview": None}, {"scan_overview": {}}, {"scan_overview": {"x": 1}}])
def test_an_image_without_an_overview_was_never_scanned(artifact: dict[str, Any]) -> None:
    assert scans(showing(artifact)).report(IMAGE) is None


@pytest.mark.parametrize(
    ("said", "meant"),
    [
        ("Pending", ScanStatus.RUNNING),
        ("Scheduled", ScanStatus.RUNNING),
        ("Running", ScanStatus.RUNNING),
        ("Error", ScanStatus.CRASHED),
        ("Stopped", ScanStatus.CRASHED),
        ("", ScanStatus.CRASHED),
    ],
)
def test_only_a_scan_that_succeeded_is_done(said: str, meant: ScanStatus) -> None:
    bare = {"scan_status": said, "severity": None, "summary": None, "scanner": None}
    report = scans(showing({"scan_overview": {KIND: bare}})).report(IMAGE)
    assert report == ScanReport(meant)


def test_findings_are_read_from_the_report() -> None:
    finding = {"id": "CVE-2026-1", "package": "musl", "version": "1", "fix_version": None, "severity": "High"}
    harbor = showing({KIND: {"vulnerabilities": [finding]}}, "additions", "vulnerabilities")
    assert scans(harbor).vulnerabilities(IMAGE) == (Vulnerability("CVE-2026-1", "musl", "High"),)
    for empty in ({}, {KIND: {"vulnerabilities": None}}):
        assert scans(showing(empty, "additions", "vulnerabilities")).vulnerabilities(IMAGE) == ()


def test_an_answer_that_is_no_overview_is_told() -> None:
    with pytest.raises(UnavailableError, match="not what its API describes"):
        scans(showing({"scan_overview": {KIND: [1]}})).report(IMAGE)


def test_an_image_that_harbor_does_not_know_is_not_found() -> None:
    harbor = FakeHarbor()
    harbor.answers[f"GET {PATH}"] = lambda _: refused(404, "artifact not found")
    with pytest.raises(NotFoundError, match="read the scan of"):
        scans(harbor).report(IMAGE)


def test_a_harbor_of_another_dialect_and_an_image_elsewhere_are_not_read() -> None:
    with pytest.raises(UnsupportedError, match="this is harbor-1"):
        scans(FakeHarbor(), dialect="harbor-1").report(IMAGE)
    elsewhere = Reference.parse("other.example/p/app").repository.pin(DIGEST)
    with pytest.raises(UnsupportedError, match=r"not in the Harbor that is configured \(harbor\.example\)"):
        scans(FakeHarbor()).report(elsewhere)


def test_without_credentials_no_scan_is_read() -> None:
    with pytest.raises(CredentialsError, match="no user name and password"):
        scans(FakeHarbor(), credential=False).report(IMAGE)
