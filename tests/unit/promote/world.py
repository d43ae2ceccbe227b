"""A small world in memory: one registry, targets that pull from it, a signer that the policy trusts."""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta

from imagepipe.errors import ImagepipeError
from imagepipe.events import Event
from imagepipe.evidence.reader import EvidenceReader
from imagepipe.evidence.writer import EvidenceWriter
from imagepipe.model.evidence import SIGNATURE_PREDICATE, Identity, Statement, TrustPolicy
from imagepipe.model.host import Target, TargetKind
from imagepipe.model.lock import Held
from imagepipe.model.manifest import Index, Manifest
from imagepipe.model.reference import Pinned, Reference, Repository
from imagepipe.model.scan import ScanReport, Vulnerability
from imagepipe.promote.ports import HostPorts, World
from tests.contract.engine_memory import MemoryHost
from tests.contract.registry_memory import MemoryRegistry
from tests.contract.runner_memory import MemoryRunner
from tests.contract.signing_memory import MemorySigner, MemoryVerifier

CI = Identity("ci@example.com", "https://issuer.example")
STRANGER = Identity("eve@example.com", "https://issuer.example")
REPOSITORY = "vic.example/es-sandbox/hello"


class SteppingClock:
    """A clock that moves on by a second each time it is read."""

    def __init__(self) -> None:
        self._now = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)

    def now(self) -> datetime:
        self._now += timedelta(seconds=1)
        return self._now


@dataclass
class MemoryScans:
    """A scanner in memory: one report for every image, and its findings."""

    found: ScanReport | None = None
    vulnerable: tuple[Vulnerability, ...] = ()
    failure: ImagepipeError | None = None

    def report(self, image: Pinned) -> ScanReport | None:
        if self.failure:
            raise self.failure
        return self.found

    def vulnerabilities(self, image: Pinned) -> tuple[Vulnerability, ...]:
        return self.vulnerable


@dataclass
class Small:
    """The world and everything that a test may look at or break."""

    registry: MemoryRegistry = field(default_factory=MemoryRegistry)
    signer: MemorySigner = field(default_factory=lambda: MemorySigner(CI))
    policy: TrustPolicy = field(default_factory=lambda: TrustPolicy("prod", (CI,)))
    hosts: dict[str, MemoryHost] = field(default_factory=dict)
    connect_errors: dict[str, ImagepipeError] = field(default_factory=dict)
    paused_s: list[float] = field(default_factory=list)
    events: list[Event] = field(default_factory=list)
    verifier: MemoryVerifier = field(default_factory=MemoryVerifier)
    scans: MemoryScans = field(default_factory=MemoryScans)
    others: tuple[TrustPolicy, ...] = ()
    locked: ImagepipeError | None = None
    held: Held = field(default_factory=Held)
    known: dict[str, Target] = field(default_factory=dict)
    runners: dict[str, MemoryRunner] = field(default_factory=dict)

    def runner(self, name: str) -> MemoryRunner:
        """Returns what replaces containers on a target, always the same one."""
        return self.runners.setdefault(name, MemoryRunner(self.hosts[name]))

    def target(self, name: str, kind: TargetKind = TargetKind.VCH, *, host: str | None = None) -> Target:
        if name not in self.hosts:
            self.hosts[name] = MemoryHost(kind, self.registry, name=name)
        return Target(name, kind, host or f"tcp://{name}:2376", policy=self.policy.name)

    def world(self) -> World:
        reader = EvidenceReader(referrers=self.registry, verifier=self.verifier)
        clock = SteppingClock()
        return World(
            source=self.registry,
            sink=self.registry,
            tags=lambda repository: [tag for place, tag in self.registry.tags if place == repository],
            copier=self.registry,
            reader=reader,
            writer=EvidenceWriter(signer=self.signer, referrers=self.registry, reader=reader, clock=clock),
            scans=lambda: self.scans,
            policies={policy.name: policy for policy in (self.policy, *self.others)},
            targets=self.known,
            exclusive=self._exclusive,
            connect=self._connect,
            clock=clock,
            pause=self.paused_s.append,
            events=self.events.append,
        )

    def sign(
        self,
        manifest: Manifest | Index,
        who: Identity = CI,
        predicate_type: str = SIGNATURE_PREDICATE,
        predicate: Mapping[str, object] | None = None,
        repository: Repository | None = None,
    ) -> Pinned:
        """Attaches a statement by someone and returns the pinned image."""
        image = (repository or Reference.parse(REPOSITORY).repository).pin(manifest.digest)
        statement = Statement.about(image, predicate_type, predicate or {})
        (bundle,) = MemorySigner(who).sign([statement])
        self.registry.attach(image, manifest.descriptor, bundle.as_artifact(predicate_type, SteppingClock().now()))
        return image

    def image(self, tag: str = "1.4", **kwargs: object) -> Manifest:
        """Adds an image that CI has signed."""
        manifest = self.registry.add_image(REPOSITORY, tag, **kwargs)  # type: ignore[arg-type]  # passed on as given
        self.sign(manifest)
        return manifest

    @contextmanager
    def _exclusive(self, targets: Sequence[Target]) -> Iterator[Held]:
        if self.locked:
            raise self.locked
        yield self.held

    def _connect(self, target: Target) -> HostPorts:
        if target.name in self.connect_errors:
            raise self.connect_errors[target.name]
        host = self.hosts[target.name]
        return HostPorts(host, host, host, self.runner(target.name))
