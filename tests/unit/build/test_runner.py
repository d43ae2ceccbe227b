from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import pytest

from imagepipe.build.ports import BuildWorld
from imagepipe.build.runner import RunOptions, run_pipelines
from imagepipe.errors import (
    BuildError,
    DigestMismatchError,
    IdentityError,
    InputError,
    NotFoundError,
    PermissionRefusedError,
    RefusedError,
    UnsupportedError,
)
from imagepipe.events import silent
from imagepipe.evidence.reader import EvidenceReader
from imagepipe.evidence.writer import EvidenceWriter
from imagepipe.fanout import Outcome
from imagepipe.model.digest import Digest
from imagepipe.model.evidence import PROVENANCE_PREDICATE, SIGNATURE_PREDICATE, Bundle, Statement
from imagepipe.model.pipeline import Attest, BuildSpec, Pipeline
from imagepipe.model.reference import Reference, Repository
from imagepipe.model.result import RunResult, SourceRevision
from tests.contract.engine_memory import MemoryBuilder, MemoryPusher
from tests.contract.registry_memory import MemoryRegistry
from tests.contract.signing_memory import MemorySigner, MemoryVerifier
from tests.unit.promote.world import CI, SteppingClock

REGISTRY = "vic.example"
HELLO = Repository(REGISTRY, "es-sandbox/hello")


@dataclass
class Checkout:
    """A work tree that stands where the test says."""

    root: Path
    branch: str = "main"
    dirty: bool = False

    def revision(self, path: Path) -> SourceRevision | None:
        return SourceRevision(
            url="https://git.example/es/images",
            commit="0123456789abcdef0123456789abcdef01234567",
            committed_at="2026-01-02T03:04:05Z",
            branch=self.branch,
            version="1.4",
            dirty=self.dirty,
            root=self.root,
        )

    def commit(self, path: Path) -> str | None:
        return "0123456789abcdef0123456789abcdef01234567"

    def changed_since(
        self, path: Path, revision: str, *, globs: Sequence[str] = (), places: Sequence[Path] = ()
    ) -> tuple[str, ...]:
        return ()


@dataclass
class Workshop:
    """Pipelines in a folder and everything that builds them."""

    folder: Path
    registry: MemoryRegistry = field(default_factory=MemoryRegistry)
    builder: MemoryBuilder = field(default_factory=MemoryBuilder)
    signer: MemorySigner = field(default_factory=lambda: MemorySigner(CI))
    signed: bool = True

    def __post_init__(self) -> None:
        self.pusher = MemoryPusher(self.builder, self.registry)
        self.base = self.registry.add_image(f"{REGISTRY}/es-sandbox/base", "1")
        self.reader = EvidenceReader(referrers=self.registry, verifier=MemoryVerifier())

    def pipeline(self, name: str = "hello", dockerfile: str = "", **changes: object) -> Pipeline:
        context = self.folder / name
        context.mkdir(exist_ok=True)
        (context / "Dockerfile").write_text(dockerfile or f"FROM {REGISTRY}/es-sandbox/base:1\nRUN true {name}\n")
        spec = BuildSpec(context=context)
        made = Pipeline(name, "es-sandbox", spec, file=self.folder / f"{name}.yaml", digest=Digest.of(name.encode()))
        return replace(made, **changes)  # type: ignore[arg-type]  # named by the test

    def world(self) -> BuildWorld:
        clock = SteppingClock()
        writer = EvidenceWriter(signer=self.signer, referrers=self.registry, reader=self.reader, clock=clock)
        return BuildWorld(
            builder=self.builder,
            pusher=self.pusher,
            source=self.registry,
            sink=self.registry,
            writer=writer if self.signed else None,
            source_control=Checkout(self.folder),
            clock=clock,
            events=silent,
            invocation="https://ci.example/jobs/7",
            version="0.1.0",
        )

    def run(self, *pipelines: Pipeline, **options: object) -> tuple[Outcome[Pipeline, RunResult], ...]:
        return run_pipelines(pipelines, RunOptions(registry=REGISTRY, **options), self.world())  # type: ignore[arg-type]  # named by the test

    def one(self, *pipelines: Pipeline, **options: object) -> RunResult:
        return self.run(*pipelines, **options)[-1].unwrap()


class Killed(MemorySigner):
    """Knows who it is, and dies when it is to sign."""

    def sign(self, statements: Sequence[Statement]) -> tuple[Bundle, ...]:
        raise IdentityError("killed")


