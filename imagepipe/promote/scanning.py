"""The gate that asks for a scan: a scan that is missing, running or crashed is no finding, and no clean image either.

>>> from imagepipe.promote.scanning import scan_gate
>>> scan_gate.__name__
'scan_gate'
"""

from datetime import UTC, timedelta

from imagepipe.errors import UnsupportedError
from imagepipe.model.evidence import TrustPolicy
from imagepipe.model.promotion import GateVerdict
from imagepipe.model.reference import Pinned
from imagepipe.model.scan import ScanReport, ScanStatus, Vulnerability, Waiver, rank
from imagepipe.promote.ports import World

__all__ = ["scan_gate"]

# So many findings are named in a verdict; the rest is counted.
_NAMED = 5
_UNFINISHED = {
    ScanStatus.RUNNING: ("the scan is still running, so nothing is known", "wait until Harbor's scan has ended"),
    ScanStatus.CRASHED: (
        "the scan crashed, which is not a finding, and no clean image either",
        "look at the scan's log in Harbor, scan the image again, then promote again",
    ),
}


def scan_gate(image: Pinned, policy: TrustPolicy, allowed: str, world: World) -> GateVerdict:
    """Returns yes when a finished scan found nothing worse than allowed that counts.

    Args:
        image: What is promoted.
        policy: Which findings count.
        allowed: The worst severity that may pass.
        world: What is asked.

    Raises:
        AccessError, NotFoundError, UnavailableError: The scan cannot be asked for: that is not a verdict.
    """
    gate = f"scan ({policy.name})"
    try:
        report = world.scans().report(image)
    except UnsupportedError as error:
        return GateVerdict(gate, passed=False, reason=error.message, hint=error.hint)
    if report is None:
        hint = f"have Harbor scan the image, then promote again, or take max_severity out of [policies.{policy.name}]"
        return GateVerdict(gate, passed=False, reason="never scanned", hint=hint)
    refusal = _UNFINISHED.get(report.status) or _too_old(report, policy, world)
    if refusal is not None:
        return GateVerdict(gate, passed=False, reason=refusal[0], hint=refusal[1])
    return _judge(gate, image, policy, allowed, (report, world))


def _judge(gate: str, image: Pinned, policy: TrustPolicy, allowed: str, asked: tuple[ScanReport, World]) -> GateVerdict:
    report, world = asked
    if report.worst <= rank(allowed):
        return GateVerdict(gate, passed=True, reason=f"at most {allowed}: {report}")
    if policy.only_fixable and not report.fixable:
        return GateVerdict(gate, passed=True, reason=f"nothing fixable is worse than {allowed}: {report}")
    if policy.only_fixable or policy.waivers:
        return _by_finding(gate, image, policy, allowed, (report, world))
    return _refused(gate, allowed, str(report))


def _too_old(report: ScanReport, policy: TrustPolicy, world: World) -> tuple[str, str] | None:
    if policy.max_scan_age_days is None:
        return None
    hint = "have Harbor scan the image again: what is known of vulnerabilities changes daily"
    if report.finished_at is None:
        return f"the scan does not tell when it ended, and at most {policy.max_scan_age_days:g} days are allowed", hint
    age = world.clock.now() - report.finished_at
    if age <= timedelta(days=policy.max_scan_age_days):
        return None
    days = age / timedelta(days=1)
    return f"the scan is {days:.1f} days old, at most {policy.max_scan_age_days:g} are allowed: {report}", hint


def _by_finding(
    gate: str, image: Pinned, policy: TrustPolicy, allowed: str, asked: tuple[ScanReport, World]
) -> GateVerdict:
    report, world = asked
    found = world.scans().vulnerabilities(image)
    worst = max((rank(one.severity) for one in found), default=-1)
    if worst < report.worst:
        return _refused(gate, allowed, f"the report does not show the findings that the scan counted: {report}")
    today = world.clock.now().astimezone(UTC).date()
    counting = [one for one in found if rank(one.severity) > rank(allowed)]
    if policy.only_fixable:
        counting = [one for one in counting if one.fix_version]
    used = [waiver for waiver in policy.waivers if any(waiver.covers(one, today) for one in counting)]
    left = [one for one in counting if not any(waiver.covers(one, today) for waiver in used)]
    inputs = "; ".join([*map(str, used), str(report)])
    if not left:
        return GateVerdict(gate, passed=True, reason=f"nothing that counts is worse than {allowed}: {inputs}")
    return _refused(gate, allowed, "; ".join([_named(left), *_expired(policy.waivers, left), inputs]))


def _named(found: list[Vulnerability]) -> str:
    worst = sorted(found, key=lambda one: (-rank(one.severity), one.cve, one.package))
    more = f" and {len(worst) - _NAMED} more" if len(worst) > _NAMED else ""
    return ", ".join(map(str, worst[:_NAMED])) + more


def _expired(waivers: tuple[Waiver, ...], left: list[Vulnerability]) -> list[str]:
    """Returns the waivers that would have helped before their end."""
    return [f"{one}, which is over" for one in waivers if any(one.covers(found, one.until) for found in left)]


def _refused(gate: str, allowed: str, reason: str) -> GateVerdict:
    return GateVerdict(
        gate,
        passed=False,
        reason=f"worse than {allowed}: {reason}",
        hint="mend the image and build it again, or have the owner of the policy waive the finding",
    )
