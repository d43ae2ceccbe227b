"""Looks at every connection, credential, certificate and version, and says what will not work together.

>>> from imagepipe.doctor.checks import examine
>>> examine.__name__
'examine'
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final

from imagepipe import fanout
from imagepipe.doctor.finding import Finding, Level, failed, until
from imagepipe.doctor.images import examine_image
from imagepipe.doctor.registry import examine_rights, examine_sites, examine_source
from imagepipe.doctor.targets import Examined, Patient, Surroundings, examine_target
from imagepipe.errors import ImagepipeError
from imagepipe.model.evidence import TrustPolicy
from imagepipe.model.host import Target, TargetKind
from imagepipe.model.reference import Reference
from imagepipe.ports import Clock, ContainerHost, ManifestSource
from imagepipe.ports.administration import Administration
from imagepipe.ports.diagnosis import OldClients, PerishableSigner, Site

__all__ = ["DoctorWorld", "examine"]

# A token is used at the end of a build, and is had anew at the start of the next job.
_TOKEN_WARN_BEFORE: Final = timedelta(minutes=2)


@dataclass(frozen=True, slots=True, kw_only=True)
class DoctorWorld:
    """Everything that is looked at.

    Attributes:
        registry: `host[:port]` of the configured registry, or None.
        source: How it is asked.
        old_clients: How it is seen by a VCH.
        sites: The registry's site by its name, and Harbor's where it is another.
        harbor_version: Asks Harbor for its version, proving the credentials; None where no Harbor is configured.
        administration: Opens Harbor's administration, once `harbor_version` has proven that it knows us.
        projects: Names of the projects that we work in.
        signer: Makes who would sign; None where signing is off.
        build_host: The engine that builds.
        connect: Opens a target, inside the thread that looks at it.
        policy: Returns the trust policy of that name.
        clock: The time that certificates are held against.
    """

    registry: str | None
    source: ManifestSource
    old_clients: OldClients
    sites: Mapping[str, Site]
    harbor_version: Callable[[], str] | None
    administration: Callable[[], Administration]
    projects: Sequence[str]
    signer: Callable[[], PerishableSigner] | None
    build_host: Callable[[], ContainerHost]
    connect: Callable[[Target], Patient]
    policy: Callable[[str], TrustPolicy]
    clock: Clock


def examine(
    targets: Sequence[Target], world: DoctorWorld, *, images: Sequence[Reference] = (), jobs: int
) -> tuple[Finding, ...]:
    """Returns every finding; nothing is changed anywhere.

    Args:
        targets: Which targets to look at.
        world: What is looked at: registry, Harbor, signing, build host, then each target.
        images: Images that the targets are to take.
        jobs: How many targets are asked at once.
    """
    for_vch = any(target.kind is TargetKind.VCH for target in targets)
    harbor, version = _harbor(world)
    around = Surroundings(registry=world.registry, harbor_version=version, policy=world.policy, now=world.clock.now())
    outcomes = fanout.each(targets, lambda target: _target(target, around, world), jobs=jobs)
    hosts = [finding for outcome in outcomes for finding in outcome.unwrap()[0]]
    well = [one for _, one in (outcome.unwrap() for outcome in outcomes) if one is not None]
    hosts += _twice(well)
    sites = list(examine_sites(world.sites, world.clock.now, for_vch=for_vch))
    broken = {one.subject for one in sites if one.level is Level.FAIL and one.check == "tls"}
    # One cause is told once: what cannot be reached over TLS cannot be asked either.
    source = [] if world.registry in broken else list(examine_source(world.registry, world.source))
    if version is None and broken & {world.registry, "harbor"}:
        harbor = []
    takes = [finding for image in images for finding in examine_image(image, well, world.source, world.old_clients)]
    return (*sites, *source, *harbor, *_signing(world), *_build_host(world), *hosts, *takes)


def _twice(well: Sequence[Examined]) -> Iterator[Finding]:
    """Yields targets that are one host: what is on record of one is not known of the other.

    VCHs of several vCenters may bear one name, and engines that were cloned one id, so that this is a warning.
    """
    first = dict[tuple[TargetKind, str], Target]()
    for one in well:
        other = first.setdefault((one.info.kind, one.info.host_id), one.target)
        if one.info.host_id and other != one.target:
            by = "name" if one.info.kind is TargetKind.VCH else "id"
            yield Finding(
                one.target.name,
                "host",
                Level.WARN,
                f"the same {by} as {other.name}: {one.info.host_id}; a rollback of one is not known of the other",
                f"promote by one name only: imagepipe targets remove {one.target.name}, if both are one host",
            )


def _harbor(world: DoctorWorld) -> tuple[list[Finding], str | None]:
    if world.harbor_version is None:
        return [], None
    try:
        version = world.harbor_version()
    except ImagepipeError as error:
        return [failed("harbor", "credentials", error)], None
    found = [Finding("harbor", "credentials", Level.OK, f"accepted; {version}")]
    try:
        found.extend(examine_rights(world.administration(), world.projects, world.clock.now()))
    except ImagepipeError as error:
        found.append(failed("harbor", "rights", error))
    return found, version


def _signing(world: DoctorWorld) -> Iterator[Finding]:
    if world.signer is None:
        yield Finding("signing", "identity", Level.WARN, "signing is off", 'set signing.mode to "keyless" or "key"')
        return
    try:
        signer = world.signer()
        yield Finding("signing", "identity", Level.OK, f"signs as {signer.signatory()}")
        ends = signer.expires_at()
    except ImagepipeError as error:
        yield failed("signing", "identity", error)
        return
    if ends is not None:
        yield _token(ends, world.clock.now())


def _token(ends: datetime, now: datetime) -> Finding:
    level, words = until(ends, now, warn_before=_TOKEN_WARN_BEFORE)
    hint = None if level is Level.OK else "fetch a fresh identity token before you sign"
    return Finding("signing", "identity token", level, words, hint)


def _build_host(world: DoctorWorld) -> Iterator[Finding]:
    try:
        info = world.build_host().info()
    except ImagepipeError as error:
        yield failed("build host", "reachable", error)
        return
    if info.kind is TargetKind.VCH:
        yield Finding(
            "build host", "kind", Level.FAIL, "a VCH can neither build nor push", "set build.host to a Docker Engine"
        )
        return
    yield Finding("build host", "reachable", Level.OK, f"Docker Engine {info.version}, API {info.api_version}")


def _target(target: Target, around: Surroundings, world: DoctorWorld) -> tuple[list[Finding], Examined | None]:
    try:
        patient = world.connect(target)
    except ImagepipeError as error:
        return [failed(target.name, "reachable", error)], None
    return examine_target(target, patient, around)