@pytest.fixture
def workshop(tmp_path: Path) -> Workshop:
    return Workshop(tmp_path)


def test_a_pipeline_becomes_a_signed_digest(workshop: Workshop) -> None:
    result = workshop.one(workshop.pipeline())
    assert result.image is not None
    assert result.tags == (HELLO.tagged("1.4"),)
    assert workshop.registry.tags[HELLO, "1.4"] == result.image.digest
    assert result.index is None
    assert result.manifests == {"linux/amd64": result.image.digest}
    assert result.image_ids["linux/amd64"] != result.image.digest
    assert {one.predicate_type for one in result.evidence} == {SIGNATURE_PREDICATE, PROVENANCE_PREDICATE}
    assert workshop.reader.require(result.image, SIGNATURE_PREDICATE, (CI,))


def test_the_carrier_tag_is_there_for_hosts_that_cannot_pull_by_digest(workshop: Workshop) -> None:
    result = workshop.one(workshop.pipeline())
    assert result.image is not None
    assert workshop.registry.tags[HELLO, str(result.image.carrier.tag)] == result.image.digest


def test_provenance_names_commit_pipeline_base_and_builder(workshop: Workshop) -> None:
    result = workshop.one(workshop.pipeline())
    assert result.image is not None
    predicate = workshop.reader.require(result.image, PROVENANCE_PREDICATE, (CI,)).verified.statement.predicate
    text = str(predicate)
    assert "0123456789abcdef0123456789abcdef01234567" in text
    assert workshop.base.digest.hex in text
    assert Digest.of(b"hello").hex in text
    assert predicate["buildDefinition"]["externalParameters"]["pipeline"]["path"] == "hello.yaml"
    assert predicate["runDetails"]["builder"]["version"]["builder"] == "docker-engine/20.10.24 (classic)"
    assert predicate["runDetails"]["metadata"]["invocationId"] == "https://ci.example/jobs/7"


def test_the_base_is_pinned_and_labelled(workshop: Workshop) -> None:
    workshop.one(workshop.pipeline())
    name = Reference.parse(f"{REGISTRY}/es-sandbox/base:1")
    assert workshop.builder.provided[name] == name.repository.pin(workshop.base.digest)
    labels = workshop.builder.requests[0].labels
    assert labels["org.opencontainers.image.base.digest"] == str(workshop.base.digest)
    assert labels["org.opencontainers.image.revision"].startswith("0123456789ab")


def test_an_image_from_scratch_has_no_base(workshop: Workshop) -> None:
    workshop.one(workshop.pipeline(dockerfile="FROM scratch\nCOPY . /\n"))
    assert "org.opencontainers.image.base.name" not in workshop.builder.requests[0].labels


def test_the_registry_can_stand_in_an_argument(workshop: Workshop) -> None:
    pipeline = workshop.pipeline(dockerfile="ARG BASE\nFROM ${BASE}\n")
    spec = replace(pipeline.build, args={"BASE": "{registry}/es-sandbox/base:1"})
    workshop.one(replace(pipeline, build=spec))
    assert workshop.builder.requests[0].args["BASE"] == f"{REGISTRY}/es-sandbox/base:1"


def test_a_base_that_is_not_there_is_told_with_the_pipelines_name(workshop: Workshop) -> None:
    (outcome,) = workshop.run(workshop.pipeline(dockerfile=f"FROM {REGISTRY}/es-sandbox/base:9\n"))
    assert isinstance(outcome.error, NotFoundError)
    assert "hello" in outcome.error.message
    assert workshop.builder.requests == []


def test_a_base_without_a_tag_means_latest_and_a_pinned_one_is_taken_at_its_word(workshop: Workshop) -> None:
    latest = workshop.registry.add_image(f"{REGISTRY}/es-sandbox/base", "latest")
    workshop.one(workshop.pipeline(dockerfile=f"FROM {REGISTRY}/es-sandbox/base\n"))
    labels = workshop.builder.requests[-1].labels
    assert labels["org.opencontainers.image.base.digest"] == str(latest.digest)
    workshop.one(workshop.pipeline(dockerfile=f"FROM {REGISTRY}/es-sandbox/base@{workshop.base.digest}\n"))
    labels = workshop.builder.requests[-1].labels
    assert labels["org.opencontainers.image.base.digest"] == str(workshop.base.digest)


