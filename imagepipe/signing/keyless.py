"""Signs as an identity, with a certificate that lives ten minutes and an entry in a public log.

>>> KeylessSigner.__name__
'KeylessSigner'
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Final

from imagepipe.model.evidence import Bundle, Identity, Statement
from imagepipe.signing.identity import IdentityTokens
from imagepipe.signing.trust import SigstoreTrust
from imagepipe.signing.worker import Certificate

__all__ = ["KeylessSigner"]

# The log must write the entry down before the certificate ends. Longer than any log takes.
_LEAST_S: Final = 60.0


class KeylessSigner:
    """Signs statements as whoever the identity token names.

    Args:
        tokens: Finds the token, anew for each certificate.
        trust: The Sigstore to sign with; a client trust config or the public one.
        timeout_s: Longest wait for one answer of the certificate authority or the log, in seconds.
    """

    def __init__(self, *, tokens: IdentityTokens, trust: SigstoreTrust, timeout_s: float = 30.0) -> None:
        self._tokens = tokens
        self._trust = trust
        self._timeout_s = timeout_s
        self._certificate: Certificate | None = None

    def prepare(self) -> None:
        """Gets a certificate beforehand: what is signed while it lives is signed under it, even if the token ends.

        Raises:
            IdentityError: The identity is missing, has expired or is not accepted.
            UnavailableError: The certificate authority is away or breaks.
            SettingsError: The trust file cannot be used for signing.
        """
        self._certificate = self._new()

    def signatory(self) -> Identity:
        """Returns whom the certificate names or would name.

        Raises:
            IdentityError: No identity can be had, or it has expired.
        """
        certificate = self._living()
        return certificate.signatory if certificate else self._tokens.token().signatory

    def expires_at(self) -> datetime:
        """Returns when the identity token ends; raises as `signatory`."""
        return self._tokens.token().expires_at

    def sign(self, statements: Sequence[Statement]) -> tuple[Bundle, ...]:
        """Returns one bundle per statement, all under one certificate; the exact bytes of the payloads are signed.

        Raises:
            IdentityError: The identity is missing, has expired or is not accepted.
            UnavailableError: The certificate authority or the log is away or breaks.
            SettingsError: The trust file cannot be used for signing.
        """
        certificate = self._living()
        if not statements:
            return ()
        payloads = [statement.payload for statement in statements]
        return tuple(Bundle(raw) for raw in (certificate or self._new()).sign(payloads))

    def _living(self) -> Certificate | None:
        certificate = self._certificate
        return certificate if certificate is not None and certificate.left_s() >= _LEAST_S else None

    def _new(self) -> Certificate:
        return Certificate(self._trust, self._tokens.token(), self._timeout_s)
