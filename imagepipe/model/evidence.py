"""Who may sign, what a statement says, the bundle that carries it, and the proof that only a verifier makes.

>>> from imagepipe.model.reference import Pinned
>>> image = Pinned.parse("vic.example/es-sandbox/hello@" + str(Digest.of(b"m")))
>>> Statement.about(image, SIGNATURE_PREDICATE, {}).speaks_of(image.digest)
True
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Final

from imagepipe.errors import InputError, SettingsError, VerificationError
from imagepipe.model import media
from imagepipe.model.digest import Digest
from imagepipe.model.received import json_in
from imagepipe.model.reference import Pinned
from imagepipe.model.scan import Waiver

__all__ = [
    "APPROVAL_PREDICATE",
    "PROMOTION_PREDICATE",
    "PROVENANCE_PREDICATE",
    "REJECTION_PREDICATE",
    "SIGNATURE_PREDICATE",
    "Approvals",
    "Artifact",
    "BuildSource",
    "Bundle",
    "Freeze",
    "Identity",
    "PublicKey",
    "Signatory",
    "Soak",
    "Statement",
    "TrustPolicy",
    "VerifiedStatement",
]

# Source: cosign v3 pkg/types "CosignSignPredicateType"
SIGNATURE_PREDICATE: Final = "https://sigstore.dev/cosign/sign/v1"
# Source: SLSA v1.0 provenance
PROVENANCE_PREDICATE: Final = "https://slsa.dev/provenance/v1"
PROMOTION_PREDICATE: Final = "https://imagepipe.dev/promotion/v1"
REJECTION_PREDICATE: Final = "https://imagepipe.dev/rejection/v1"
APPROVAL_PREDICATE: Final = "https://imagepipe.dev/approval/v1"
# cosign 2.5 writes v0.1; we write v1 only. Source: in-toto attestation spec v1; cosign v2.5.0 pkg/cosign/attestation
_STATEMENT_TYPES: Final = ("https://in-toto.io/Statement/v1", "https://in-toto.io/Statement/v0.1")


@dataclass(frozen=True, slots=True, order=True)
class Identity:
    """A keyless signer: the certificate's subject (e-mail or URI) and the OIDC issuer that vouched, both exact."""

    identity: str
    issuer: str

    def __post_init__(self) -> None:
        if not self.identity or not self.issuer:
            raise SettingsError(
                "an identity needs both `identity` and `issuer`",
                hint="without an issuer anybody's provider could vouch",
            )

    @property
    def hand(self) -> str:
        """Whose hand it is, whoever vouched: one person with two issuers is one."""
        return self.identity

    def __str__(self) -> str:
        return f"{self.identity} (by {self.issuer})"


@dataclass(frozen=True, slots=True, order=True)
class PublicKey:
    """A signer known by a public key; `pem` is the SPKI PEM, `name` is for people."""

    name: str
    pem: bytes = field(repr=False)

    @property
    def hand(self) -> str:
        """Whose hand it is, whatever people call the key, and however its PEM is wrapped."""
        lines = (line.strip() for line in self.pem.splitlines())
        return f"key {Digest.of(b''.join(line for line in lines if not line.startswith(b'-----')))}"

    def __str__(self) -> str:
        return f"key {self.name}"


Signatory = Identity | PublicKey


@dataclass(frozen=True, slots=True)
class BuildSource:
    """Where an image was built from, as its provenance says, or as a policy wants it.

    Attributes:
        source: The repository's URL; `git+` before and `.git` or `/` behind it mean nothing.
        branch: The branch, exact; None: not told, or any.
    """

    source: str
    branch: str | None = None

    @classmethod
    def of(cls, predicate: Mapping[str, Any]) -> "BuildSource":
        """Returns what an SLSA v1 provenance tells; an empty source where it tells none.

        Source: SLSA v1.0 provenance: externalParameters are what whoever starts a build controls.
        """
        found: Any = predicate
        for key in ("buildDefinition", "externalParameters", "source"):
            found = found.get(key) if isinstance(found, Mapping) else None
        told = found if isinstance(found, Mapping) else {}
        branch = told.get("branch")
        return cls(str(told.get("uri") or ""), str(branch) if branch else None)

    def admits(self, built: "BuildSource") -> bool:
        """Tells whether an image built there satisfies this."""
        return _plain(self.source) == _plain(built.source) and self.branch in (None, built.branch)

    def __str__(self) -> str:
        where = _plain(self.source) or "an untold source"
        return f"{where}, branch {self.branch}" if self.branch else where


def _plain(url: str) -> str:
    return url.removeprefix("git+").rstrip("/").removesuffix(".git")


@dataclass(frozen=True, slots=True)
class Soak:
    """Targets that an image must have stood on, and for how many hours."""

    targets: tuple[str, ...]
    hours: float


@dataclass(frozen=True, slots=True)
class Freeze:
    """A time in which nothing new is promoted: `since` is its first moment, `until` the first after it, both aware."""

    since: datetime
    until: datetime
    why: str

    def __str__(self) -> str:
        return f"frozen from {self.since.isoformat()} until {self.until.isoformat()}: {self.why}"


