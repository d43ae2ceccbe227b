"""The switches that make the stand-in misbehave, at run time."""

import json
import os
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from imagepipe.sandbox.harbor.faults import Faults
from tests.contract.harbor_world import (
    ADMIN,
    OCI_MANIFEST,
    PROJECT,
    TEAM_LOGINS,
    HarborClient,
    config_for,
    digest_of,
    error_body,
    harbor_of_a_team,
    served,
)
from tests.contract.registry_worlds import Server

R = f"{PROJECT}/hello"
A = f"/projects/{PROJECT}/repositories/hello/artifacts"
VULNERABLE = {"status": "Success", "severity": "High", "summary": {"High": 2, "Low": 1}, "fixable": 1}
POLICY = "configured policy in 'Prevent images with vulnerability severity of \"High\" or higher from running.' "


@pytest.fixture
def harbor(backend: Server, seeds: Path, tmp_path: Path) -> Iterator[HarborClient]:
    changes: dict[str, Any] = {"faults_file": tmp_path / "faults.json"}
    with harbor_of_a_team(tmp_path, f"http://{backend.host}", seeds, **changes) as client:
        yield client


def test_a_switch_in_the_file_works_from_the_next_request_on_and_until_it_is_gone(
    harbor: HarborClient, tmp_path: Path
) -> None:
    assert harbor.api("GET", "/ping").status_code == 200
    file = tmp_path / "faults.json"
    file.write_text(json.dumps({"rules": [{"path": "/ping$", "status": 502}]}))
    answer = harbor.api("GET", "/ping")
    assert answer.status_code == 502
    assert answer.text.startswith("<html>\r\n<head><title>502 Bad Gateway</title></head>")
    file.write_text("{}")
    assert harbor.api("GET", "/ping").status_code == 200


def test_a_file_that_is_half_written_changes_nothing(tmp_path: Path) -> None:
    file = tmp_path / "faults.json"
    faults = Faults({"read_only": True}, file)
    for content in ('{"read_only": fal', '{"unheard_of": 1}', '{"rules": [{"nowhere": 1}]}'):
        file.write_text(content)
        faults.refresh()
        assert faults.read_only
    file.write_text('{"read_only": false}')
    os.utime(file, ns=(time.time_ns(), time.time_ns() + 1))
    faults.refresh()
    assert not faults.read_only


def test_an_unknown_switch_is_refused() -> None:
    with pytest.raises(ValueError, match="unknown fault switches: corupt"):
        Faults({"corupt": True})


def test_a_put_of_a_manifest_fails_once_and_then_works(harbor: HarborClient) -> None:
    harbor.harbor.faults.set(rules=[{"method": "PUT", "path": "/manifests/", "status": 500, "times": 1}])
    failed = harbor.push(R, "v1").response
    assert (failed.status_code, failed.text) == (500, error_body("UNKNOWN", "internal server error"))
    assert harbor.get_manifest(R, "v1").status_code == 404
    assert harbor.push(R, "v1").response.status_code == 201


def test_an_answer_may_be_lost_after_the_push_took_effect(harbor: HarborClient) -> None:
    harbor.harbor.faults.set(rules=[{"method": "PUT", "path": "/manifests/", "status": 504, "after": True, "times": 1}])
    failed = harbor.push(R, "v1").response
    assert (failed.status_code, "504 Gateway Time-out" in failed.text) == (504, True)
    assert harbor.get_manifest(R, "v1").status_code == 200


def test_a_list_may_be_slow_from_its_second_page_on(harbor: HarborClient) -> None:
    harbor.harbor.faults.set(rules=[{"path": "/projects$", "delay_s": 0.3, "skip": 1}])
    times = []
    for page in (1, 2):
        started = time.monotonic()
        harbor.ok("GET", f"/projects?page={page}&page_size=1")
        times.append(time.monotonic() - started)
    assert times[0] < 0.3 <= times[1]


