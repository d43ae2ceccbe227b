"""Proves bundles, along the path that the policy asks for and never along the one that the bundle offers.

>>> SigstoreVerifier.__name__
'SigstoreVerifier'
"""

from collections.abc import Callable, Sequence
from functools import cached_property

from imagepipe.errors import VerificationError
from imagepipe.fanout import begin
from imagepipe.model.digest import Digest
from imagepipe.model.evidence import Bundle, Identity, PublicKey, Signatory, VerifiedStatement
from imagepipe.signing.claims import Signed, proven_statement
from imagepipe.signing.trust import SigstoreTrust
from imagepipe.signing.worker import Prover

__all__ = ["SigstoreVerifier"]


class SigstoreVerifier:
    """Proves bundles by identities (through Sigstore) and by public keys; nothing is asked over the network.

    Only the public Sigstore's keys are refreshed, once, before the first keyless bundle.

    Args:
        trust: What a keyless signature must lead back to.
    """

    def __init__(self, *, trust: SigstoreTrust) -> None:
        self._trust = trust
        self._begun: Callable[[], Prover] | None = None

    def prepare(self) -> None:
        """Begins to load what keyless bundles are proven with: a tenth of a second, and the public Sigstore's refresh.

        It goes on while the first bundle is fetched; the first proof waits for it, and is told when it failed.
        """
        self._begun = self._begun or begin(self._load)

    def verify(
        self, bundle: Bundle, digest: Digest, predicate_type: str, trusted: Sequence[Signatory]
    ) -> VerifiedStatement:
        """Returns the statement, proven to be about `digest`, of that type, and signed by one of `trusted`.

        Raises:
            VerificationError: Anything else; an empty `trusted` always.
            SettingsError: The trust file or a trusted key cannot be used.
            UnavailableError: The public Sigstore's keys cannot be refreshed.
        """
        signed = self._signed(bundle, trusted)
        statement = proven_statement(signed.envelope, digest, predicate_type)
        return VerifiedStatement(statement, signed.signatory, signed.signed_at)

    def _signed(self, bundle: Bundle, trusted: Sequence[Signatory]) -> Signed:
        identities = [signatory for signatory in trusted if isinstance(signatory, Identity)]
        keys = [signatory for signatory in trusted if isinstance(signatory, PublicKey)]
        ways: list[Callable[[], Signed]] = []
        if identities:
            ways.append(lambda: self._keyless.prove(bundle.raw, identities))
        if keys:
            ways.append(lambda: _with_keys(bundle.raw, keys))
        refusals: list[VerificationError] = []
        for way in ways:
            try:
                return way()
            except VerificationError as error:
                refusals.append(error)
        raise _summary(refusals)

    @cached_property
    def _keyless(self) -> Prover:
        return self._begun() if self._begun else self._load()

    def _load(self) -> Prover:
        return Prover(self._trust)


def _with_keys(raw: bytes, keys: Sequence[PublicKey]) -> Signed:
    from imagepipe.signing.key import prove_with_keys  # late: cryptography takes 0.1 s to import

    return prove_with_keys(raw, keys)


def _summary(refusals: Sequence[VerificationError]) -> VerificationError:
    if not refusals:
        return VerificationError("the policy trusts nobody", hint="name who may sign in the policy's `signed_by`")
    if len(refusals) == 1:
        return refusals[0]
    return VerificationError("; ".join(refusal.message for refusal in refusals), hint=refusals[0].hint)
