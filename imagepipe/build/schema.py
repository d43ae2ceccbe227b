"""The shape of a pipeline file, and the JSON Schemas that editors check it and the configuration with.

>>> json_schema("pipeline")["properties"]["name"]["type"]
'string'
"""

from typing import Annotated, Any, Final, Literal

from pydantic import AfterValidator, BaseModel, ConfigDict, Field

from imagepipe.errors import UsageError
from imagepipe.model.host import VCH_PLATFORM
from imagepipe.model.pipeline import DEFAULT_TAGS, Builder, Profile
from imagepipe.problems import did_you_mean
from imagepipe.settings import Settings

__all__ = ["SCHEMAS", "PipelineDocument", "json_schema"]

# Source: JSON Schema draft 2020-12, which pydantic writes.
_DIALECT: Final = "https://json-schema.org/draft/2020-12/schema"
SCHEMAS: Final = ("pipeline", "config")


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

    context: str = Field(default=".", description="A folder relative to this file, or a git URL with #ref:folder.")
    dockerfile: str = Field(default="Dockerfile", description="The Dockerfile, relative to the context.")
    target: str | None = Field(default=None, description="The stage to build; by default the last.")
    args: dict[str, str] = Field(default={}, description="Build arguments.")
    secrets: list[SecretDocument] = Field(default=[], description="Secrets that build steps may read.")
    platforms: list[str] = Field(default=[VCH_PLATFORM], min_length=1, description="Platforms to build for.")
    builder: Builder = Field(default="auto", description="engine is the Docker API, buildx is BuildKit.")
    profile: Profile = Field(default="vch", description="vch keeps to what a VCH can pull; oci allows anything.")


class SignDocument(_Strict):
    """In which shapes signatures are attached."""

    format: list[Literal["bundle", "legacy"]] = Field(default=["bundle"], min_length=1)


class AttestDocument(_Strict):
    """What is attested beside the signature."""

    provenance: bool = Field(default=True, description="SLSA provenance of the build.")
    sbom: Literal["auto", True, False] = Field(default="auto", description="auto: where one is available.")


def _version_one(value: int) -> int:
    if value != 1:
        raise ValueError(f"must be 1, the only version there is, not {value}")
    return value


class PipelineDocument(_Strict):
    """One image: what it is built from, what it is called, and what is said about it."""

    version: Annotated[int, AfterValidator(_version_one), Field(json_schema_extra={"const": 1})]
    name: str = Field(min_length=1, description="The repository's name: <registry>/<project>/<name>.")
    project: str = Field(min_length=1, description="The Harbor project.")
    build: BuildDocument = Field(default_factory=BuildDocument)
    needs: list[str] = Field(default=[], description="Pipelines that are built first.")
    tags: list[str] = Field(
        default=list(DEFAULT_TAGS), min_length=1, description="Tags; {version} {branch} {sha} {date} {name} are filled."
    )
    paths: list[str] | None = Field(
        default=None, description="Globs, relative to this file, of what counts as a change; default: the context."
    )
    labels: dict[str, str] = Field(default={}, description="Labels; the same variables are filled.")
    matrix: dict[str, list[str]] = Field(default={}, description="Build arguments to build one image each for.")
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
