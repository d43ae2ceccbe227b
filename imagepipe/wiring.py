"""The composition root: settings become adapters, adapters become what use cases ask for.

The only file that knows both. Adapters are imported when they are first needed, because some take half a second.

    wiring = Wiring(load_settings(flags={}, config_file=None, cwd=Path.cwd(), environ=os.environ), events=silent)
    wiring.registry.manifest(wiring.pin("es-sandbox/hello:1.4"))
"""

from __future__ import annotations

import os
import time
from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, datetime
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

from imagepipe import __version__
from imagepipe.errors import InputError, NotFoundError, SettingsError, UsageError
from imagepipe.model.reference import Pinned, Reference, Repository

if TYPE_CHECKING:
    from imagepipe.doctor.checks import DoctorWorld
    from imagepipe.engine.client import Endpoint
    from imagepipe.events import EventSink
    from imagepipe.evidence.reader import EvidenceReader
    from imagepipe.evidence.writer import EvidenceWriter
    from imagepipe.fanout import Outcome
    from imagepipe.harbor.connection import Connection
    from imagepipe.model.evidence import Signatory, TrustPolicy
    from imagepipe.model.host import Target
    from imagepipe.model.pipeline import Pipeline
    from imagepipe.model.result import Credential, RunResult
    from imagepipe.ports import Signer
    from imagepipe.ports.administration import Administration
    from imagepipe.promote.ports import HostPorts, World
    from imagepipe.registry.client import RegistryClient
    from imagepipe.registry.credentials import RegistryCredentials
    from imagepipe.registry.proof import RegistryProof
    from imagepipe.registry.referrers import RegistryReferrers
    from imagepipe.settings import Settings
    from imagepipe.signing.trust import SigstoreTrust

__all__ = ["SystemClock", "Wiring"]


class SystemClock:
    """The machine's own time."""

    def now(self) -> datetime:
        """Returns the time, aware, in UTC."""
        return datetime.now(UTC)


