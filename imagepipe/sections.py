"""The tables of the configuration, each setting with its unit, default and source.

>>> BuildSettings().jobs
2
"""

import re
from datetime import date
from pathlib import Path
from typing import Annotated, Any, Final, Literal

from pydantic import (
    AfterValidator,
    AwareDatetime,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    SecretStr,
    WithJsonSchema,
    model_validator,
)

from imagepipe.errors import InputError
from imagepipe.model.host import TargetKind
from imagepipe.model.reference import HOST, PORT, Repository

__all__ = [
    "ApprovalSettings",
    "BuildSettings",
    "FreezeSettings",
    "GroupMembers",
    "HarborSettings",
    "PolicySettings",
    "ProvenanceSettings",
    "Registry",
    "Section",
    "SignerSettings",
    "SigningSettings",
    "SoakSettings",
    "TargetSettings",
    "Timeouts",
    "WaiverSettings",
    "is_host",
]

# Source: Docker's DOCKER_HOST; a VCH listens on tcp with TLS, an engine on either.
_HOST_PATTERN: Final = re.compile(rf"tcp://[^\s/@]+:{PORT}/?|unix:///\S+")
_URL: Final = re.compile(r"https?://[^\s/@?#]+(/[^\s@?#]*)?")
# Source: RFC 3339 section 5.6. pydantic would take a number, also as text, for seconds since 1970.
_DAY: Final = re.compile(r"\d{4}-\d{2}-\d{2}")
_TIME: Final = re.compile(rf"{_DAY.pattern}[Tt ]\d{{2}}:\d{{2}}.*(?:[Zz]|[+-]\d{{2}}:?\d{{2}})")


def _registry(value: str) -> str:
    try:
        return Repository(value, "project/name").registry
    except InputError as error:
        raise ValueError(f"{error.message}; {error.hint}") from error


def is_host(value: str) -> bool:
    """Tells whether a value names a Docker endpoint as we can reach one."""
    return _HOST_PATTERN.fullmatch(value) is not None


def _host(value: str) -> str:
    if not is_host(value):
        raise ValueError("must be tcp://host:port or unix:///path")
    return value


def _url(value: str) -> str:
    if not _URL.fullmatch(value):
        raise ValueError("must be https://host[:port], without user, password or query")
    return value.rstrip("/")


def _day(value: Any) -> Any:
    if isinstance(value, int | float) or (isinstance(value, str) and not _DAY.fullmatch(value)):
        raise ValueError("must be a date, as in 2026-03-01")
    return value


def _time(value: Any) -> Any:
    if isinstance(value, int | float) or (isinstance(value, str) and not _TIME.fullmatch(value)):
        raise ValueError("must be a time with its zone, as in 2026-03-01T14:00:00+01:00")
    return value


def _text(pattern: str, **more: str) -> WithJsonSchema:
    return WithJsonSchema({"type": "string", "pattern": f"^(?:{pattern})$", **more})


Registry = Annotated[str, AfterValidator(_registry), _text(HOST)]
Host = Annotated[str, AfterValidator(_host), _text(_HOST_PATTERN.pattern)]
# What a file says is taken as it stands there: "no" in quotes is no `false`, and `true` is no number.
Flag = Annotated[bool, Field(strict=True)]
Count = Annotated[int, Field(strict=True)]
Number = Annotated[float, Field(strict=True)]
Day = Annotated[date, BeforeValidator(_day), _text(_DAY.pattern, format="date")]
Time = Annotated[AwareDatetime, BeforeValidator(_time), _text(_TIME.pattern, format="date-time")]
PredicateType = Annotated[str, Field(min_length=1, max_length=300)]
GroupMembers = Annotated[list[str], Field(min_length=1)]
Url = Annotated[str, AfterValidator(_url), _text(_URL.pattern)]
# A day: longer is a typing error.
Seconds = Annotated[Number, Field(gt=0, le=86400)]


class Section(BaseModel):
    """A table of the configuration; unknown keys are refused."""

    model_config = ConfigDict(extra="forbid", frozen=True)


