"""The composition root: settings become adapters, adapters become what use cases ask for.

The only room that knows both. Adapters are imported when they are first needed, because some take half a second.

    wiring = Wiring(load_settings(flags={}, config_file=None, cwd=Path.cwd(), environ=os.environ), events=silent)
    wiring.registry.manifest(wiring.pin("es-sandbox/hello:1.4"))
"""

from __future__ import annotations

import time
from collections.abc import Iterable, Sequence
from dataclasses import replace
from functools import cached_property
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING

from imagepipe import __version__
from imagepipe.errors import ImagepipeError, InputError, NotFoundError, SettingsError, UsageError
from imagepipe.fanout import begin
from imagepipe.model.reference import Pinned, Reference, Repository
from imagepipe.wiring.adapters import Adapters, SystemClock

if TYPE_CHECKING:
    from imagepipe.doctor.checks import DoctorWorld
    from imagepipe.doctor.targets import Patient
    from imagepipe.fanout import Outcome
    from imagepipe.model.evidence import Signatory, TrustPolicy
    from imagepipe.model.host import Target
    from imagepipe.model.pipeline import Pipeline
    from imagepipe.model.result import RunResult
    from imagepipe.promote.offline import Offline
    from imagepipe.promote.ports import World
    from imagepipe.promote.protecting import Protection
    from imagepipe.registry.site import HttpSite

__all__ = ["SystemClock", "Wiring"]