def test_a_broken_dockerfile_is_told_with_its_path(workshop: Workshop) -> None:
    (outcome,) = workshop.run(workshop.pipeline(dockerfile="RUN true\n"))
    assert isinstance(outcome.error, InputError)
    assert "hello/Dockerfile: no FROM" in outcome.error.message


def test_a_base_that_is_no_image_name_is_told_with_dockerfile_and_pipeline(workshop: Workshop) -> None:
    (outcome,) = workshop.run(workshop.pipeline(dockerfile="FROM Busybox\n"))
    assert isinstance(outcome.error, InputError)
    assert outcome.error.message == ("Dockerfile of hello: base image Busybox: not a repository name: 'Busybox'")


def test_a_dockerfile_in_another_encoding_is_built(workshop: Workshop) -> None:
    pipeline = workshop.pipeline()
    dockerfile = pipeline.build.context / "Dockerfile"
    dockerfile.write_bytes(b"# caf\xe9\nFROM " + f"{REGISTRY}/es-sandbox/base:1\n".encode())
    assert workshop.one(pipeline, push=False).image_ids


def test_an_image_that_files_are_copied_from_is_pinned_like_a_base(workshop: Workshop) -> None:
    tools = workshop.registry.add_image(f"{REGISTRY}/es-sandbox/tools", "1")
    name = f"{REGISTRY}/es-sandbox/tools:1"
    result = workshop.one(workshop.pipeline(dockerfile=f"FROM scratch\nCOPY --from={name} /x /\n"))
    assert workshop.builder.provided[Reference.parse(name)].digest == tools.digest
    assert result.image is not None
    proof = workshop.reader.require(result.image, PROVENANCE_PREDICATE, (CI,)).verified.statement.predicate
    assert tools.digest.hex in str(proof["buildDefinition"]["resolvedDependencies"])


def test_a_dockerfile_that_vanished_is_told(workshop: Workshop) -> None:
    pipeline = workshop.pipeline()
    (pipeline.build.context / "Dockerfile").unlink()
    (outcome,) = workshop.run(pipeline)
    assert isinstance(outcome.error, InputError)


def test_without_push_nothing_reaches_the_registry(workshop: Workshop) -> None:
    result = workshop.one(workshop.pipeline(), push=False)
    assert result.image is None
    assert result.image_ids
    assert workshop.pusher.pushed == []


def test_without_a_writer_the_image_stays_unsigned(workshop: Workshop) -> None:
    workshop.signed = False
    result = workshop.one(workshop.pipeline())
    assert result.evidence == ()
    assert result.image is not None
    assert workshop.registry.list(result.image) == ()


def test_provenance_can_be_left_out(workshop: Workshop) -> None:
    result = workshop.one(workshop.pipeline(attest=Attest(provenance=False)))
    assert [one.predicate_type for one in result.evidence] == [SIGNATURE_PREDICATE]


def test_running_again_pushes_and_signs_nothing_new(workshop: Workshop) -> None:
    first = workshop.one(workshop.pipeline())
    second = workshop.one(workshop.pipeline())
    assert second.image == first.image
    assert len(workshop.pusher.pushed) == 1
    assert [one.created for one in second.evidence] == [False, False]


def test_an_immutable_tag_with_the_same_image_is_success(workshop: Workshop) -> None:
    workshop.one(workshop.pipeline())
    workshop.registry.immutable.add((HELLO, "1.4"))
    assert workshop.one(workshop.pipeline()).image is not None


def test_an_immutable_tag_with_another_image_is_refused(workshop: Workshop) -> None:
    workshop.one(workshop.pipeline())
    workshop.registry.immutable.add((HELLO, "1.4"))
    (outcome,) = workshop.run(workshop.pipeline(dockerfile="FROM scratch\nCOPY other /\n"))
    assert isinstance(outcome.error, RefusedError)


def test_without_anybody_to_sign_as_nothing_is_built(workshop: Workshop) -> None:
    workshop.signer.failure = IdentityError("expired")
    with pytest.raises(IdentityError, match="expired"):
        workshop.run(workshop.pipeline())
    assert workshop.builder.requests == []
    assert workshop.one(workshop.pipeline(), push=False).image is None


def test_a_run_killed_between_push_and_sign_is_healed_by_the_same_command(workshop: Workshop) -> None:
    workshop.signer = Killed(CI)
    (outcome,) = workshop.run(workshop.pipeline())
    assert isinstance(outcome.error, IdentityError)
    workshop.signer = MemorySigner(CI)
    result = workshop.one(workshop.pipeline())
    assert [one.created for one in result.evidence] == [True, True]
    assert len(workshop.pusher.pushed) == 1