class HarborSettings(Section):
    """How Harbor is reached, and as whom."""

    model_config = ConfigDict(json_schema_extra={"not": {"required": ["password", "password_file"]}})

    url: Url | None = Field(
        default=None,
        description="Base URL; default: https://<registry>, as Harbor serves UI, API and registry. Also HARBOR_URL.",
    )
    username: str | None = Field(default=None, description="User or robot; default: none. Also HARBOR_USERNAME.")
    password: SecretStr | None = Field(
        default=None, description="Its password; default: none. Also HARBOR_PASSWORD; prefer password_file."
    )
    password_file: Path | None = Field(default=None, description="File that holds the password; default: none.")
    ca_file: Path | None = Field(
        default=None,
        description="PEM file of the CA; default: /etc/docker/certs.d/<host:port>/ as for Docker, then the system.",
    )
    dialect: Literal["harbor-2", "harbor-1", "admiral"] | None = Field(
        default=None, description="How projects, members and robots are administered; default: found out by asking."
    )


class BuildSettings(Section):
    """Where images are built; never taken from DOCKER_HOST, which may be a VCH, and a VCH cannot build."""

    host: Host = Field(
        default="unix:///var/run/docker.sock",
        description="The Docker Engine that builds. Source: dockerd's default socket.",
    )
    jobs: Count = Field(default=2, ge=1, le=64, description="Builds, pulls and members handled at once (count).")


class SigningSettings(Section):
    """How images are signed."""

    model_config = ConfigDict(
        json_schema_extra={
            "if": {"properties": {"mode": {"const": "key"}}, "required": ["mode"]},
            "then": {"anyOf": [{"required": ["key"]}, {"required": ["public_key"]}]},
        }
    )

    mode: Literal["keyless", "key", "none"] = Field(
        default="keyless", description="keyless: public or private Sigstore; key: a key pair; none: unsigned."
    )
    trust_config: Path | None = Field(
        default=None, description="Sigstore client trust config (JSON); default: the public Sigstore."
    )
    identity_token_file: Path | None = Field(
        default=None, description="File with an OIDC identity token; default: the CI job's own identity."
    )
    key: Path | None = Field(default=None, description="PEM private key, for mode key; default: none.")
    public_key: Path | None = Field(default=None, description="PEM public key, for mode key; default: none.")
    password_file: Path | None = Field(default=None, description="File with the key's password; default: none.")


class TargetSettings(Section):
    """A host that images are promoted to."""

    model_config = ConfigDict(json_schema_extra={"dependentRequired": {"pin": ["cert_path"]}})

    kind: TargetKind = Field(description="vch or docker; checked against what answers. No default.")
    host: Host = Field(description="tcp://host:port or unix:///path. No default.")
    cert_path: Path | None = Field(
        default=None, description="Folder with ca.pem, cert.pem, key.pem; default: no TLS. Source: vic-machine, Docker."
    )
    policy: str | None = Field(default=None, description="The policy in [policies] that guards it; default: none.")
    pin: str | None = Field(
        default=None,
        pattern=r"^sha256:[0-9a-f]{64}$",
        description="SHA-256 of the certificate that it must show, as `targets add` writes it; default: any of its CA.",
    )
    id: str | None = Field(
        default=None,
        min_length=1,
        description="What it must call itself, as `targets add` writes it: an engine's id, a VCH's name; default: any.",
    )

    @model_validator(mode="after")
    def _shown(self) -> "TargetSettings":
        if self.pin is not None and self.cert_path is None:
            raise ValueError("must have `cert_path` for a `pin`: without TLS it shows no certificate")
        return self


class SignerSettings(Section):
    """One who may sign: an identity with its issuer, or a key."""

    model_config = ConfigDict(
        json_schema_extra={
            "if": {"required": ["key"]},
            "then": {"maxProperties": 1},
            "else": {"required": ["identity", "issuer"]},
        }
    )

    identity: str | None = Field(default=None, min_length=1, description="Certificate subject, exact: e-mail or URI.")
    issuer: str | None = Field(default=None, min_length=1, description="The OIDC issuer that vouched for it, exact.")
    key: Path | None = Field(default=None, description="PEM public key.")

    @model_validator(mode="after")
    def _one_kind(self) -> "SignerSettings":
        keyless = self.identity is not None and self.issuer is not None and self.key is None
        keyed = self.key is not None and self.identity is None and self.issuer is None
        if not keyless and not keyed:
            raise ValueError("must have either `identity` and `issuer`, or `key`")
        return self


class WaiverSettings(Section):
    """A finding that somebody answers for."""

    cve: str = Field(min_length=1, description="The finding's name, such as CVE-2026-1234. No default.")
    owner: str = Field(min_length=1, description="Who answers for it. No default.")
    until: Day = Field(description="The last day that it holds, in UTC (YYYY-MM-DD). No default.")


