"""A small world to be looked at by a doctor, with twins that hold what a host, a site and a signer would say."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta

from imagepipe.doctor.checks import DoctorWorld, examine
from imagepipe.doctor.finding import Finding
from imagepipe.doctor.targets import Patient
from imagepipe.errors import ImagepipeError, NotFoundError
from imagepipe.model import media
from imagepipe.model.certificate import Certificate, SiteLook, TlsLook
from imagepipe.model.evidence import Signatory, TrustPolicy
from imagepipe.model.host import HostFacts, HostInfo, Target, TargetKind
from imagepipe.model.reference import Reference
from imagepipe.ports import ContainerHost
from imagepipe.ports.administration import Administration
from imagepipe.ports.diagnosis import PerishableSigner
from imagepipe.ports.locking import HostLock
from tests.contract.engine_memory import MemoryHost, MemoryLock
from tests.contract.harbor_memory import MemoryHarbor
from tests.contract.registry_memory import MemoryRegistry
from tests.unit.promote.world import CI, SteppingClock

NOW = SteppingClock().now()
VCH = Target("vch-a", TargetKind.VCH, "tcp://vch-a:2376", "/certs", policy="prod")
BEARER = 'Bearer realm="https://vic.example/service/token",service="harbor-registry"'


def certificate(subject: str = "vch-a", *, days: float = 364, issuer: str = "vch-a CA") -> Certificate:
    """Returns a certificate that lives so many days from now."""
    start = datetime(2025, 1, 1, tzinfo=UTC)
    return Certificate(subject, issuer, (subject,), start, NOW + timedelta(days=days), f"sha256:{'a' * 64}")


def site(**changes: object) -> SiteLook:
    """Returns what a good registry shows."""
    whole = {"tls": TlsLook(certificate("vic.example"), "TLSv1.3"), "versions": "registry/2.0", "challenge": BEARER}
    return SiteLook(**{**whole, **changes})  # type: ignore[arg-type] # a test names what it changes


@dataclass
class Inspected:
    """What a host would tell a doctor."""

    told: HostFacts = field(default_factory=lambda: HostFacts(("bridge", "public"), ("default",), system_time=NOW))
    look: TlsLook | ImagepipeError | None = field(default_factory=lambda: TlsLook(certificate(), "TLSv1.2"))
    own: Certificate | None = field(default_factory=lambda: certificate("client"))

    def facts(self) -> HostFacts:
        return self.told

    def tls(self) -> TlsLook | None:
        if isinstance(self.look, ImagepipeError):
            raise self.look
        return self.look

    def own_certificate(self) -> Certificate | None:
        return self.own


@dataclass
class Seen:
    """A site, by what it shows or the error it ends in."""

    shown: SiteLook | ImagepipeError = field(default_factory=site)

    def look(self) -> SiteLook:
        if isinstance(self.shown, ImagepipeError):
            raise self.shown
        return self.shown


@dataclass
class Old:
    """What clients from before schema 2 are served, or the error that they get."""

    answer: str | ImagepipeError = media.DOCKER_SCHEMA_1
    asked: list[Reference] = field(default_factory=list)

    def served(self, reference: Reference) -> str:
        self.asked.append(reference)
        if isinstance(self.answer, ImagepipeError):
            raise self.answer
        return self.answer


@dataclass
class Signing:
    """Who would sign, and until when."""

    who: Signatory = CI
    ends: datetime | None = NOW + timedelta(hours=1)
    failure: ImagepipeError | None = None

    def signatory(self) -> Signatory:
        if self.failure is not None:
            raise self.failure
        return self.who

    def expires_at(self) -> datetime | None:
        return self.ends


@dataclass
class Clinic:
    """The world; a test changes what it is about."""

    kind: TargetKind = TargetKind.VCH
    build_kind: TargetKind = TargetKind.DOCKER
    registry: MemoryRegistry = field(default_factory=MemoryRegistry)
    inspected: Inspected = field(default_factory=Inspected)
    seen: Seen = field(default_factory=Seen)
    old: Old = field(default_factory=Old)
    signing: Signing | None = field(default_factory=Signing)
    harbor: MemoryHarbor = field(default_factory=MemoryHarbor)
    host: str | None = "vic.example"
    version: Callable[[], str] | None = None
    projects: Sequence[str] = ()
    connect_failure: ImagepipeError | None = None

    def __post_init__(self) -> None:
        self.patient = MemoryHost(self.kind, self.registry)
        self.builder = MemoryHost(self.build_kind, self.registry)
        self.lock: HostLock = MemoryLock()
        self.info: HostInfo | None = None

    def examine(self, *targets: Target, images: Sequence[str] = ()) -> dict[tuple[str, str], Finding]:
        """Returns the findings by subject and check."""
        found = examine(targets, self.world(), images=[Reference.parse(name) for name in images], jobs=2)
        assert len({(one.subject, one.check) for one in found}) == len(found)
        return {(one.subject, one.check): one for one in found}

    def world(self) -> DoctorWorld:
        return DoctorWorld(
            registry=self.host,
            source=self.registry,
            old_clients=self.old,
            sites={self.host: self.seen} if self.host else {},
            harbor_version=self.version,
            administration=self._administration,
            projects=self.projects,
            signer=self._signer if self.signing else None,
            build_host=self._builder,
            connect=self.connect,
            policy=self._policy,
            clock=SteppingClock(),
        )

    def connect(self, target: Target) -> Patient:
        if self.connect_failure is not None:
            raise self.connect_failure
        return Patient(self.patient, self.inspected, self.lock)

    def _administration(self) -> Administration:
        return self.harbor.administration()

    def _signer(self) -> PerishableSigner:
        assert self.signing is not None
        return self.signing

    def _builder(self) -> ContainerHost:
        return self.builder

    @staticmethod
    def _policy(name: str) -> TrustPolicy:
        if name != "prod":
            raise NotFoundError(f"no policy named {name!r}")
        return TrustPolicy("prod", (CI,))