class Wiring(Adapters):
    """Everything that commands need: names become values, adapters become the worlds of the use cases."""

    target_jobs = 8  # pulls go on side by side; more targets than this wait their turn

    def reference(self, text: str) -> Reference:
        """Returns the image that a user names; without a host it is in the configured registry.

        Raises:
            InputError: It is no image name, or names no project of the configured registry.
            UsageError: It is several, or none: what another command printed, between quotes.
        """
        if not (named := text.split()):
            raise UsageError("no image is named", hint="look at why what was to print its name printed nothing")
        if len(named) > 1:
            raise UsageError(
                f"{len(named)} image names in one argument: {', '.join(named)[:400]}",
                hint="give each as an argument of its own, without quotes round all of them",
            )
        reference = Reference.parse(text, default_registry=self._settings.registry)
        if reference.repository.registry == self._settings.registry and not reference.repository.name:
            raise InputError(f"no project in image name {text!r}", hint="write project/name:tag")
        return reference

    def pin(self, text: str) -> Pinned:
        """Returns the image that a user names, its tag resolved once.

        Raises:
            NotFoundError: There is no such tag.
        """
        reference = self.reference(text)
        if reference.digest is not None:
            return reference.repository.pin(reference.digest)
        named = reference if reference.tag else reference.repository.tagged("latest")
        try:
            return reference.repository.pin(self.registry.resolve(named).digest)
        except NotFoundError as error:
            raise NotFoundError(error.message, hint=error.hint or "check project, name and tag") from error

    def target(self, name: str) -> Target:
        """Returns the configured target of that name; raises NotFoundError."""
        return self._settings.target(name)

    def targets(self, names: Iterable[str]) -> tuple[Target, ...]:
        """Returns the targets that the names of targets and groups stand for, each once; raises NotFoundError."""
        return tuple(self.target(name) for name in self._settings.members(names))

    @property
    def group_names(self) -> tuple[str, ...]:
        """The names of all configured groups of targets."""
        return tuple(self._settings.groups)

    @property
    def target_names(self) -> tuple[str, ...]:
        """The names of all configured targets."""
        return tuple(self._settings.targets)

    def policy(self, name: str | None) -> TrustPolicy:
        """Returns the policy of that name, or the only one.

        Raises:
            UsageError: No name is given and there are several.
            SettingsError: There is none at all.
        """
        names = list(self._settings.policies)
        if name is None and len(names) > 1:
            raise UsageError(f"there are several policies: {', '.join(names)}", hint="name one with --policy")
        if not names:
            raise SettingsError("no policy is configured", hint="add [policies.NAME] with signed_by to imagepipe.toml")
        return self._settings.policy(name or names[0])

    @cached_property
    def all_signatories(self) -> tuple[Signatory, ...]:
        """Everybody whom any policy trusts."""
        policies = (self._settings.policy(name) for name in self._settings.policies)
        return tuple(dict.fromkeys(who for policy in policies for who in policy.signed_by))

    @cached_property
    def all_approvers(self) -> tuple[Signatory, ...]:
        """Everybody whom any policy lets approve plans."""
        policies = (self._settings.policy(name) for name in self._settings.policies)
        return tuple(dict.fromkeys(who for one in policies if one.approvals for who in one.approvals.by))

    def pipelines(self, names: Iterable[str | Path], assignments: Sequence[str] = ()) -> tuple[Pipeline, ...]:
        """Returns the pipelines named (all, if none is), checked, in build order."""
        from imagepipe.build.load import load_pipelines

        registry = self._settings.require_registry()
        return load_pipelines(names, root=Path.cwd(), registry=registry, assignments=assignments)

    def repositories(self, names: Sequence[str]) -> tuple[Repository, ...]:
        """Returns the repositories that names (pipelines, or project/name) stand for; none: all pipelines here."""
        registry = self._settings.require_registry()
        full = [Repository.parse(name, default_registry=registry) for name in names if "/" in name]
        short = [name for name in names if "/" not in name]
        try:
            pipelines = self.pipelines(short) if short or not names else ()
        except NotFoundError as error:  # nothing is to be built here: who asks may be anywhere
            raise NotFoundError(
                error.message, hint="name what to look at as project/name, or go to its pipelines"
            ) from error
        return tuple(dict.fromkeys([*full, *(pipeline.repository(registry) for pipeline in pipelines)]))

    def run(
        self, pipelines: tuple[Pipeline, ...], *, tags: tuple[str, ...], push: bool, sign: bool
    ) -> tuple[Outcome[Pipeline, RunResult], ...]:
        """Builds, pushes, signs and proves the pipelines."""
        from imagepipe.build.ports import BuildWorld
        from imagepipe.build.runner import RunOptions, run_pipelines
        from imagepipe.engine.builder import EngineBuilder
        from imagepipe.engine.pusher import EnginePusher
        from imagepipe.source import ci
        from imagepipe.wiring.explaining import ExplainedPusher

        endpoint = self._endpoint(self._settings.build.host, None)
        world = BuildWorld(
            builder=EngineBuilder(endpoint, self._credentials),
            pusher=ExplainedPusher(
                EnginePusher(endpoint, self._credentials, silence_s=self._settings.timeouts.push_s), self.explainer
            ),
            source=self.registry,
            sink=self.registry,
            writer=self.writer if sign and self._settings.signing.mode != "none" else None,
            source_control=self.source_control,
            clock=self._clock,
            events=self._events,
            invocation=ci.invocation(self._environ),
            version=__version__,
        )
        if push:
            registry = self._settings.require_registry()
            self.explainer.pushing([pipeline.repository(registry) for pipeline in pipelines])
        options = RunOptions(
            registry=self._settings.require_registry(),
            tags=tags,
            push=push,
            jobs=self._settings.build.jobs,
            build_timeout_s=self._settings.timeouts.build_s,
        )
        return run_pipelines(pipelines, options, world)

    def promotion_world(
        self, *, break_lock: bool = False, reads_only: bool = False, policies: Sequence[TrustPolicy] | None = None
    ) -> World:
        """Returns what promotion talks to.

        Args:
            break_lock: Whether an operator says that somebody else's lock is to be broken.
            reads_only: Nothing will be signed: who only looks needs neither key nor identity.
            policies: The only policies that are asked about; None: all that are configured, their key files read.
        """
        from imagepipe.model.evidence import Identity
        from imagepipe.promote.locking import TargetLocks
        from imagepipe.promote.ports import World
        from imagepipe.promote.sharing import SharedLocks
        from imagepipe.registry.copying import RegistryCopier
        from imagepipe.signing import worker
        from imagepipe.wiring.explaining import ExplainedCopier

        machine = TargetLocks.of(self._environ, self._settings.timeouts.lock_s)
        every = [self._settings.policy(name) for name in self._settings.policies] if policies is None else policies
        known = {policy.name: policy for policy in every}
        locks = SharedLocks(machine, self._lock, events=self._events, jobs=self.target_jobs, breaks=break_lock)
        world = World(
            source=self.registry,
            sink=self.registry,
            tags=self.registry.tags,
            copier=ExplainedCopier(RegistryCopier(self.registry, self._referrers), self.explainer),
            reader=self.reader,
            writer=self.silent_writer if reads_only else self.writer,
            scans=lambda: self.scans,
            policies=known,
            targets={name: self.target(name) for name in self.target_names},
            exclusive=locks.holding,
            connect=self._connect,
            clock=self._clock,
            pause=time.sleep,
            events=self._events,
            settle_s=self._settings.timeouts.settle_s,
            switch_s=self._settings.timeouts.switch_s,
            held_back=self.outbox.holds,
        )
        if any(isinstance(who, Identity) for policy in every for who in policy.signed_by):
            # Last: two threads that import the same thing could wait for each other.
            self._verifier.prepare()
            if worker.begun() is not None:
                # What proves signatures comes from elsewhere: meanwhile there is time for what asks the targets.
                begin(lambda: import_module("imagepipe.engine.lock"))
        return world

    def offline(self, world: World) -> Offline:
        """Returns what a rollback stands on while the registry of a world is away."""
        from imagepipe.evidence.reader import EvidenceReader
        from imagepipe.promote.offline import Offline
        from imagepipe.registry.client import RegistryClient
        from imagepipe.registry.kept import KeptConnections
        from imagepipe.registry.referrers import RegistryReferrers
        from imagepipe.signing.verifier import SigstoreVerifier

        kept = RegistryClient(KeptConnections(self.shelf))
        reader = EvidenceReader(referrers=RegistryReferrers(kept), verifier=SigstoreVerifier(trust=self._trust))
        return Offline(replace(world, source=kept, sink=kept, reader=reader), self.shelf.heard, self.outbox)

    def protection(self) -> Protection:
        """Returns what guards images that are needed.

        Raises:
            SettingsError: No target is configured, so that nobody could say what is needed.
        """
        from imagepipe.promote.protecting import Protection

        if not self.target_names:
            raise SettingsError("no target is configured, so nobody can say what is needed", hint="add [targets.NAME]")
        world = self.promotion_world(reads_only=True)
        return Protection(world=world, keeper=self.keeper, tags=self.registry, jobs=self.target_jobs)

    def doctor_world(self, images: Sequence[Reference] = ()) -> DoctorWorld:
        """Returns what a doctor looks at, the projects of these images too."""
        from imagepipe.doctor.checks import DoctorWorld
        from imagepipe.engine.host import EngineHost
        from imagepipe.registry.schema1 import Schema1Probe

        return DoctorWorld(
            registry=self._settings.registry,
            source=self.registry,
            old_clients=Schema1Probe(self.registry.connections),
            sites=self._sites(),
            harbor_version=self._harbor_version if self._settings.registry or self._settings.harbor.url else None,
            administration=lambda: self.administration,
            projects=self._projects(images),
            signer=None if self._settings.signing.mode == "none" else lambda: self._signer,
            build_host=lambda: EngineHost(self._endpoint(self._settings.build.host, None)),
            connect=self.patient,
            policy=self._settings.policy,
            clock=self._clock,
        )

    def patient(self, target: Target) -> Patient:
        """Returns a target as a doctor looks at it."""
        from imagepipe.doctor.targets import Patient
        from imagepipe.engine.host import EngineHost
        from imagepipe.engine.identity import Pin
        from imagepipe.engine.inspector import EngineInspector
        from imagepipe.engine.lock import EngineLock

        endpoint = self._endpoint(target.host, target.cert_path, Pin.of(target))
        lock = EngineLock(endpoint, target.kind)
        return Patient(EngineHost(endpoint), EngineInspector(endpoint, target.cert_path, self._clock), lock)

    def _projects(self, images: Sequence[Reference]) -> tuple[str, ...]:
        """Returns the projects of images and of the pipelines here; those that cannot be read are `plan`'s to tell."""
        try:
            repositories = self.repositories(())
        except ImagepipeError:
            repositories = ()
        ours = (one for one in repositories if one.registry == self._settings.registry)
        named = (image.repository for image in images if image.repository.registry == self._settings.registry)
        return tuple(dict.fromkeys(one.path.partition("/")[0] for one in (*named, *ours)))

    def _sites(self) -> dict[str, HttpSite]:
        """Returns where the registry is served, and Harbor where that is elsewhere."""
        from imagepipe.registry.site import HttpSite

        registry, ca_file = self._settings.registry, self._settings.harbor.ca_file
        urls = {registry: f"https://{registry}"} if registry else {}
        if self._settings.harbor.url not in (None, *urls.values()):
            urls["harbor"] = str(self._settings.harbor.url)
        return {name: HttpSite(url, ca_file=ca_file, clock=self._clock) for name, url in urls.items()}
