"""sigstore-python, sealed: the only module that imports it, its private parts included; import this module lazily.

Its exceptions, several of them outside its own tree, end here and become ours; its objects never leave the room.
Source for every private name used here: sigstore-python 4.5.1, pinned below 5.
"""

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime
from functools import partial
from time import monotonic
from typing import Any, Final, TypeVar, cast

from cryptography.x509 import (
    Certificate,
    ExtensionNotFound,
    ObjectIdentifier,
    RFC822Name,
    SubjectAlternativeName,
    UniformResourceIdentifier,
    UnrecognizedExtension,
)
from sigstore import dsse, oidc
from sigstore._internal.fulcio.client import ExpiredCertificate, FulcioClientError
from sigstore.errors import Error as SigstoreError
from sigstore.errors import MetadataError
from sigstore.errors import VerificationError as SigstoreVerificationError
from sigstore.models import Bundle, ClientTrustConfig, TrustedRoot
from sigstore.sign import Signer, SigningContext
from sigstore.verify import Verifier, policy
from sigstore_models.trustroot.v1 import TrustedRoot as TrustedRootModel

from imagepipe.errors import (
    DeadlineError,
    IdentityError,
    ImagepipeError,
    SettingsError,
    UnavailableError,
    VerificationError,
)
from imagepipe.fanout import within
from imagepipe.model.evidence import Identity
from imagepipe.model.received import json_in
from imagepipe.signing.claims import Envelope, Signed
from imagepipe.signing.identity import IdentityToken
from imagepipe.signing.trust import SigstoreTrust

__all__ = ["Certified", "KeylessProver", "detect_credential"]

detect_credential = oidc.detect_credential

Result = TypeVar("Result")
_QUOTE_CHARS: Final = 300
_WHOLE: Final = 2
# Source: Fulcio docs/oid-info.md "Issuer", raw bytes
_ISSUER_OID: Final = ObjectIdentifier("1.3.6.1.4.1.57264.1.1")
_TRUST_HINT: Final = "check that signing.trust_config is the file of the Sigstore that signs"
# The public Sigstore's keys as this process got them, by whether they were taken without a refresh.
_FETCHED: Final[dict[bool, ClientTrustConfig]] = {}


class Certified:
    """A fresh key that an authority has certified for an identity: good for as long as the certificate lives.

    Args:
        trust: The Sigstore that certifies and logs.
        token: Tells the authority who asks.
        timeout_s: Longest wait for one answer of the authority or the log, in seconds.

    Raises:
        IdentityError: The certificate authority does not accept the token, or it expired meanwhile.
        UnavailableError: The certificate authority is away or breaks.
        SettingsError: The trust file cannot be used for signing, or the certificate does not lead back to it.
    """

    def __init__(self, trust: SigstoreTrust, token: IdentityToken, timeout_s: float) -> None:
        self.signatory = token.signatory
        self._timeout_s = timeout_s
        self._context = _context(trust)
        # Before the authority is asked, so that what is left of the certificate's life is never taken for more.
        asked = monotonic()
        fulcio: Any = self._context._fulcio  # noqa: SLF001 -- has no public door

        def certified() -> tuple[Signer, Certificate]:
            with _deadline(fulcio.session, timeout_s):
                signer = Signer(oidc.IdentityToken(token.raw), self._context)
                return signer, signer._signing_cert()  # noqa: SLF001 -- has no public door; it is there already

        self._signer, certificate = _whole(certified, timeout_s, fulcio.url, token.signatory.identity)
        # The least that it can be: the authority's clock may not be this machine's, and it may have dated it back.
        begins, ends = certificate.not_valid_before_utc, certificate.not_valid_after_utc
        self._ends = asked + min(ends - begins, ends - datetime.now(UTC)).total_seconds()

    def left_s(self) -> float:
        """Returns how long the certificate lives still, in seconds."""
        return self._ends - monotonic()

    def sign(self, payloads: Sequence[bytes]) -> tuple[bytes, ...]:
        """Returns one bundle as JSON per payload.

        Raises:
            IdentityError: The certificate has expired.
            UnavailableError: The log is away or breaks.
        """
        rekor: Any = self._context._rekor  # noqa: SLF001 -- has no public door

        def bundles() -> list[Bundle]:
            # The log's session is one per thread: it must be touched in the thread that signs.
            with _deadline(rekor._session, self._timeout_s):  # noqa: SLF001 -- as above
                try:
                    return [self._signer.sign_dsse(dsse.Statement(payload)) for payload in payloads]
                finally:
                    for authority in self._context._tsa_clients:  # noqa: SLF001 -- they leave their sockets open
                        authority._session.close()  # noqa: SLF001 -- as above

        signed = _whole(bundles, self._timeout_s, rekor.url, self.signatory.identity)
        return tuple(bundle.to_json().encode() for bundle in signed)


