"""The adapters, each made from the settings when it is first asked for, and then shared.

>>> Adapters.__name__
'Adapters'
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from datetime import UTC, datetime
from functools import cached_property, partial
from typing import TYPE_CHECKING

from imagepipe.errors import SettingsError

if TYPE_CHECKING:
    from pathlib import Path

    from imagepipe.engine.client import Endpoint
    from imagepipe.engine.identity import Pin
    from imagepipe.events import EventSink
    from imagepipe.evidence.reader import EvidenceReader
    from imagepipe.evidence.writer import EvidenceWriter
    from imagepipe.harbor.connection import Connection
    from imagepipe.model.host import Target
    from imagepipe.model.result import Credential
    from imagepipe.ports import Scans, SourceControl
    from imagepipe.ports.administration import Administration
    from imagepipe.ports.locking import HostLock
    from imagepipe.ports.protection import Keeper
    from imagepipe.promote.outbox import Outbox
    from imagepipe.promote.ports import HostPorts
    from imagepipe.registry.client import RegistryClient
    from imagepipe.registry.credentials import RegistryCredentials
    from imagepipe.registry.kept import Shelf
    from imagepipe.registry.proof import RegistryProof
    from imagepipe.registry.referrers import RegistryReferrers
    from imagepipe.settings import Settings
    from imagepipe.signing.key import KeySigner
    from imagepipe.signing.keyless import KeylessSigner
    from imagepipe.signing.trust import SigstoreTrust
    from imagepipe.signing.verifier import SigstoreVerifier
    from imagepipe.wiring.explaining import Explainer

__all__ = ["Adapters", "SystemClock"]


class SystemClock:
    """The machine's own time."""

    def now(self) -> datetime:
        """Returns the time, aware, in UTC."""
        return datetime.now(UTC)


