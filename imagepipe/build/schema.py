"""The shape of a pipeline file, and the JSON Schemas that editors check it and the configuration with.

>>> json_schema("pipeline")["properties"]["name"]["type"]
'string'
"""

from typing import Annotated, Any, Final, Literal

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field
from pydantic.config import JsonDict

from imagepipe.build.naming import VARIABLES
from imagepipe.errors import UsageError
from imagepipe.model.host import VCH_PLATFORM
from imagepipe.model.pipeline import DEFAULT_TAGS, Builder, Profile
from imagepipe.model.reference import PATH
from imagepipe.problems import did_you_mean
from imagepipe.settings import Settings

__all__ = ["SCHEMAS", "PipelineDocument", "json_schema"]

# Source: JSON Schema draft 2020-12, which pydantic writes.
_DIALECT: Final = "https://json-schema.org/draft/2020-12/schema"
SCHEMAS: Final = ("pipeline", "config")

# What the loader refuses beside the types, as far as a schema can say it; the loader's own words are better.
_VARIABLE: Final = rf"\{{(?:{'|'.join(VARIABLES)})\}}"
_NAME: Final[JsonDict] = {"pattern": f"^{PATH}$", "maxLength": 255}
_TAG: Final[JsonDict] = {"pattern": rf"^(?:[A-Za-z0-9_]|{_VARIABLE})(?:[A-Za-z0-9_.-]|{_VARIABLE}){{0,127}}$"}
_LABEL: Final[JsonDict] = {"pattern": rf"^(?:[^{{}}]|{_VARIABLE})*$"}
# What the format knows and is refused all the same, see `imagepipe.build.load`.
_LATER: Final = "; not supported yet"
_NONE_YET: Final[JsonDict] = {"maxItems": 0}


class _Strict(BaseModel):
    """No unknown keys, and no text where a number is meant."""

    model_config = ConfigDict(extra="forbid", strict=True, frozen=True)


class SecretDocument(_Strict):
    """A secret for `RUN --mount=type=secret`."""

    id: str = Field(description="The name that the build step asks for.")
    env: str | None = Field(default=None, description="The environment variable that holds it.")
    file: str | None = Field(default=None, description="The file that holds it, relative to this one.")


class BuildDocument(_Strict):
    """How the image is built."""

    context: str = Field(
        default=".", description=f"A folder relative to this file, or a git URL with #ref:folder{_LATER}."
    )
    dockerfile: str = Field(default="Dockerfile", description="The Dockerfile, relative to the context.")
    target: str | None = Field(default=None, description="The stage to build; by default the last.")
    args: dict[str, str] = Field(default={}, description="Build arguments.")
    secrets: list[SecretDocument] = Field(
        default=[], description=f"Secrets that build steps may read{_LATER}.", json_schema_extra=_NONE_YET
    )
    platforms: list[str] = Field(
        default=[VCH_PLATFORM],
        min_length=1,
        description=f"Platforms to build for; others than {VCH_PLATFORM} are not supported yet.",
        json_schema_extra={"items": {"const": VCH_PLATFORM}, "maxItems": 1},
    )
    builder: Builder = Field(
        default="auto",
        description=f"engine is the Docker API; buildx is BuildKit{_LATER}.",
        json_schema_extra={"enum": ["auto", "engine"]},
    )
    profile: Profile = Field(
        default="vch",
        description=f"vch keeps to what a VCH can pull; oci allows anything{_LATER}.",
        json_schema_extra={"enum": ["vch"]},
    )


class SignDocument(_Strict):
    """In which shapes signatures are attached."""

    format: list[Literal["bundle", "legacy"]] = Field(
        default=["bundle"],
        min_length=1,
        description=f"bundle is Sigstore's own; legacy is what cosign wrote before{_LATER}.",
        json_schema_extra={"items": {"const": "bundle"}},
    )


def _no_number(value: Any) -> Any:
    return str(value) if type(value) in (int, float) else value  # for Python, 0 is False


class AttestDocument(_Strict):
    """What is attested beside the signature."""

    provenance: bool = Field(default=True, description="SLSA provenance of the build.")
    sbom: Annotated[Literal["auto", True, False], BeforeValidator(_no_number)] = Field(
        default="auto",
        description=f"auto: where one is available, false: none, true: refused where there is none{_LATER}.",
        json_schema_extra={"enum": ["auto", False]},
    )


def _version_one(value: int) -> int:
    if value != 1:
        raise ValueError(f"must be 1, the only version there is, not {value}")
    return value


class PipelineDocument(_Strict):
    """One image: what it is built from, what it is called, and what is said about it."""

    version: Annotated[int, AfterValidator(_version_one), Field(json_schema_extra={"const": 1})]
    name: str = Field(
        min_length=1, description="The repository's name: <registry>/<project>/<name>.", json_schema_extra=_NAME
    )
    project: str = Field(min_length=1, description="The Harbor project.", json_schema_extra=_NAME)
    build: BuildDocument = Field(default_factory=BuildDocument)
    needs: list[str] = Field(
        default=[], description="Pipelines that are built first.", json_schema_extra={"uniqueItems": True}
    )
    tags: list[str] = Field(
        default=list(DEFAULT_TAGS),
        min_length=1,
        description="Tags; {version} {branch} {sha} {date} {name} are filled.",
        json_schema_extra={"items": {"type": "string", **_TAG}},
    )
    paths: list[str] | None = Field(
        default=None, description="Globs, relative to this file, of what counts as a change; default: the context."
    )
    labels: dict[str, str] = Field(
        default={},
        description="Labels; the same variables are filled.",
        json_schema_extra={"additionalProperties": {"type": "string", **_LABEL}},
    )
    matrix: dict[str, list[str]] = Field(
        default={},
        description=f"Build arguments to build one image each for{_LATER}.",
        json_schema_extra={"maxProperties": 0},
    )
    sign: SignDocument = Field(default_factory=SignDocument)
    attest: AttestDocument = Field(default_factory=AttestDocument)


def json_schema(which: str) -> dict[str, Any]:
    """Returns the JSON Schema of a `pipeline` file, or of the `config` file `imagepipe.toml`.

    Raises:
        UsageError: It is neither.
    """
    if which not in SCHEMAS:
        raise UsageError(f"no schema named {which!r}{did_you_mean(which, SCHEMAS)}", hint="ask for pipeline or config")
    model = PipelineDocument if which == "pipeline" else Settings
    return {"$schema": _DIALECT, **model.model_json_schema()}