class Wiring:
    """Everything that commands need, made from settings when it is first asked for.

    Args:
        settings: What was configured.
        events: Where progress goes.
        environ: The environment, for credentials and CI identities.
    """

    target_jobs = 8  # pulls go on side by side; more targets than this wait their turn

    def __init__(self, settings: Settings, *, events: EventSink, environ: Mapping[str, str] | None = None) -> None:
        self._settings = settings
        self._events = events
        self._environ = os.environ if environ is None else environ
        self._clock = SystemClock()

    def reference(self, text: str) -> Reference:
        """Returns the image that a user names; without a host it is in the configured registry.

        Raises:
            InputError: It is no image name, or names no project of the configured registry.
        """
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
        pipelines = self.pipelines(short) if short or not names else ()
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
        from imagepipe.source.git import Git

        endpoint = self._endpoint(self._settings.build.host, None)
        world = BuildWorld(
            builder=EngineBuilder(endpoint, self._credentials),
            pusher=EnginePusher(endpoint, self._credentials, silence_s=self._settings.timeouts.push_s),
            source=self.registry,
            sink=self.registry,
            writer=self.writer if sign and self._settings.signing.mode != "none" else None,
            source_control=Git(detached_branch=ci.branch(self._environ)),
            clock=self._clock,
            events=self._events,
            invocation=ci.invocation(self._environ),
            version=__version__,
        )
        options = RunOptions(
            registry=self._settings.require_registry(),
            tags=tags,
            push=push,
            jobs=self._settings.build.jobs,
            build_timeout_s=self._settings.timeouts.build_s,
        )
        return run_pipelines(pipelines, options, world)

    def promotion_world(self) -> World:
        """Returns what promotion talks to."""
        from imagepipe.harbor.v2.scans import Scans2
        from imagepipe.promote.locking import TargetLocks
        from imagepipe.promote.ports import World

        return World(
            source=self.registry,
            sink=self.registry,
            reader=self.reader,
            writer=self.writer,
            scans=Scans2(
                self._harbor_connection, registry=self._settings.registry, dialect=self._settings.harbor.dialect
            ),
            policies={name: self._settings.policy(name) for name in self._settings.policies},
            targets={name: self.target(name) for name in self.target_names},
            exclusive=TargetLocks.of(self._environ, self._settings.timeouts.lock_s).holding,
            connect=self._connect,
            clock=self._clock,
            pause=time.sleep,
            events=self._events,
        )

    def doctor_world(self) -> DoctorWorld:
        """Returns what a doctor looks at."""
        from imagepipe.doctor.checks import DoctorWorld, Patient
        from imagepipe.engine.host import EngineHost
        from imagepipe.engine.inspector import EngineInspector

        def connect(target: Target) -> Patient:
            endpoint = self._endpoint(target.host, target.cert_path)
            return Patient(EngineHost(endpoint), EngineInspector(endpoint, target.cert_path))

        return DoctorWorld(
            registry=self._settings.registry,
            source=self.registry,
            harbor_version=self._harbor_version if self._settings.registry or self._settings.harbor.url else None,
            signer=None if self._settings.signing.mode == "none" else self._signer,
            build_host=lambda: EngineHost(self._endpoint(self._settings.build.host, None)),
            connect=connect,
            policies={name: self._settings.policy(name) for name in self._settings.policies},
            clock=self._clock,
        )

    @cached_property
    def registry(self) -> RegistryClient:
        """Reads and tags images; may be shared by threads."""
        from imagepipe.registry.client import RegistryClient
        from imagepipe.registry.connection import Connections

        registry, ca_file = self._settings.registry, self._settings.harbor.ca_file
        connections = Connections(
            credentials=self._credentials,
            ca_files={registry: ca_file} if registry and ca_file else {},
            # Harbor lets a pusher with this word read images that are not signed yet.
            # Source: Harbor v2.15.2 src/server/middleware/util/util.go SkipPolicyChecking
            signing=True,
            sink=self._events,
        )
        return RegistryClient(connections)

    @cached_property
    def administration(self) -> Administration:
        """Projects, members and robots of the Harbor; that it knows us is proven.

        Raises:
            CredentialsError: It does not, or there are no credentials.
        """
        from imagepipe.harbor.administration import open_administration

        return open_administration(
            url=self._settings.harbor_url,
            credential=self._harbor_credential(),
            ca_file=self._settings.harbor.ca_file,
            dialect=self._settings.harbor.dialect,
            sink=self._events,
        )

    def credential_proof(self) -> RegistryProof:
        """Returns what tries a new credential at the registry."""
        from imagepipe.registry.proof import RegistryProof

        registry = self._settings.require_registry()
        return RegistryProof(registry, ca_file=self._settings.harbor.ca_file, sink=self._events)

    @cached_property
    def reader(self) -> EvidenceReader:
        """Proves what is attached to images."""
        from imagepipe.evidence.reader import EvidenceReader
        from imagepipe.signing.verifier import SigstoreVerifier

        return EvidenceReader(referrers=self._referrers, verifier=SigstoreVerifier(trust=self._trust))

    @cached_property
    def writer(self) -> EvidenceWriter:
        """Signs and attaches statements."""
        from imagepipe.evidence.writer import EvidenceWriter

        return EvidenceWriter(signer=self._signer, referrers=self._referrers, reader=self.reader, clock=self._clock)

    def _harbor_connection(self) -> Connection:
        from imagepipe.harbor.connection import Connection

        url, ca_file = self._settings.harbor_url, self._settings.harbor.ca_file
        return Connection(url=url, credential=self._harbor_credential(), ca_file=ca_file, sink=self._events)

    def _harbor_credential(self) -> Credential | None:
        registry = self._settings.registry
        return self._credentials.for_registry(registry) if registry else self._settings.harbor_credential()

    def _harbor_version(self) -> str:
        caller = self.administration.callers.caller()
        told = ", as harbor.dialect says" if self._settings.harbor.dialect else ""
        return f"{self.administration.dialect} {self.administration.version}{told}, as {caller.name}"

    @cached_property
    def _referrers(self) -> RegistryReferrers:
        from imagepipe.registry.referrers import RegistryReferrers

        return RegistryReferrers(self.registry)

    @cached_property
    def _trust(self) -> SigstoreTrust:
        from imagepipe.signing.trust import SigstoreTrust

        return SigstoreTrust.load(self._settings.signing.trust_config)

    @cached_property
    def _signer(self) -> Signer:
        signing = self._settings.signing
        if signing.mode == "key":
            from imagepipe.signing.key import KeySigner

            if signing.key is None:
                raise SettingsError(
                    'signing.mode is "key" but signing.key is not set', hint="name the private key file"
                )
            return KeySigner.from_file(signing.key, password=self._settings.signing_password())
        if signing.mode == "none":
            raise SettingsError('signing.mode is "none"', hint='set it to "keyless" or "key" to sign')
        from imagepipe.signing.identity import IdentityTokens
        from imagepipe.signing.keyless import KeylessSigner

        tokens = IdentityTokens(
            clock=self._clock,
            file=signing.identity_token_file,
            # Source: sigstore-python and GitLab's id_tokens name the variable so.
            raw=self._environ.get("SIGSTORE_ID_TOKEN"),
        )
        return KeylessSigner(tokens=tokens, trust=self._trust, timeout_s=self._settings.timeouts.sign_s)

    @cached_property
    def _credentials(self) -> RegistryCredentials:
        from imagepipe.registry.credentials import RegistryCredentials

        registry, credential = self._settings.registry, self._settings.harbor_credential()
        return RegistryCredentials({registry: credential} if registry and credential else {}, environ=self._environ)

    def _connect(self, target: Target) -> HostPorts:
        from imagepipe.engine.host import EngineHost
        from imagepipe.engine.puller import EnginePuller
        from imagepipe.promote.ports import HostPorts

        endpoint = self._endpoint(target.host, target.cert_path)
        timeouts = self._settings.timeouts
        puller = EnginePuller(endpoint, self._credentials, silence_s=timeouts.pull_s, total_s=timeouts.pull_s)
        return HostPorts(EngineHost(endpoint), puller)

    def _endpoint(self, host: str, cert_path: str | None) -> Endpoint:
        from imagepipe.engine.client import Endpoint

        timeouts = self._settings.timeouts
        return Endpoint(host, cert_path=cert_path, connect_timeout_s=timeouts.connect_s, read_timeout_s=timeouts.read_s)