@pytest.mark.parametrize("names_it", ["*", f"{R}:v1", "digest"])
def test_a_manifest_may_come_with_other_bytes_than_its_digest_says(harbor: HarborClient, names_it: str) -> None:
    pushed = harbor.push(R, "v1")
    harbor.harbor.faults.set(corrupt_manifests=[f"{R}@{pushed.digest}" if names_it == "digest" else names_it])
    read = harbor.get_manifest(R, "v1")
    assert read.status_code == 200
    assert read.headers["docker-content-digest"] == pushed.digest
    assert digest_of(read.content) != pushed.digest
    assert len(read.content) == len(pushed.raw)
    assert read.json()["mediaType"] == OCI_MANIFEST


def test_a_tag_may_move_between_two_reads(harbor: HarborClient) -> None:
    first, second = harbor.push(R, "v1"), harbor.push(R, layer=b"second")
    harbor.harbor.faults.set(tag_moves={f"{R}:v1": {"to": second.digest, "after_reads": 1}})
    read = [harbor.get_manifest(R, "v1").headers["docker-content-digest"] for _ in range(3)]
    assert read == [first.digest, second.digest, second.digest]
    assert harbor.ok("GET", f"{A}/v1").json()["digest"] == second.digest


def test_a_token_may_die_in_the_middle_of_an_upload(harbor: HarborClient) -> None:
    scope = f"repository:{R}:pull,push"
    harbor.harbor.faults.set(token_uses={"PATCH": 1})
    headers = harbor.bearer(TEAM_LOGINS["dev"], scope)
    started = harbor.send("POST", f"/v2/{R}/blobs/uploads/", headers=headers)
    first = harbor.send("PATCH", started.headers["location"], content=b"one", headers=headers)
    assert first.status_code == 202
    second = harbor.send("PATCH", first.headers["location"], content=b"two", headers=headers)
    assert second.status_code == 401
    fresh = harbor.bearer(TEAM_LOGINS["dev"], scope)
    resumed = harbor.send("PATCH", first.headers["location"], content=b"two", headers=fresh)
    assert (resumed.status_code, resumed.headers["range"]) == (202, "0-5")


def test_a_robot_may_expire(harbor: HarborClient) -> None:
    robot = harbor.add_robot("ci", "repository:push")
    harbor.harbor.faults.set(expired_robots=[robot[0]])
    assert harbor.api("GET", "/users/current", robot).status_code == 401
    assert harbor.token(robot).status_code == 401


def test_a_scan_that_the_sandbox_made_up_is_shown_and_stops_a_pull(harbor: HarborClient) -> None:
    pushed = harbor.push(R, "v1")
    project = f"/projects/{PROJECT}"
    harbor.ok("PUT", project, json={"metadata": {"prevent_vul": "true", "severity": "high"}})
    assert harbor.get_manifest(R, "v1").status_code == 200
    harbor.harbor.faults.set(scans={pushed.digest: VULNERABLE})
    overview = harbor.ok("GET", f"{A}/v1?with_scan_overview=true").json()["scan_overview"]
    report = overview["application/vnd.security.vulnerability.report; version=1.1"]
    assert (report["scan_status"], report["severity"], report["summary"]["total"]) == ("Success", "High", 3)
    messages = {
        "Success": f"current image with 3 vulnerabilities cannot be pulled due to {POLICY}To continue with pull, "
        "please contact your project administrator to exempt matched vulnerabilities "
        "through configuring the CVE allowlist.",
        "Running": f'current image with "Running" status of vulnerability scanning cannot be pulled due to {POLICY}'
        "To continue with pull, please contact your project administrator for help.",
        "NotScanned": f"current image without vulnerability scanning cannot be pulled due to {POLICY}"
        "To continue with pull, please contact your project administrator for help.",
    }
    for status, message in messages.items():
        harbor.harbor.faults.set(scans={pushed.digest: VULNERABLE | {"status": status}})
        refused = harbor.get_manifest(R, "v1")
        assert (refused.status_code, refused.text) == (412, error_body("PROJECTPOLICYVIOLATION", message))


def test_an_image_that_the_scanner_has_not_seen_yet_is_not_pulled(harbor: HarborClient) -> None:
    image = harbor.push(R, "v1")
    artifact = harbor.sign(R, image, "application/vnd.example.sbom")
    harbor.ok("PUT", f"/projects/{PROJECT}", json={"metadata": {"prevent_vul": "true", "severity": "high"}})
    harbor.harbor.faults.set(scans={})
    refused = harbor.get_manifest(R, "v1")
    message = (
        f"current image without vulnerability scanning cannot be pulled due to {POLICY}"
        "To continue with pull, please contact your project administrator for help."
    )
    assert (refused.status_code, refused.text) == (412, error_body("PROJECTPOLICYVIOLATION", message))
    # It is no image, which is all that a scanner can scan.
    assert harbor.get_manifest(R, artifact.digest).status_code == 200


