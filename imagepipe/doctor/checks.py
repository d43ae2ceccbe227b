"""Looks at every connection, credential, certificate and version, and says what will not work together.

>>> Finding("vch-a", "reachable", Level.OK, "VIC 1.5.8").to_json()["level"]
'ok'
"""

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum
from typing import Any, Final

from imagepipe import fanout
from imagepipe.errors import ImagepipeError, NotFoundError
from imagepipe.model.evidence import TrustPolicy
from imagepipe.model.host import HostFacts, HostInfo, Target, TargetKind
from imagepipe.model.reference import Reference, Repository
from imagepipe.ports import Clock, ContainerHost, HostInspector, ManifestSource, Signer

__all__ = ["DoctorWorld", "Finding", "Level", "Patient", "examine"]

# A VCH's certificates live one year, and a month is enough to get new ones. Source: VIC v1.5.8 pkg/certificate.
_WARN_BEFORE: Final = timedelta(days=30)
# A name that no registry holds: the answer tells whether it is there and knows us.
_PROBE_TAG: Final = "imagepipe-doctor-probe"


class Level(StrEnum):
    """How bad it is."""

    OK = "ok"
    WARN = "warn"
    FAIL = "fail"


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing that was looked at: what it is about, what was asked, how bad the answer is, and the way out."""

    subject: str
    check: str
    level: Level
    detail: str
    hint: str | None = None

    def to_json(self) -> dict[str, Any]:
        """Returns the finding as a JSON object."""
        return {
            "subject": self.subject,
            "check": self.check,
            "level": self.level.value,
            "detail": self.detail,
            "hint": self.hint,
        }


@dataclass(frozen=True, slots=True)
class Patient:
    """One host's seams."""

    host: ContainerHost
    inspector: HostInspector


@dataclass(frozen=True, slots=True, kw_only=True)
class DoctorWorld:
    """Everything that is looked at.

    Attributes:
        registry: `host[:port]` of the configured registry, or None.
        source: How it is asked.
        harbor_version: Asks Harbor for its version, proving the credentials; None where no Harbor is configured.
        signer: Who would sign; None where signing is off.
        build_host: The engine that builds.
        connect: Opens a target, inside the thread that looks at it.
        policies: Trust policies by name.
        clock: The time that certificates are held against.
    """

    registry: str | None
    source: ManifestSource
    harbor_version: Callable[[], str] | None
    signer: Signer | None
    build_host: Callable[[], ContainerHost]
    connect: Callable[[Target], Patient]
    policies: Mapping[str, TrustPolicy]
    clock: Clock


def examine(targets: Sequence[Target], world: DoctorWorld, *, jobs: int) -> tuple[Finding, ...]:
    """Returns every finding: registry, Harbor, signing, build host, then each target; nothing is changed anywhere."""
    harbor, version = _harbor(world)
    outcomes = fanout.each(targets, lambda target: list(_target(target, version, world)), jobs=jobs)
    hosts = [finding for outcome in outcomes for finding in outcome.unwrap()]
    return (*_registry(world), *harbor, *_signing(world), *_build_host(world), *hosts)


def _registry(world: DoctorWorld) -> Iterator[Finding]:
    if world.registry is None:
        yield Finding("registry", "configured", Level.WARN, "no registry is set", 'write registry = "host"')
        return
    probe = Reference(Repository(world.registry, "imagepipe/doctor"), tag=_PROBE_TAG)
    try:
        world.source.resolve(probe)
    except NotFoundError:
        pass
    except ImagepipeError as error:
        # A registry that knows us but hides the repository answers as if we had no right: it is there, and TLS works.
        if error.kind != "permission":
            yield _failed(world.registry, "reachable", error)
            return
    yield Finding(world.registry, "reachable", Level.OK, "answers over TLS and takes our credentials")


def _harbor(world: DoctorWorld) -> tuple[list[Finding], str | None]:
    if world.harbor_version is None:
        return [], None
    try:
        version = world.harbor_version()
    except ImagepipeError as error:
        return [_failed("harbor", "credentials", error)], None
    return [Finding("harbor", "credentials", Level.OK, f"accepted; {version}")], version


