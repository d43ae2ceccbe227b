"""The sandbox's own Sigstore: OIDC issuer, Fulcio, CT log, Rekor and, when wanted, a timestamp authority.

It issues any identity on request (`POST /mint`), so it proves plumbing and never people: a test tool, to be bound to
loopback or to the sandbox's own namespaces.

    python -m imagepipe.sandbox.sigstore --config sigstore.json
"""

from imagepipe.sandbox.sigstore.app import create_app
from imagepipe.sandbox.sigstore.config import SigstoreConfig

__all__ = ["SigstoreConfig", "create_app"]
