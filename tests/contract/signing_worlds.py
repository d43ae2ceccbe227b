"""Every way of signing, each with the same few doors, so that one suite can hold all of them to account."""

import json
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any, Protocol

import pytest
from sigstore import dsse

from imagepipe.model.digest import Digest
from imagepipe.model.evidence import SIGNATURE_PREDICATE, Bundle, Identity, Signatory, Statement
from imagepipe.model.reference import Pinned
from imagepipe.ports import Signer, Verifier
from imagepipe.signing import worker
from imagepipe.signing.claims import Envelope
from imagepipe.signing.identity import IdentityTokens
from imagepipe.signing.key import KeySigner
from imagepipe.signing.keyless import KeylessSigner
from imagepipe.signing.trust import SigstoreTrust
from imagepipe.signing.verifier import SigstoreVerifier
from imagepipe.signing.worker import Worker, serve
from tests.contract.signing_memory import MemorySigner, MemoryVerifier
from tests.contract.sigstore_server import EMAIL_CLAIMS, Sigstore

HELLO = Pinned.parse("vic.example/es-sandbox/hello@" + str(Digest.of(b"hello")))
OTHER = Pinned.parse("vic.example/es-sandbox/hello@" + str(Digest.of(b"other")))


def statement(image: Pinned = HELLO, predicate_type: str = SIGNATURE_PREDICATE, **predicate: Any) -> Statement:
    return Statement.about(image, predicate_type, predicate)


def changed(bundle: Bundle, **changes: Any) -> Bundle:
    """Returns the bundle with other members at its top."""
    return Bundle(json.dumps({**json.loads(bundle.raw), **changes}).encode())


class SystemClock:
    def now(self) -> datetime:
        return datetime.now(UTC)


class World(Protocol):
    """One way of signing: someone who signs, a stranger, and a verifier for both."""

    @property
    def signer(self) -> Signer: ...

    @property
    def stranger(self) -> Signer: ...

    @property
    def verifier(self) -> Verifier: ...

    def seal(self, payload_type: str, payload: bytes) -> Bundle:
        """Returns what the signer would sign if it were not careful."""
        ...

    def with_payload(self, bundle: Bundle, payload_b64: str) -> Bundle:
        """Returns the bundle with another payload under the same signature."""
        ...


@dataclass
class MemoryWorld:
    signer: MemorySigner = field(
        default_factory=lambda: MemorySigner(Identity("ci@example.com", "https://idp.example"))
    )
    stranger: MemorySigner = field(
        default_factory=lambda: MemorySigner(Identity("eve@example.com", "https://idp.example"))
    )
    verifier: MemoryVerifier = field(default_factory=MemoryVerifier)

    def seal(self, payload_type: str, payload: bytes) -> Bundle:
        return self.signer.seal(payload_type, payload)

    def with_payload(self, bundle: Bundle, payload_b64: str) -> Bundle:
        return changed(bundle, payload=payload_b64)


def _with_dsse_payload(bundle: Bundle, payload_b64: str) -> Bundle:
    envelope = json.loads(bundle.raw)["dsseEnvelope"]
    return changed(bundle, dsseEnvelope={**envelope, "payload": payload_b64})


@dataclass
class KeyWorld:
    signer: KeySigner = field(default_factory=lambda: KeySigner.generate("ci"))
    stranger: KeySigner = field(default_factory=lambda: KeySigner.generate("eve"))
    verifier: Verifier = field(default_factory=lambda: SigstoreVerifier(trust=SigstoreTrust.load(None)))

    def seal(self, payload_type: str, payload: bytes) -> Bundle:
        return self.signer.seal(Envelope(payload_type, payload))

    def with_payload(self, bundle: Bundle, payload_b64: str) -> Bundle:
        return _with_dsse_payload(bundle, payload_b64)


@dataclass
class KeylessWorld:
    sigstore: Sigstore

    @property
    def trust(self) -> SigstoreTrust:
        return SigstoreTrust.load(self.sigstore.state_dir / "trust_config.json")

    def signer_as(self, **claims: Any) -> KeylessSigner:
        tokens = IdentityTokens(clock=SystemClock(), raw=self.sigstore.mint(**claims))
        return KeylessSigner(tokens=tokens, trust=self.trust, timeout_s=10)

    @property
    def signer(self) -> KeylessSigner:
        return self.signer_as(**EMAIL_CLAIMS)

    @property
    def stranger(self) -> KeylessSigner:
        return self.signer_as(sub="eve", email="eve@example.com", email_verified=True)

    @property
    def verifier(self) -> SigstoreVerifier:
        return SigstoreVerifier(trust=self.trust)

    def seal(self, payload_type: str, payload: bytes) -> Bundle:
        context: Any = self.sigstore.signing_context()
        with pytest.MonkeyPatch.context() as patch, context.signer(self.sigstore.identity()) as signer:
            patch.setattr(dsse.Envelope, "_TYPE", payload_type)
            made = signer.sign_dsse(_Anything(payload))
        context._rekor._session.close()
        return Bundle(made.to_json().encode())

    def with_payload(self, bundle: Bundle, payload_b64: str) -> Bundle:
        return _with_dsse_payload(bundle, payload_b64)


@contextmanager
def worked_for() -> Iterator[Worker]:
    """Lets this process ask a worker, which is a thread here: what goes to and fro is the same."""
    ours, theirs = socket.socketpair()
    serving = threading.Thread(target=serve, args=[theirs])
    serving.start()
    asked = Worker(ours)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(worker, "_BEGUN", [asked])
        yield asked
    asked.end()
    serving.join(timeout=10)
    theirs.close()


class _Anything(dsse.Statement):
    """What sigstore-python would not sign, but anybody else may."""

    def __init__(self, contents: bytes) -> None:
        self._contents = contents


def trusted(*signers: Signer) -> list[Signatory]:
    return [signer.signatory() for signer in signers]
