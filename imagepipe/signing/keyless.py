"""Signs as an identity, with a certificate that lives ten minutes and an entry in a public log.

>>> KeylessSigner.__name__
'KeylessSigner'
"""

from collections.abc import Sequence
from datetime import datetime

from imagepipe.model.evidence import Bundle, Identity, Statement
from imagepipe.signing.identity import IdentityTokens
from imagepipe.signing.trust import SigstoreTrust

__all__ = ["KeylessSigner"]


class KeylessSigner:
    """Signs statements as whoever the identity token names.

    Args:
        tokens: Finds the token, anew for each call.
        trust: The Sigstore to sign with; a client trust config or the public one.
        timeout_s: Longest wait for one answer of the certificate authority or the log, in seconds.
    """

    def __init__(self, *, tokens: IdentityTokens, trust: SigstoreTrust, timeout_s: float = 30.0) -> None:
        self._tokens = tokens
        self._trust = trust
        self._timeout_s = timeout_s

    def signatory(self) -> Identity:
        """Returns whom the certificate would name.

        Raises:
            IdentityError: No identity can be had, or it has expired.
        """
        return self._tokens.token().signatory

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
        token = self._tokens.token()
        if not statements:
            return ()
        from imagepipe.signing import sealed  # late: sigstore takes 0.4 s to import

        payloads = [statement.payload for statement in statements]
        return tuple(Bundle(raw) for raw in sealed.sign(self._trust, token, payloads, self._timeout_s))