@pytest.mark.parametrize(
    ("threshold", "found", "status"),
    [
        ("", "Negligible", 412),
        ("", "Unknown", 412),
        ("", "None", 200),
        ("none", "None", 200),
        ("none", "Low", 412),
        ("low", "Negligible", 200),
        ("low", "Low", 412),
        ("critical", "High", 200),
        ("critical", "Odd", 412),
    ],
)
def test_a_finding_stops_a_pull_from_the_threshold_on(
    harbor: HarborClient, threshold: str, found: str, status: int
) -> None:
    image = harbor.push(R, "v1")
    policy = {"prevent_vul": "true"} | ({"severity": threshold} if threshold else {})
    harbor.ok("PUT", f"/projects/{PROJECT}", json={"metadata": policy})
    harbor.harbor.faults.set(scans={image.digest: {"severity": found, "summary": {found: 1}}})
    answer = harbor.get_manifest(R, "v1")
    assert answer.status_code == status
    said = "current image with 1 vulnerability cannot be pulled due to configured policy in 'Prevent images with"
    said += f' vulnerability severity of "{threshold.title() or "Unknown"}" or higher from running.\''
    assert status == 200 or answer.json()["errors"][0]["message"].startswith(said)


def test_a_scan_is_asked_for_and_brings_its_report(harbor: HarborClient) -> None:
    pushed = harbor.push(R, "v1")
    finding = {"id": "CVE-2026-1", "package": "musl", "version": "1.2.4", "fix_version": "1.2.5", "severity": "High"}
    found = VULNERABLE | {"vulnerabilities": [finding]}
    harbor.harbor.faults.set(scans={pushed.digest: {"status": "NotScanned", "then": found}})
    assert "scan_overview" not in harbor.ok("GET", f"{A}/v1?with_scan_overview=true").json()
    assert harbor.api("POST", f"{A}/v1/scan", TEAM_LOGINS["dev"]).status_code == 403
    assert harbor.api("POST", f"{A}/v1/scan", json={"scan_type": "vulnerability"}).status_code == 202
    (overview,) = harbor.ok("GET", f"{A}?with_scan_overview=true").json()[0]["scan_overview"].values()
    assert overview["scan_status"] == "Success"
    older = {"X-Accept-Vulnerabilities": "application/vnd.scanner.adapter.vuln.report.harbor+json; version=1.0"}
    reports = harbor.ok("GET", f"{A}/v1/additions/vulnerabilities", headers=older).json()
    assert reports[older["X-Accept-Vulnerabilities"]]["vulnerabilities"] == [finding]


def test_a_scan_that_runs_is_not_started_again(harbor: HarborClient) -> None:
    pushed = harbor.push(R, "v1")
    harbor.harbor.faults.set(scans={pushed.digest: {"status": "Running"}})
    refused = harbor.api("POST", f"{A}/v1/scan")
    assert (refused.status_code, refused.text) == (409, error_body("CONFLICT", "a previous scan process is Running"))
    assert harbor.ok("GET", f"{A}/v1/additions/vulnerabilities").json() == {}


def test_a_read_only_system_still_serves_reads_and_tokens(harbor: HarborClient) -> None:
    harbor.push(R, "v1")
    harbor.harbor.faults.set(read_only=True)
    assert harbor.get_manifest(R, "v1").status_code == 200
    assert harbor.token(ADMIN).status_code == 200
    assert harbor.send("POST", f"/v2/{R}/blobs/uploads/", ADMIN).json()["errors"][0]["code"] == "DENIED"


def test_a_registry_that_is_away_is_a_bad_gateway(tmp_path: Path) -> None:
    with served(config_for(tmp_path, "http://127.0.0.1:1")) as harbor:
        answer = harbor.send("POST", "/v2/library/hello/blobs/uploads/", ADMIN)
        assert (answer.status_code, answer.content) == (502, b"")
