"""A Sigstore of the sandbox on a real socket, and the clients' side of it."""

import base64
import contextlib
import socket
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import uvicorn
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from sigstore.models import ClientTrustConfig
from sigstore.oidc import IdentityToken
from sigstore.sign import SigningContext
from sigstore.verify import Verifier

from imagepipe.sandbox.sigstore import SigstoreConfig, create_app

READY_WITHIN_S = 10
EMAIL_CLAIMS = {"sub": "ci", "email": "ci@example.com", "email_verified": True}


@dataclass(frozen=True)
class Sigstore:
    """What a user of a running Sigstore holds: its address and the folder with its trust files."""

    url: str
    state_dir: Path

    @property
    def trust_config(self) -> ClientTrustConfig:
        return ClientTrustConfig.from_json((self.state_dir / "trust_config.json").read_text())

    def mint(self, **claims: Any) -> str:
        return httpx.post(f"{self.url}/mint", json=claims).raise_for_status().text

    def signing_context(self) -> SigningContext:
        return SigningContext.from_trust_config(self.trust_config)

    def identity(self, **claims: Any) -> IdentityToken:
        return IdentityToken(self.mint(**(claims or EMAIL_CLAIMS)))

    def verifier(self) -> Verifier:
        return Verifier(trusted_root=self.trust_config.trusted_root)


def bound_socket() -> socket.socket:
    """Returns a socket on a free loopback port, held so that nobody else takes it."""
    held = socket.socket(proto=socket.IPPROTO_TCP)  # named as TCP, so that asyncio sends small packets at once
    held.bind(("127.0.0.1", 0))
    return held


@contextlib.contextmanager
def served(state_dir: Path, *, tsa: bool = False) -> Iterator[Sigstore]:
    """Serves a Sigstore in a thread of this process."""
    with bound_socket() as held:
        url = f"http://127.0.0.1:{held.getsockname()[1]}"
        app = create_app(SigstoreConfig(external_url=url, state_dir=state_dir, tsa=tsa))
        server = uvicorn.Server(uvicorn.Config(app, lifespan="off", ws="none", log_level="warning"))
        thread = threading.Thread(target=server.run, kwargs={"sockets": [held]})
        thread.start()
        try:
            wait_until_ready(url)
            yield Sigstore(url, state_dir)
        finally:
            server.should_exit = True
            thread.join(timeout=READY_WITHIN_S)


def wait_until_ready(url: str) -> float:
    """Returns the seconds until the readiness probe answered."""
    start = time.monotonic()
    while time.monotonic() - start < READY_WITHIN_S:
        with contextlib.suppress(httpx.TransportError):
            if httpx.get(f"{url}/healthz").is_success:
                return time.monotonic() - start
        time.sleep(0.02)
    raise TimeoutError(f"{url} did not get ready")


def b64(data: bytes) -> str:
    return base64.b64encode(data).decode()


def pem(public: ec.EllipticCurvePublicKey | rsa.RSAPublicKey) -> bytes:
    return public.public_bytes(serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo)


def sign(key: ec.EllipticCurvePrivateKey, message: bytes) -> bytes:
    return key.sign(message, ec.ECDSA(hashes.SHA256()))
