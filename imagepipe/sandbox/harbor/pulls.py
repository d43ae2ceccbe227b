"""Which manifests may be pulled: Harbor's content trust and vulnerability policies.

Source: goharbor/harbor v2.15.2 src/server/middleware/{contenttrust,vulnerable,util}/.
"""

from __future__ import annotations

from imagepipe.sandbox.harbor import artifacts
from imagepipe.sandbox.harbor.call import Harbor
from imagepipe.sandbox.harbor.identity import Caller
from imagepipe.sandbox.harbor.problems import HarborError
from imagepipe.sandbox.harbor.store import Row, Store
from imagepipe.sandbox.harbor.targets import Target

TRUST = {
    "enable_content_trust_cosign": ("signature.cosign", "cosign"),
    "enable_content_trust": ("signature.notation", "notation"),
}
# Source: v2.15.2 src/pkg/scan/vuln/severity.go (Code, ParseSeverityVersion3); what is in neither of them counts most.
SEVERITIES = {"none": 0, "unknown": 0, "negligible": 1, "low": 2, "medium": 3, "high": 4, "critical": 5}
THRESHOLDS = ("none", "low", "medium", "high", "critical")


def check_pull(harbor: Harbor, caller: Caller, target: Target, agent: str) -> None:
    """Accepts the pull of a manifest, by tag or digest alike.

    Args:
        harbor: The stand-in.
        caller: Who pulls.
        target: What is pulled.
        agent: The User-Agent: signers may read what they are about to sign.

    Raises:
        HarborError: 412 PROJECTPOLICYVIOLATION, or 404 when a policy is on and nothing is there.
    """
    project = harbor.store.project(target.project)
    assert project is not None
    metadata = harbor.store.metadata(project["id"])
    trusts = [TRUST[key] for key in TRUST if metadata.get(key) == "true"]
    prevents = metadata.get("prevent_vul") == "true"
    if not (trusts or prevents):
        return
    artifact = artifacts.find(harbor.store, target.repository, target.reference)
    if _exempt(harbor.store, caller, artifact, agent):
        return
    sql = "SELECT 1 FROM accessories WHERE subject_artifact_id = ? AND type = ?"
    for kind, word in trusts:
        if harbor.store.one(sql, artifact["id"], kind) is None:
            raise _violation(f"The image is not signed by {word}.")
    if prevents:
        _check_vulnerable(harbor, artifact, metadata.get("severity", ""))


def _exempt(store: Store, caller: Caller, artifact: Row, agent: str) -> bool:
    """Returns whether policies do not hold: a token's holder who scans or signs, or a signature itself."""
    if caller.kind == "v2token":
        key = artifact["project_id"]
        signs = any(word in agent for word in ("cosign", "notation"))
        if caller.may(key, ("repository", "scanner-pull")) or (signs and caller.may(key, ("repository", "push"))):
            return True
    kind = store.value("SELECT type FROM accessories WHERE artifact_id = ? ORDER BY id LIMIT 1", artifact["id"])
    return kind in {"signature.cosign", "signature.notation"}


def _check_vulnerable(harbor: Harbor, artifact: Row, severity: str) -> None:
    """Raises 412 for a scan result at or above `severity`, or for none; what no scanner can scan passes."""
    scan = harbor.faults.scan(artifact["digest"])
    if scan is None and not (harbor.faults.has_scanner and artifact["type"] == "IMAGE"):
        return
    threshold = severity.title() if severity in THRESHOLDS else "Unknown"
    policy = (
        "cannot be pulled due to configured policy in 'Prevent images with vulnerability severity of "
        f'"{threshold}" or higher from running.\' To continue with pull, please contact your project administrator '
    )
    scan = scan or {"status": "NotScanned"}
    status = scan.get("status", "Success")
    if status == "NotScanned":
        raise _violation(f"current image without vulnerability scanning {policy}for help.")
    if artifact["type"] == "IMAGE" and _is_index(harbor.store, artifact):
        return
    if status != "Success":
        raise _violation(f'current image with "{status}" status of vulnerability scanning {policy}for help.')
    found = str(scan.get("severity", "none")).lower()
    # Where nothing was found, no severity is reported that could be compared.
    if found != "none" and SEVERITIES.get(found, 99) >= SEVERITIES[threshold.lower()]:
        count = sum(scan.get("summary", {}).values())
        thing = "vulnerabilities" if count > 1 else "vulnerability"
        raise _violation(
            f"current image with {count} {thing} {policy}to exempt matched vulnerabilities "
            "through configuring the CVE allowlist."
        )


def _is_index(store: Store, artifact: Row) -> bool:
    return store.one("SELECT 1 FROM children WHERE parent_id = ?", artifact["id"]) is not None


def _violation(message: str) -> HarborError:
    return HarborError("PROJECTPOLICYVIOLATION", message)