def test_an_engine_that_reports_another_digest_than_the_registry_is_found(workshop: Workshop) -> None:
    workshop.pusher.reports = Digest.of(b"other")
    (outcome,) = workshop.run(workshop.pipeline())
    assert isinstance(outcome.error, DigestMismatchError)
    assert str(Digest.of(b"other")) in outcome.error.message


def test_another_runs_image_of_the_same_name_on_the_build_host_is_found_and_told(workshop: Workshop) -> None:
    other = workshop.registry.add_image(str(HELLO), "1.4")
    workshop.pusher = Swapping(workshop.builder, workshop.registry, other.digest)
    (outcome,) = workshop.run(workshop.pipeline())
    assert isinstance(outcome.error, DigestMismatchError)
    assert "image id" in outcome.error.message
    assert "tags that are unique" in str(outcome.error.hint)


def test_an_engine_that_pushes_an_index_is_refused(workshop: Workshop) -> None:
    index = workshop.registry.add_index(str(HELLO), "other")
    workshop.pusher = Swapping(workshop.builder, workshop.registry, index.digest)
    (outcome,) = workshop.run(workshop.pipeline())
    assert isinstance(outcome.error, UnsupportedError)


class Swapping(MemoryPusher):
    """Says that it pushed, but the tag ends up at something else."""

    def __init__(self, builder: MemoryBuilder, registry: MemoryRegistry, instead: Digest) -> None:
        super().__init__(builder, registry)
        self.instead = instead

    def push(self, image_id: Digest, name: Reference, sink: object) -> Digest:
        self.registry.move(name.repository, str(name.tag), self.instead)
        return self.instead


def test_a_refused_push_signs_nothing(workshop: Workshop) -> None:
    workshop.pusher.push_errors = [PermissionRefusedError("no push right")]
    (outcome,) = workshop.run(workshop.pipeline())
    assert isinstance(outcome.error, PermissionRefusedError)
    assert workshop.signer.signed == []


def test_a_needed_image_arrives_as_a_pinned_argument(workshop: Workshop) -> None:
    base = workshop.pipeline("web-base")
    app = workshop.pipeline("app", "ARG WEB_BASE\nFROM ${WEB_BASE}\n", needs=("web-base",))
    first, second = workshop.run(base, app)
    assert workshop.builder.requests[-1].args["WEB_BASE"] == str(first.unwrap().image)
    assert second.unwrap().image is not None


def test_a_needed_image_that_is_not_pushed_arrives_by_its_image_id(workshop: Workshop) -> None:
    base = workshop.pipeline("web-base")
    app = workshop.pipeline("app", "ARG WEB_BASE\nFROM ${WEB_BASE}\n", needs=("web-base",))
    first, second = workshop.run(base, app, push=False)
    (image_id,) = first.unwrap().image_ids.values()
    request = workshop.builder.requests[-1]
    assert request.args["WEB_BASE"] == str(image_id)
    assert "org.opencontainers.image.base.digest" not in request.labels
    assert second.unwrap().image_ids


def test_what_needs_a_failed_image_is_not_built_and_the_rest_is(workshop: Workshop) -> None:
    base = workshop.pipeline("base", "FROM scratch\nRUN false\n")
    app = workshop.pipeline("app", needs=("base",))
    other = workshop.pipeline("other")
    failed, blocked, fine = workshop.run(base, app, other)
    assert isinstance(failed.error, BuildError)
    assert isinstance(blocked.error, BuildError)
    assert "because base failed" in blocked.error.message
    assert fine.error is None
    assert len(workshop.builder.requests) == 2


def test_two_images_that_claim_one_tag_are_refused_before_anything_is_built(workshop: Workshop) -> None:
    one = workshop.pipeline()
    two = replace(one, file=workshop.folder / "second.yaml")
    with pytest.raises(InputError, match="claimed"):
        workshop.run(one, two)
    assert workshop.builder.requests == []


def test_tags_from_the_command_line_replace_the_files(workshop: Workshop) -> None:
    result = workshop.one(workshop.pipeline(), tags=("rc1", "rc2"))
    assert [tag.tag for tag in result.tags] == ["rc1", "rc2"]
    assert (HELLO, "1.4") not in workshop.registry.tags
    assert workshop.registry.tags[HELLO, "rc1"] == workshop.registry.tags[HELLO, "rc2"]
