"""A pipeline: what one `pipelines/<name>.yaml` says, checked and frozen.

>>> spec = BuildSpec(context=Path("/src"))
>>> pipeline = Pipeline("hello", "es-sandbox", spec, file=Path("/src/hello.yaml"), digest=Digest.of(b""))
>>> str(pipeline.repository("vic.example"))
'vic.example/es-sandbox/hello'
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from imagepipe.errors import InputError
from imagepipe.model.digest import Digest
from imagepipe.model.host import VCH_PLATFORM
from imagepipe.model.manifest import Platform
from imagepipe.model.reference import Repository

__all__ = ["DEFAULT_TAGS", "Attest", "BuildSecret", "BuildSpec", "Builder", "Pipeline", "Profile", "Sign"]

Builder = Literal["auto", "engine", "buildx"]
Profile = Literal["vch", "oci"]

# One image per commit, named as git describes it.
DEFAULT_TAGS = ("{version}",)


@dataclass(frozen=True, slots=True)
class BuildSecret:
    """A secret that a build step may read, from an environment variable or a file; never its value.

    Attributes:
        id: The name that `RUN --mount=type=secret,id=…` asks for.
        env: The environment variable that holds it, or None.
        file: The file that holds it, or None.
    """

    id: str
    env: str | None = None
    file: Path | None = None

    def __post_init__(self) -> None:
        if (self.env is None) == (self.file is None):
            raise InputError(f"secret {self.id!r} needs exactly one of `env` and `file`")


@dataclass(frozen=True, slots=True)
class BuildSpec:
    """How the image is built.

    Attributes:
        context: The folder sent to the builder, absolute.
        dockerfile: The Dockerfile, relative to the context.
        target: The stage to build, or None for the last.
        args: Build arguments; values may be private and stay out of the repr.
        platforms: What is built; at least one.
        builder: `engine` is the Docker API, `buildx` is BuildKit, `auto` lets imagepipe choose.
        profile: `vch` keeps to what a VCH can pull; `oci` allows anything.
    """

    context: Path
    dockerfile: str = "Dockerfile"
    target: str | None = None
    args: Mapping[str, str] = field(default_factory=dict, hash=False, repr=False)
    secrets: tuple[BuildSecret, ...] = ()
    platforms: tuple[Platform, ...] = (Platform.parse(VCH_PLATFORM),)
    builder: Builder = "auto"
    profile: Profile = "vch"

    def __post_init__(self) -> None:
        if not self.platforms:
            raise InputError("a build needs at least one platform", hint=f"write platforms: [{VCH_PLATFORM}]")


@dataclass(frozen=True, slots=True)
class Sign:
    """In which shapes signatures are attached."""

    format: tuple[Literal["bundle", "legacy"], ...] = ("bundle",)


@dataclass(frozen=True, slots=True)
class Attest:
    """What is attested beside the signature; `sbom="auto"` means where one is available."""

    provenance: bool = True
    sbom: Literal["auto"] | bool = "auto"


@dataclass(frozen=True, slots=True)
class Pipeline:
    """One image to make. Law: pipelines from equal bytes at the same path are equal.

    Attributes:
        name: The repository's name inside its project, and what `needs` of others call it.
        project: The Harbor project.
        needs: Names of pipelines that are built first.
        tags: Tag templates; variables are in braces.
        paths: Globs, relative to the file's folder, of what counts as a change; empty: the context.
        labels: Label templates, which win over the computed ones.
        matrix: Values to build one image each for.
        file: Where it was read.
        digest: The digest of the file's bytes.
        lines: The line of each key (`tags.0`), for messages.
        requested: Whether somebody asked for it, and not alone for what needs it.
    """

    name: str
    project: str
    build: BuildSpec
    needs: tuple[str, ...] = ()
    tags: tuple[str, ...] = DEFAULT_TAGS
    paths: tuple[str, ...] = ()
    labels: Mapping[str, str] = field(default_factory=dict, hash=False)
    matrix: Mapping[str, tuple[str, ...]] = field(default_factory=dict, hash=False)
    sign: Sign = field(default_factory=Sign)
    attest: Attest = field(default_factory=Attest)
    file: Path = field(kw_only=True)
    digest: Digest = field(kw_only=True)
    lines: Mapping[str, str] = field(default_factory=dict, kw_only=True, repr=False, compare=False)
    requested: bool = field(default=True, kw_only=True, compare=False)

    def repository(self, registry: str) -> Repository:
        """Returns where the image goes in that registry.

        Raises:
            InputError: Project and name make no repository name.
        """
        return Repository(registry, f"{self.project}/{self.name}")

    def where(self, key: str) -> str:
        """Returns `file:line:column` of a key such as `tags.0`, of its parent where it has none, or the file alone."""
        while key and key not in self.lines:
            key = key.rpartition(".")[0]
        return self.lines.get(key, str(self.file))