def _signing(world: DoctorWorld) -> Iterator[Finding]:
    if world.signer is None:
        yield Finding("signing", "identity", Level.WARN, "signing is off", 'set signing.mode to "keyless" or "key"')
        return
    try:
        yield Finding("signing", "identity", Level.OK, f"signs as {world.signer.signatory()}")
    except ImagepipeError as error:
        yield _failed("signing", "identity", error)


def _build_host(world: DoctorWorld) -> Iterator[Finding]:
    try:
        info = world.build_host().info()
    except ImagepipeError as error:
        yield _failed("build host", "reachable", error)
        return
    if info.kind is TargetKind.VCH:
        yield Finding(
            "build host", "kind", Level.FAIL, "a VCH can neither build nor push", "set build.host to a Docker Engine"
        )
        return
    yield Finding("build host", "reachable", Level.OK, f"Docker Engine {info.version}, API {info.api_version}")


def _target(target: Target, harbor_version: str | None, world: DoctorWorld) -> Iterator[Finding]:
    try:
        patient = world.connect(target)
        info, facts = patient.host.info(), patient.inspector.facts()
    except ImagepipeError as error:
        yield _failed(target.name, "reachable", error)
        return
    product = "VIC" if info.kind is TargetKind.VCH else "Docker Engine"
    yield Finding(target.name, "reachable", Level.OK, f"{product} {info.version}, API {info.api_version}")
    yield _kind(target, info)
    yield _policy(target, world)
    yield from _certificates(target, facts, world.clock.now())
    if info.kind is TargetKind.VCH:
        yield from _vch(target, info, facts, harbor_version, world)


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


def _policy(target: Target, world: DoctorWorld) -> Finding:
    if target.policy is None or target.policy not in world.policies:
        return Finding(
            target.name,
            "policy",
            Level.FAIL,
            "no policy guards it, so nothing can be promoted to it",
            f"set policy in [targets.{target.name}]",
        )
    signers = ", ".join(map(str, world.policies[target.policy].signed_by))
    return Finding(target.name, "policy", Level.OK, f"{target.policy}: {signers}")


def _certificates(target: Target, facts: HostFacts, now: datetime) -> Iterator[Finding]:
    for what, ends in (("client", facts.client_certificate_ends), ("server", facts.server_certificate_ends)):
        if ends is None:
            continue
        soon = ends - now < _WARN_BEFORE
        yield Finding(
            target.name,
            f"{what} certificate",
            Level.WARN if soon else Level.OK,
            f"valid until {ends:%Y-%m-%d}",
            "get a new one from the administrator of this target" if soon else None,
        )


def _vch(
    target: Target, info: HostInfo, facts: HostFacts, harbor_version: str | None, world: DoctorWorld
) -> Iterator[Finding]:
    yield Finding(target.name, "networks", Level.OK, ", ".join(facts.networks) or "none")
    yield Finding(
        target.name,
        "volume stores",
        Level.OK if facts.volume_stores else Level.WARN,
        ", ".join(facts.volume_stores) or "none",
        None if facts.volume_stores else "images that declare a VOLUME cannot run here: add a store with vic-machine",
    )
    if world.registry is not None and info.whitelist is not None:
        allowed = info.allows(world.registry)
        yield Finding(
            target.name,
            "whitelist",
            Level.OK if allowed else Level.FAIL,
            ", ".join(info.whitelist),
            None if allowed else f"add {world.registry} (vic-machine configure --whitelist-registry)",
        )
    if harbor_version is not None and _major(harbor_version) >= 2:
        yield Finding(
            target.name,
            "harbor",
            Level.WARN,
            f"{harbor_version} serves no schema 1 manifests, which VIC {info.version} asks for first",
            "a pull that ends in `missing signature key` means this pair: keep the Harbor that VIC bundles for it",
        )


def _major(version: str) -> int:
    """Returns the major version in a text such as `harbor-2 2.15.2`."""
    match = re.search(r"\b(\d+)\.\d+", version)
    return int(match[1]) if match else 0


def _failed(subject: str, check: str, error: ImagepipeError) -> Finding:
    return Finding(subject, check, Level.FAIL, error.message, error.hint)
