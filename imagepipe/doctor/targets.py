"""One target: whether it answers, whether it is what the configuration says, and what it has to offer.

>>> from imagepipe.doctor.targets import examine_target
>>> examine_target.__name__
'examine_target'
"""

import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import datetime
from typing import Final

from imagepipe.doctor import security
from imagepipe.doctor.finding import Finding, Level, failed, size
from imagepipe.errors import AccessError, HostChangedError, ImagepipeError
from imagepipe.model.certificate import TlsLook
from imagepipe.model.evidence import TrustPolicy
from imagepipe.model.host import HostFacts, HostInfo, Target, TargetKind
from imagepipe.ports import ContainerHost
from imagepipe.ports.diagnosis import HostInspector
from imagepipe.ports.locking import HostLock

__all__ = ["Examined", "Patient", "Surroundings", "examine_target", "major"]

_RENEW: Final = "get a new one from the administrator of this target (a VCH's live one year)"
# Source: VIC v1.5.8 pkg/version/version.go:39; the same since 1.1.1.
_VCH_API: Final = "1.25"
# Pulls are told by digest and by tag as this project needs them since then.
# Source: VIC's own history: the pull and digest code is the same from 1.2.1 to 1.5.8 (lib/imagec).
_VIC_SINCE: Final = (1, 2, 1)
# A tenth: a pull stages layers and writes a disk for each.
_LITTLE: Final = 0.1


@dataclass(frozen=True, slots=True)
class Patient:
    """One host's seams."""

    host: ContainerHost
    inspector: HostInspector
    lock: HostLock


@dataclass(frozen=True, slots=True, kw_only=True)
class Surroundings:
    """What a target is held against.

    Attributes:
        registry: `host[:port]` of the configured registry, or None.
        harbor_version: What Harbor says it is, or None.
        policy: Returns the trust policy of that name.
        now: The time.
    """

    registry: str | None
    harbor_version: str | None
    policy: Callable[[str], TrustPolicy]
    now: datetime


@dataclass(frozen=True, slots=True)
class Examined:
    """A target that answered."""

    target: Target
    info: HostInfo
    facts: HostFacts


def examine_target(target: Target, patient: Patient, around: Surroundings) -> tuple[list[Finding], Examined | None]:
    """Returns what is found, and the target where it could be asked."""
    try:
        info, facts = patient.host.info(), patient.inspector.facts()
    except ImagepipeError as error:
        return list(_unreachable(target, patient, error, around.now)), None
    product = "VIC" if info.kind is TargetKind.VCH else "Docker Engine"
    findings = [
        Finding(target.name, "reachable", Level.OK, f"{product} {info.version}, API {info.api_version}"),
        _kind(target, info),
        _policy(target, around),
    ]
    findings.extend(_security(target, patient, facts, around.now))
    findings.extend(_lock(target, patient.lock))
    findings.extend(_vch(target, info, facts, around) if info.kind is TargetKind.VCH else _engine(target, facts))
    return findings, Examined(target, info, facts)


def major(version: str) -> int:
    """Returns the major version in a text such as `harbor-2 2.15.2`."""
    match = re.search(r"\b(\d+)\.\d+", version)
    return int(match[1]) if match else 0


def _unreachable(target: Target, patient: Patient, error: ImagepipeError, now: datetime) -> Iterator[Finding]:
    """Yields why a target cannot be asked; where TLS is the reason, what its certificate says."""
    if isinstance(error, HostChangedError):
        yield failed(target.name, "pin", error)
        return
    look: TlsLook | None = None
    if isinstance(error, AccessError):
        try:
            look = patient.inspector.tls()
        except ImagepipeError:
            look = None
    if look is not None and look.distrusted:
        yield from security.handshake(target.name, look, now, renew=_RENEW)
    else:
        yield failed(target.name, "reachable", error)
    yield from _own(target, patient, now)


def _security(target: Target, patient: Patient, facts: HostFacts, now: datetime) -> Iterator[Finding]:
    try:
        look = patient.inspector.tls()
    except ImagepipeError as error:
        yield failed(target.name, "tls", error)
        return
    if look is None:
        yield _open(target)
    else:
        yield from security.handshake(target.name, look, now, renew=_RENEW)
        yield from _own(target, patient, now)
        yield _pin(target)
    if facts.system_time is not None:
        yield security.clock(target.name, facts.system_time, now)


def _lock(target: Target, lock: HostLock) -> Iterator[Finding]:
    """Yields who holds the target's lock: nobody, as a rule."""
    try:
        holder = lock.holder()
    except ImagepipeError as error:
        yield failed(target.name, "lock", error)
        return
    if holder is not None:
        yield Finding(
            target.name,
            "lock",
            Level.NOTE,
            f"a promotion holds it: {holder}",
            "wait until it is done; if it is gone for good, promote with --break-lock and --reason",
        )


def _own(target: Target, patient: Patient, now: datetime) -> Iterator[Finding]:
    try:
        own = patient.inspector.own_certificate()
    except ImagepipeError:
        return
    if own is not None:
        yield security.certificate(target.name, "client certificate", own, now, renew=_RENEW)


def _open(target: Target) -> Finding:
    if target.host.startswith("unix:"):
        return Finding(target.name, "tls", Level.OK, "a socket of this machine, without TLS")
    return Finding(
        target.name,
        "tls",
        Level.WARN,
        "spoken to without TLS: whoever is on the way can read and change everything",
        f"let it listen with TLS, and set cert_path in [targets.{target.name}]",
    )