class ProvenanceSettings(Section):
    """Where an image must have been built from."""

    source: str = Field(min_length=1, description="The source repository's URL, as git knows it. No default.")
    branch: str | None = Field(default=None, min_length=1, description="The branch, exact; default: any.")


class SoakSettings(Section):
    """Where an image must have stood before."""

    targets: list[str] = Field(
        min_length=1, description="Names in [targets] or [groups], each target of which counts. No default."
    )
    hours: Number = Field(
        gt=0,
        le=8760,
        description="The image's digest must have been promoted there at least so long ago (h), and not rolled back "
        "since, by records that this policy's signers signed. No default.",
    )


class FreezeSettings(Section):
    """A time in which nothing new is promoted; a rollback is."""

    since: Time = Field(alias="from", description="Its first moment, with a time zone. No default.")
    until: Time = Field(description="The first moment after it, with a time zone. No default.")
    why: str = Field(min_length=1, description="What operators are told. No default.")

    @model_validator(mode="after")
    def _forward(self) -> "FreezeSettings":
        if self.until <= self.since:
            raise ValueError("must end (`until`) after it begins (`from`)")
        return self


class ApprovalSettings(Section):
    """Who must agree to a plan before it is carried out; a rollback waits for nobody."""

    by: list[SignerSettings] = Field(
        min_length=1,
        description="Who may approve; never who made the plan, signed the image or carries the plan out. No default.",
    )
    count: Count = Field(default=1, ge=1, description="How many of them must (count).")

    @model_validator(mode="after")
    def _enough(self) -> "ApprovalSettings":
        hands = {one.identity or one.key for one in self.by}
        if self.count > len(hands):
            raise ValueError(f"wants {self.count} approvals of {len(hands)} who may give them")
        return self


class PolicySettings(Section):
    """Whose signature counts, and what else must be attached."""

    signed_by: list[SignerSettings] = Field(min_length=1, description="One of these must have signed. No default.")
    max_severity: Literal["none", "low", "medium", "high", "critical"] | None = Field(
        default=None, description="Worst finding allowed by Harbor's scan; default: no gate."
    )
    only_fixable: Flag = Field(
        default=False, description="Whether only findings count that a newer package would mend."
    )
    max_scan_age_days: Number | None = Field(
        default=None, gt=0, le=3650, description="How old the scan may be (days); default: any age."
    )
    waivers: list[WaiverSettings] = Field(default=[], description="Findings that somebody answers for, by CVE.")
    require_provenance: Flag = Field(default=False, description="Whether SLSA provenance by one of them is needed too.")
    provenance: ProvenanceSettings | None = Field(
        default=None, description="What that provenance must say, and so that it is needed; default: anything."
    )
    require: list[PredicateType] = Field(
        default=[],
        description="Predicate types (SBOM, test result) of which one of them must have signed a statement each.",
    )
    after: SoakSettings | None = Field(
        default=None, description="Targets that the image must have stood on first, and for how long; default: none."
    )
    freeze: list[FreezeSettings] = Field(
        default=[], description="When nothing is promoted but with --override-freeze and --reason; default: never."
    )
    approvals: ApprovalSettings | None = Field(
        default=None, description="Who else must have approved the saved plan (`imagepipe approve`); default: nobody."
    )


class Timeouts(Section):
    """Deadlines, in seconds."""

    connect_s: Seconds = Field(default=10, description="To open a connection (s).")
    read_s: Seconds = Field(default=60, description="Between two bytes of an answer (s). Source: nginx's default.")
    build_s: Seconds = Field(default=3600, description="Longest silence of a builder (s).")
    push_s: Seconds = Field(default=1800, description="One push, all layers (s).")
    pull_s: Seconds = Field(default=1800, description="One pull by a target, all layers (s); a VCH writes disks.")
    lock_s: Seconds = Field(
        default=30, description="For another promotion to the same target, here or on another machine (s)."
    )
    switch_s: Seconds = Field(
        default=300, description="For a container to stop, to start, and to be healthy (s); a VCH powers machines."
    )
    settle_s: Seconds = Field(default=5, description="So long a switched container must have run to be proven (s).")
    sign_s: Seconds = Field(default=60, description="Certificate, log and timestamp of one signing (s).")