@dataclass(frozen=True, slots=True)
class Approvals:
    """How many of whom must agree to a saved plan, beside who made it, who signed the image and who carries it out."""

    by: tuple[Signatory, ...]
    count: int = 1

    def __str__(self) -> str:
        return f"{self.count} of {', '.join(map(str, self.by))}"


@dataclass(frozen=True, slots=True)
class TrustPolicy:
    """Whose signature counts, and what else must be attached; one signatory of the list is enough.

    Attributes:
        name: The policy's name in the configuration.
        signed_by: Who may sign; an empty list refuses everything.
        require_provenance: Whether SLSA provenance by one of them must be attached too.
        max_severity: The worst finding allowed by Harbor's scan: none, low, medium, high, critical; None: no gate.
        only_fixable: Whether only findings count that a newer package would mend.
        max_scan_age_days: How old the scan may be, in days; None: any age.
        waivers: Findings that somebody answers for.
        provenance: Where the image must have been built from, by proven provenance; None: anywhere.
        require: Predicate types of which one statement by one of them must be attached too.
        after: Where it must have stood before, and for how long; None: nowhere.
        freezes: When nothing is promoted.
        approvals: Who must agree to a plan; None: nobody.
    """

    name: str
    signed_by: tuple[Signatory, ...]
    require_provenance: bool = False
    max_severity: str | None = None
    only_fixable: bool = False
    max_scan_age_days: float | None = None
    waivers: tuple[Waiver, ...] = ()
    provenance: BuildSource | None = None
    require: tuple[str, ...] = ()
    after: Soak | None = None
    freezes: tuple[Freeze, ...] = ()
    approvals: Approvals | None = None


@dataclass(frozen=True, slots=True)
class Statement:
    """An in-toto statement. Law: `Statement.parse(s.payload) == s`; the payload is never re-serialised.

    Source: in-toto attestation spec v1 "statement"
    """

    payload: bytes = field(repr=False)
    subjects: tuple[tuple[str, Digest], ...]
    predicate_type: str
    predicate: Mapping[str, Any] = field(hash=False, repr=False)

    @classmethod
    def about(cls, image: Pinned, predicate_type: str, predicate: Mapping[str, Any]) -> "Statement":
        """Returns a statement about one image; the subject's name is its repository."""
        body = {
            "_type": _STATEMENT_TYPES[0],
            "subject": [{"name": str(image.repository), "digest": {"sha256": image.digest.hex}}],
            "predicateType": predicate_type,
            "predicate": predicate,
        }
        return cls.parse(json.dumps(body, sort_keys=True, separators=(",", ":")).encode())

    @classmethod
    def parse(cls, payload: bytes) -> "Statement":
        """Returns the statement that the payload of an envelope is.

        Raises:
            VerificationError: The payload is no in-toto statement.
        """
        try:
            data = json_in(payload)
            if data["_type"] not in _STATEMENT_TYPES:
                raise VerificationError(f"not an in-toto statement: {str(data['_type'])[:80]!r}")
            subjects = tuple(
                (str(subject.get("name") or ""), Digest.parse(f"sha256:{subject['digest']['sha256']}"))
                for subject in data["subject"]
                if "sha256" in subject["digest"]
            )
            return cls(payload, subjects, str(data["predicateType"]), dict(data.get("predicate") or {}))
        except (ValueError, KeyError, TypeError, AttributeError, InputError) as error:
            raise VerificationError(f"malformed in-toto statement: {error!r}") from error

    def speaks_of(self, digest: Digest) -> bool:
        """Tells whether this digest is among the subjects."""
        return any(subject == digest for _, subject in self.subjects)


@dataclass(frozen=True, slots=True)
class Bundle:
    """A Sigstore bundle as JSON bytes, unverified until a verifier has spoken."""

    raw: bytes = field(repr=False)

    @property
    def digest(self) -> Digest:
        """The digest of the bundle's bytes."""
        return Digest.of(self.raw)

    def as_artifact(self, predicate_type: str, created: datetime) -> "Artifact":
        """Returns the artifact that carries this bundle, in cosign's layout.

        Source: cosign v3.1.2 pkg/oci/remote/write.go
        """
        return Artifact(
            artifact_type=media.SIGSTORE_BUNDLE,
            layer_media_type=media.SIGSTORE_BUNDLE,
            content=self.raw,
            annotations={
                media.BUNDLE_CONTENT_ANNOTATION: "dsse-envelope",
                media.BUNDLE_PREDICATE_ANNOTATION: predicate_type,
                media.CREATED_ANNOTATION: created.strftime("%Y-%m-%dT%H:%M:%SZ"),
            },
        )


@dataclass(frozen=True, slots=True)
class Artifact:
    """Something attached to an image: one layer, a type and annotations. The annotations are hints, never proof."""

    artifact_type: str
    layer_media_type: str
    content: bytes = field(repr=False)
    annotations: Mapping[str, str] = field(default_factory=dict, hash=False)


@dataclass(frozen=True, slots=True)
class VerifiedStatement:
    """A statement that a verifier has proven; nothing else may make one.

    Attributes:
        statement: What was said.
        signatory: Who of the trusted said it.
        signed_at: When, by a log or timestamp authority; None for a bare key.
    """

    statement: Statement
    signatory: Signatory
    signed_at: datetime | None
