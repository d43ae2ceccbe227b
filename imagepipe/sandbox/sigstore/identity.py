"""Who a token speaks for, and how a certificate says so."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Self
from urllib.parse import urlsplit

from cryptography import x509

from imagepipe.sandbox.sigstore import der

_FULCIO = "1.3.6.1.4.1.57264.1"

_GITHUB_RAW = ("event_name", "sha", "workflow", "repository", "ref")
"""Claims of extensions .2 to .6, raw bytes. Source: Fulcio docs/oid-info.md."""

_GITHUB_DER: tuple[tuple[int, str], ...] = (
    (9, "https://github.com/{job_workflow_ref}"),
    (10, "{job_workflow_sha}"),
    (11, "{runner_environment}"),
    (12, "https://github.com/{repository}"),
    (13, "{sha}"),
    (14, "{ref}"),
    (15, "{repository_id}"),
    (16, "https://github.com/{repository_owner}"),
    (17, "{repository_owner_id}"),
    (18, "https://github.com/{workflow_ref}"),
    (19, "{workflow_sha}"),
    (20, "{event_name}"),
    (21, "https://github.com/{repository}/actions/runs/{run_id}/attempts/{run_attempt}"),
    (22, "{repository_visibility}"),
)
"""Source: Fulcio v1.8.8 pkg/identity/github/principal.go, Embed."""

_GITLAB_DER: tuple[tuple[int, str], ...] = (
    (9, "https://{ci_config_ref_uri}"),
    (10, "{ci_config_sha}"),
    (11, "{runner_environment}"),
    (12, "https://gitlab.com/{project_path}"),
    (13, "{sha}"),
    (14, "{git_ref}"),
    (15, "{project_id}"),
    (16, "https://gitlab.com/{namespace_path}"),
    (17, "{namespace_id}"),
    (18, "https://{ci_config_ref_uri}"),
    (19, "{ci_config_sha}"),
    (20, "{pipeline_source}"),
    (21, "https://gitlab.com/{project_path}/-/jobs/{job_id}"),
    (22, "{project_visibility}"),
)
"""Source: Fulcio v1.8.8 pkg/identity/gitlabcom/principal.go, Embed."""

_TOKEN_SUBJECT = 24  # Source: Fulcio v1.8.8 pkg/certificate/extensions.go, OIDTokenSubject


class IdentityRefusedError(Exception):
    """The claims name nobody whom a certificate can name."""


def _render(templates: tuple[tuple[int, str], ...], claims: Mapping[str, Any]) -> dict[int, bytes]:
    """Returns the extensions whose every claim is given."""
    rendered: dict[int, bytes] = {}
    for number, template in templates:
        try:
            rendered[number] = der.utf8(template.format_map(claims))
        except KeyError:
            continue
    return rendered


@dataclass(frozen=True, slots=True)
class Identity:
    """The subject of a certificate.

    Args:
        name: subject alternative name, an rfc822Name or a URI.
        proof: what the holder signs to prove possession of the key: the email when that is the name, otherwise `sub`.
            Source: Fulcio v1.8.8 pkg/identity/*/principal.go, Name.
        extensions: Fulcio's own, by the last arc of their OID.
    """

    name: x509.GeneralName
    proof: str
    extensions: Mapping[int, bytes]

    @classmethod
    def of(cls, claims: Mapping[str, Any]) -> Self:
        """Returns whom verified claims name: an email that is verified, a CI workflow, or a `sub` that is a URI.

        Raises:
            IdentityRefusedError: none of them is there, or the name is not ASCII.
        """
        try:
            return cls._named(claims)
        except ValueError as error:
            raise IdentityRefusedError("a claim cannot stand in a certificate") from error

    @classmethod
    def _named(cls, claims: Mapping[str, Any]) -> Self:
        subject, issuer = str(claims.get("sub", "")), str(claims.get("iss", ""))
        extensions = {1: issuer.encode(), 8: der.utf8(issuer), _TOKEN_SUBJECT: der.utf8(subject)}
        email, verified = claims.get("email"), claims.get("email_verified")
        if isinstance(email, str) and "@" in email and verified is True:
            return cls(x509.RFC822Name(email), email, extensions)
        uri = _workflow(claims) or subject
        if not urlsplit(uri).scheme or not urlsplit(uri).netloc:
            raise IdentityRefusedError("neither a verified email nor a sub that is a URI")
        return cls(x509.UniformResourceIdentifier(uri), subject, extensions | _ci_extensions(claims))

    def to_extensions(self) -> list[x509.UnrecognizedExtension]:
        """Returns Fulcio's extensions in the order of their numbers."""
        return [
            x509.UnrecognizedExtension(x509.ObjectIdentifier(f"{_FULCIO}.{number}"), value)
            for number, value in sorted(self.extensions.items())
        ]


def _workflow(claims: Mapping[str, Any]) -> str | None:
    if "job_workflow_ref" in claims:
        return f"https://github.com/{claims['job_workflow_ref']}"
    if "ci_config_ref_uri" in claims:
        return f"https://{claims['ci_config_ref_uri']}"
    return None


def _ci_extensions(claims: Mapping[str, Any]) -> dict[int, bytes]:
    if "ci_config_ref_uri" in claims:
        folder = {"branch": "heads", "tag": "tags"}.get(str(claims.get("ref_type")))
        git_ref = {"git_ref": f"refs/{folder}/{claims['ref']}"} if folder and "ref" in claims else {}
        return _render(_GITLAB_DER, {**claims, **git_ref})
    raw = {number: str(claims[claim]).encode() for number, claim in enumerate(_GITHUB_RAW, start=2) if claim in claims}
    return raw | _render(_GITHUB_DER, claims)