def _pin(target: Target) -> Finding:
    if target.pin is not None:
        told = f" and to id {target.host_id}" if target.host_id else ""
        return Finding(target.name, "pin", Level.OK, f"pinned to {target.pin}{told}")
    return Finding(
        target.name,
        "pin",
        Level.NOTE,
        "not pinned: any certificate of its authority is taken for it",
        f"pin it: imagepipe targets add {target.name} --replace",
    )


def _kind(target: Target, info: HostInfo) -> Finding:
    if info.kind is target.kind:
        ready = Level.OK if info.ready else Level.FAIL
        hint = None if info.ready else "wait until its backend engine is RUNNING"
        return Finding(target.name, "kind", ready, f"{info.kind.value} {info.name}", hint)
    return Finding(
        target.name,
        "kind",
        Level.FAIL,
        f"configured as {target.kind.value}, a {info.kind.value} answers",
        f'set kind = "{info.kind.value}" in [targets.{target.name}], or correct its host',
    )


def _policy(target: Target, around: Surroundings) -> Finding:
    if target.policy is None:
        return Finding(
            target.name,
            "policy",
            Level.FAIL,
            "no policy guards it, so nothing can be promoted to it",
            f"set policy in [targets.{target.name}]",
        )
    try:
        policy = around.policy(target.policy)
    except ImagepipeError as error:
        return failed(target.name, "policy", error)
    return Finding(target.name, "policy", Level.OK, f"{target.policy}: {', '.join(map(str, policy.signed_by))}")


def _engine(target: Target, facts: HostFacts) -> Iterator[Finding]:
    yield Finding(target.name, "networks", Level.OK, ", ".join(facts.networks) or "none")
    where = f" below {facts.root_dir}" if facts.root_dir else ""
    yield Finding(target.name, "free space", Level.NOTE, f"not known: no engine tells how much is free{where}")


def _vch(target: Target, info: HostInfo, facts: HostFacts, around: Surroundings) -> Iterator[Finding]:
    yield from _versions(target, info)
    yield Finding(target.name, "networks", Level.OK, ", ".join(facts.networks) or "none")
    yield Finding(
        target.name,
        "volume stores",
        Level.OK if facts.volume_stores else Level.WARN,
        ", ".join(facts.volume_stores) or "none",
        None if facts.volume_stores else "images that declare a VOLUME cannot run here: add a store with vic-machine",
    )
    yield _storage(target, facts)
    if around.registry is not None and info.whitelist is not None:
        allowed = info.allows(around.registry)
        yield Finding(
            target.name,
            "whitelist",
            Level.OK if allowed else Level.FAIL,
            ", ".join(info.whitelist),
            None if allowed else f"add {around.registry} (vic-machine configure --whitelist-registry)",
        )
    if around.harbor_version is not None and major(around.harbor_version) >= 2:
        # From 2.0 on a tag is replaced by its digest before the registry inside is asked, which makes schema 1 of tags
        # only. A warning, because this is known of the version and was not tried: an image (--image) tries it.
        # Source: goharbor/harbor v2.15.2 src/server/registry/manifest.go getManifest; distribution v2.8.1 manifests.go
        yield Finding(
            target.name,
            "harbor",
            Level.WARN,
            f"{around.harbor_version.partition(',')[0]} serves no schema 1 manifests, "
            f"which VIC {info.version} asks for first",
            "let --image IMAGE:TAG try it; a pull that ends in `missing signature key` means this pair: "
            "keep the Harbor that VIC bundles for it",
        )


def _versions(target: Target, info: HostInfo) -> Iterator[Finding]:
    if info.api_version != _VCH_API:
        yield Finding(
            target.name,
            "api version",
            Level.WARN,
            f"API {info.api_version}, where every known VCH speaks {_VCH_API}",
            "find out what stands between: this is no VCH that is known here",
        )
    numbers = tuple(int(part) for part in re.findall(r"\d+", info.version)[:3])
    if numbers and numbers < _VIC_SINCE:
        yield Finding(
            target.name,
            "version",
            Level.WARN,
            f"VIC {info.version} is older than 1.2.1, since when pulls are as they are expected here",
            "upgrade it (vic-machine upgrade)",
        )


def _storage(target: Target, facts: HostFacts) -> Finding:
    """Returns what is left of a VCH's own limit: once it is reached every pull is refused.

    Source: VIC v1.5.8 lib/apiservers/engine/backends/image.go:461 validateStorageQuota; system.go:220.
    """
    used, limit = facts.storage_used_bytes, facts.storage_limit_bytes
    if limit is None:
        told = f"{size(used)} used; " if used is not None else ""
        detail = f"{told}it has no limit of its own, and does not tell how much its datastore has left"
        return Finding(target.name, "free space", Level.NOTE, detail)
    left = facts.storage_left_bytes or 0
    level = Level.FAIL if left <= 0 else Level.WARN if left < limit * _LITTLE else Level.OK
    return Finding(
        target.name,
        "free space",
        level,
        f"{size(left)} left of its limit of {size(limit)}",
        None if level is Level.OK else "remove images there, or raise it (vic-machine configure --storage-quota)",
    )