class KeylessProver:
    """Proves keyless bundles against one root of trust, offline.

    Args:
        trust: The root of trust.

    Raises:
        SettingsError: The trust file does not hold what its type promises.
        UnavailableError: The public Sigstore's keys cannot be refreshed.
    """

    def __init__(self, trust: SigstoreTrust) -> None:
        self._trust = trust
        root = _trusted_root(trust)
        try:
            self._verifier = Verifier(trusted_root=root)
        except SigstoreError as error:
            raise _malformed(trust, error) from error

    def prove(self, raw: bytes, trusted: Sequence[Identity]) -> Signed:
        """Returns what one of the trusted identities signed.

        Raises:
            VerificationError: The bundle is broken, incomplete, or signed by somebody else.
        """
        wanted = _OneOf(trusted)
        _refuse_other_kinds(raw)
        try:
            bundle = Bundle.from_json(raw)
            payload_type, payload = self._verifier.verify_dsse(bundle, wanted)
            # Only times that a log or an authority has signed: `integratedTime` alone may be anybody's invention.
            times = self._verifier._establish_time(bundle)  # noqa: SLF001 -- has no public door
        except MetadataError as error:
            raise _malformed(self._trust, error) from error
        except Exception as error:
            raise _refusal(error, wanted) from error
        return Signed(Envelope(payload_type, payload), wanted.matched(), min(time.time for time in times))


class _OneOf:
    """sigstore's AnyOf over exact identities, which remembers which one it was, or who it was instead."""

    def __init__(self, trusted: Sequence[Identity]) -> None:
        self._trusted = trusted
        self._matched: Identity | None = None
        self.stranger: str | None = None

    def verify(self, cert: Certificate) -> None:
        """Accepts the certificate of one of the trusted; called once its chain is proven."""
        for identity in self._trusted:
            try:
                policy.Identity(identity=identity.identity, issuer=identity.issuer).verify(cert)
            except SigstoreVerificationError:
                continue
            self._matched = identity
            return
        self.stranger = _who(cert)
        raise SigstoreVerificationError(f"signed by {self.stranger}")

    def matched(self) -> Identity:
        """Returns whom the certificate named; only after `verify`."""
        assert self._matched is not None
        return self._matched


def _who(certificate: Certificate) -> str:
    names: list[str] = []
    issuer = "unknown"
    try:
        found = certificate.extensions.get_extension_for_class(SubjectAlternativeName).value
        names += found.get_values_for_type(RFC822Name) + found.get_values_for_type(UniformResourceIdentifier)
        extension = cast("UnrecognizedExtension", certificate.extensions.get_extension_for_oid(_ISSUER_OID).value)
        issuer = extension.value.decode(errors="replace")
    except ExtensionNotFound:
        pass  # then the answer says so: `nobody` or `unknown`
    return f"{', '.join(names) or 'nobody'} (issuer {issuer})"


def _refuse_other_kinds(raw: bytes) -> None:
    """Says in plain words what sigstore would say in the words of its models.

    Raises:
        VerificationError: The bundle is signed with a key, or no log has seen it.
    """
    try:
        material = json.loads(raw)["verificationMaterial"]
        keyed, logged = "publicKey" in material, bool(material.get("tlogEntries"))
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise VerificationError("the bundle cannot be read: it is no Sigstore bundle") from error
    if keyed:
        raise VerificationError("the bundle is signed with a key, where the policy trusts an identity")
    if not logged:
        raise VerificationError("the bundle has no entry of a transparency log, so that nobody knows when it was made")


def _refusal(error: Exception, wanted: _OneOf) -> VerificationError:
    if wanted.stranger:
        return VerificationError(f"the bundle is signed by {wanted.stranger}, which the policy does not trust")
    if "DSSE: invalid signature" in str(error):
        return VerificationError("the bundle was changed: its signature does not fit its content")
    if "certificate chain" in str(error):
        return VerificationError(
            "the bundle's certificate comes from an authority that is not trusted, or was not valid when it was used",
            hint=_TRUST_HINT,
        )
    return VerificationError(f"the bundle does not verify: {_quote(error)}", hint=_TRUST_HINT)


def _context(trust: SigstoreTrust) -> SigningContext:
    config = _client_config(trust)
    try:
        return SigningContext.from_trust_config(config)
    except (SigstoreError, ValueError) as error:
        raise _malformed(trust, error) from error


def _whole(function: Callable[[], Result], timeout_s: float, url: str, who: str) -> Result:
    """Returns what the function returns, its errors in our words; answers that have begun may take as long again."""

    def translated() -> Result:
        try:
            return function()
        except Exception as error:
            raise _translated(error, who) from error

    return within(_WHOLE * timeout_s, f"signing as {who}: {url}", translated)