class Adapters:
    """What speaks to the outside.

    Args:
        settings: What was configured.
        events: Where progress goes.
        environ: The environment, for credentials and CI identities.
    """

    def __init__(self, settings: Settings, *, events: EventSink, environ: Mapping[str, str] | None = None) -> None:
        self._settings = settings
        self._events = events
        self._environ = os.environ if environ is None else environ
        self._clock = SystemClock()
        self._endpoints: dict[Target, Endpoint] = {}

    @cached_property
    def registry(self) -> RegistryClient:
        """Reads and tags images; may be shared by threads."""
        from imagepipe.registry.kept import KeepingConnections
        from imagepipe.wiring.explaining import ExplainedRegistry

        registry, ca_file = self._settings.registry, self._settings.harbor.ca_file
        connections = KeepingConnections(
            self.shelf,
            credentials=self._credentials,
            ca_files={registry: ca_file} if registry and ca_file else {},
            # Harbor lets a pusher with this word read images that are not signed yet.
            # Source: Harbor v2.15.2 src/server/middleware/util/util.go SkipPolicyChecking
            signing=True,
            sink=self._events,
        )
        return ExplainedRegistry(connections, self.explainer)

    @cached_property
    def scans(self) -> Scans:
        """What Harbor's scanner found in images."""
        from imagepipe.harbor.v2.scans import Scans2

        return Scans2(self._harbor_connection, registry=self._settings.registry, dialect=self._settings.harbor.dialect)

    @cached_property
    def outbox(self) -> Outbox:
        """Records that wait on this machine."""
        from imagepipe.promote.outbox import Outbox

        return Outbox.of(self._environ)

    @cached_property
    def keeper(self) -> Keeper:
        """Makes Harbor keep images."""
        from imagepipe.harbor.v2.keeping import Keeper2

        return Keeper2(self._harbor_connection, registry=self._settings.registry, dialect=self._settings.harbor.dialect)

    @cached_property
    def shelf(self) -> Shelf:
        """What registries answered last."""
        from imagepipe.registry.kept import Shelf

        return Shelf.of(self._environ)

    @cached_property
    def administration(self) -> Administration:
        """Projects, members and robots of the Harbor; that it knows us is proven.

        Raises:
            CredentialsError: It does not, or there are no credentials.
        """
        return self._administered_by(self._harbor_credential())

    def _administered_by(self, credential: Credential | None) -> Administration:
        from imagepipe.harbor.administration import open_administration

        return open_administration(
            url=self._settings.harbor_url,
            credential=credential,
            ca_file=self._settings.harbor.ca_file,
            dialect=self._settings.harbor.dialect,
            sink=self._events,
        )

    @cached_property
    def explainer(self) -> Explainer:
        """Asks Harbor why it refused something."""
        from imagepipe.wiring.explaining import Explainer

        def username() -> str | None:
            credential = self._harbor_credential()
            return credential.username if credential else None

        return Explainer(
            registry=self._settings.registry,
            administration=lambda: self.administration,
            username=username,
            clock=self._clock,
            sink=self._events,
        )

    @property
    def state_folder(self) -> Path:
        """Where things are kept between runs."""
        from imagepipe.settings import state_folder

        return state_folder(self._environ)

    def credential_proof(self) -> RegistryProof:
        """Returns what tries a new credential at the registry."""
        from imagepipe.registry.proof import RegistryProof

        registry = self._settings.require_registry()
        return RegistryProof(
            registry, ca_file=self._settings.harbor.ca_file, login=self._administered_by, sink=self._events
        )

    @cached_property
    def source_control(self) -> SourceControl:
        """What is checked out, and what changed."""
        from imagepipe.source import ci
        from imagepipe.source.git import Git

        return Git(branch_of=partial(ci.branch, self._environ), events=self._events)

    @cached_property
    def reader(self) -> EvidenceReader:
        """Proves what is attached to images."""
        from imagepipe.evidence.reader import EvidenceReader

        return EvidenceReader(referrers=self._referrers, verifier=self._verifier)

    @cached_property
    def _verifier(self) -> SigstoreVerifier:
        from imagepipe.signing.verifier import SigstoreVerifier

        return SigstoreVerifier(trust=self._trust)

    @cached_property
    def writer(self) -> EvidenceWriter:
        """Signs and attaches statements."""
        from imagepipe.evidence.writer import EvidenceWriter

        return EvidenceWriter(signer=self._signer, referrers=self._referrers, reader=self.reader, clock=self._clock)

    @property
    def silent_writer(self) -> EvidenceWriter:
        """The same for those who sign nothing: how signing is configured is not asked before somebody does."""
        from imagepipe.evidence.writer import EvidenceWriter
        from imagepipe.signing.late import LateSigner

        signer = LateSigner(lambda: self._signer)
        return EvidenceWriter(signer=signer, referrers=self._referrers, reader=self.reader, clock=self._clock)

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
        from imagepipe.wiring.explaining import ExplainedReferrers

        return ExplainedReferrers(self.registry, self.explainer)

    @cached_property
    def _trust(self) -> SigstoreTrust:
        from imagepipe.signing.trust import SigstoreTrust

        return SigstoreTrust.load(self._settings.signing.trust_config)

    @cached_property
    def _signer(self) -> KeySigner | KeylessSigner:
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
        from imagepipe.layers import home_folder
        from imagepipe.registry.credentials import RegistryCredentials

        registry, credential = self._settings.registry, self._settings.harbor_credential()
        return RegistryCredentials(
            {registry: credential} if registry and credential else {},
            environ=self._environ,
            home=home_folder(self._environ),
        )

    def _connect(self, target: Target) -> HostPorts:
        from imagepipe.engine.host import EngineHost
        from imagepipe.engine.identity import Pin
        from imagepipe.engine.inventory import EngineInventory
        from imagepipe.engine.puller import EnginePuller
        from imagepipe.engine.runner import EngineRunner
        from imagepipe.promote.ports import HostPorts
        from imagepipe.wiring.explaining import ExplainedPuller

        endpoint = self._target_endpoint(target)
        timeouts = self._settings.timeouts
        puller = EnginePuller(endpoint, self._credentials, silence_s=timeouts.pull_s, total_s=timeouts.pull_s)
        slow = self._endpoint(
            target.host, target.cert_path, Pin.of(target), read_s=max(timeouts.read_s, timeouts.switch_s)
        )
        return HostPorts(
            EngineHost(endpoint),
            ExplainedPuller(puller, self.explainer),
            EngineInventory(endpoint),
            EngineRunner(slow, target.kind),
        )

    def _lock(self, target: Target) -> HostLock:
        from imagepipe.engine.lock import EngineLock

        return EngineLock(self._target_endpoint(target), target.kind)

    def _target_endpoint(self, target: Target) -> Endpoint:
        """Returns the one endpoint of a target: who it is and which API it speaks is asked once."""
        from imagepipe.engine.identity import Pin

        made = self._endpoints.get(target) or self._endpoint(target.host, target.cert_path, Pin.of(target))
        return self._endpoints.setdefault(target, made)  # threads may come at once

    def _endpoint(
        self, host: str, cert_path: str | None, pin: Pin | None = None, *, read_s: float | None = None
    ) -> Endpoint:
        from imagepipe.engine.client import Endpoint

        timeouts = self._settings.timeouts
        return Endpoint(
            host,
            cert_path=cert_path,
            connect_timeout_s=timeouts.connect_s,
            read_timeout_s=timeouts.read_s if read_s is None else read_s,
            pin=pin,
        )