@contextmanager
def _deadline(session: Any, timeout_s: float) -> Iterator[None]:
    """Gives the requests of a session a deadline, for sigstore gives none to those of Fulcio and Rekor; closes it."""
    session.request = partial(session.request, timeout=timeout_s)
    try:
        yield
    finally:
        del session.request  # the one of its class is there again
        session.close()


def _client_config(trust: SigstoreTrust) -> ClientTrustConfig:
    document = trust.for_signing()
    if document is None:
        return _public(trust)
    try:
        return ClientTrustConfig.from_json(json.dumps(document))
    except (SigstoreError, ValueError) as error:
        raise _malformed(trust, error) from error


def _trusted_root(trust: SigstoreTrust) -> TrustedRoot:
    if trust.document is None:
        return _public(trust).trusted_root
    try:
        return TrustedRoot(TrustedRootModel.from_json(json.dumps(trust.document["trustedRoot"])))
    except (SigstoreError, ValueError) as error:
        raise _malformed(trust, error) from error


def _public(trust: SigstoreTrust) -> ClientTrustConfig:
    """Returns the public Sigstore's keys, refreshed once in a process: they change within weeks, and it asks anew."""
    what = "fetching the public Sigstore's keys"
    if trust.offline in _FETCHED:
        return _FETCHED[trust.offline]
    try:
        fetched = within(trust.refresh_timeout_s, what, lambda: ClientTrustConfig.production(offline=trust.offline))
        return _FETCHED.setdefault(trust.offline, fetched)
    except ImagepipeError:
        raise
    except Exception as error:
        raise UnavailableError(
            f"{what}: {_quote(error)}",
            hint="allow access to tuf-repo-cdn.sigstore.dev, or set signing.trust_config to a file",
        ) from error


def _malformed(trust: SigstoreTrust, error: Exception) -> SettingsError:
    return SettingsError(f"{trust.name}: the Sigstore trust file cannot be used: {_quote(error)}", hint=_TRUST_HINT)


def _translated(error: Exception, who: str) -> ImagepipeError:
    if isinstance(error, FulcioClientError):
        return _from_fulcio(error, who)
    if isinstance(error, ExpiredCertificate):
        return IdentityError(
            f"the authority gave {who} a certificate that has expired already: its clock and this machine's differ",
            hint="correct whichever clock is wrong, then sign again",
        )
    if isinstance(error, oidc.IdentityError | oidc.ExpiredIdentity):
        said = f"the identity of {who} is not valid now: {_quote(error)}"
        return IdentityError(said, hint="fetch a fresh identity token and sign again")
    if isinstance(error, SigstoreVerificationError | MetadataError):
        said = f"the new certificate does not lead back to what is trusted: {_quote(error)}"
        return SettingsError(said, hint=_TRUST_HINT)
    url = str(getattr(getattr(error, "request", None), "url", None) or "Sigstore")
    # requests' exceptions are OSErrors; its timeouts share only their name.
    if isinstance(error, OSError) and "Timeout" in type(error).__name__:
        return DeadlineError(f"signing as {who}: {url} did not answer in time", hint="check that it is reachable")
    said = f"signing as {who}: {url}: {_quote(error)}"
    return UnavailableError(said, hint="check that Sigstore is up and sign again")


def _from_fulcio(error: FulcioClientError, who: str) -> ImagepipeError:
    """Reads the answer itself, because the client loses the message of every 4xx and 5xx."""
    response = getattr(error.__cause__, "response", None)
    if response is None:
        return UnavailableError(f"the certificate authority answered nonsense: {_quote(error)}")
    said = f"{response.status_code} {_fulcio_message(response.text)}"
    # Source: RFC 9110 section 15.5; both say "later", not "no"
    if response.status_code >= 500 or response.status_code in (408, 429):
        return UnavailableError(
            f"the certificate authority {response.url} failed: {said}", hint="check that Sigstore is up and sign again"
        )
    return IdentityError(
        f"the certificate authority {response.url} does not accept the identity of {who}: {said}",
        hint="check that it knows the token's issuer, and that the token is fresh and for audience sigstore",
    )


def _fulcio_message(body: str) -> str:
    """Returns the message of an error. Source: Fulcio v1.8.8 pkg/server/error.go, google.rpc.Status as JSON."""
    try:
        document: Mapping[str, Any] = json_in(body)
        return str(document["message"])[:_QUOTE_CHARS]
    except (ValueError, KeyError, TypeError):
        return body[:_QUOTE_CHARS]


def _quote(error: Exception) -> str:
    return " ".join(str(error).split())[:_QUOTE_CHARS] or type(error).__name__
