from pathlib import Path

from imagepipe.model.digest import Digest
from imagepipe.model.evidence import SIGNATURE_PREDICATE, Identity
from imagepipe.model.reference import Reference, Repository
from imagepipe.model.result import BuildRequest, BuiltImage, Credential, EvidenceResult, RunResult, SourceRevision

REPOSITORY = Repository("vic.example", "es-sandbox/hello")


def test_a_password_never_shows() -> None:
    credential = Credential("ci", "hunter2")
    assert "hunter2" not in repr(credential)
    assert "hunter2" not in f"{credential}"


def test_a_build_has_no_arguments_and_an_hour_of_silence_unless_told() -> None:
    request = BuildRequest("hello", Path("/src"), "Dockerfile", REPOSITORY.tagged("1"), "linux/amd64")
    assert (request.target, request.args, request.labels, request.timeout_s) == (None, {}, {}, 3600.0)


def test_the_three_digests_of_a_run_are_named_apart() -> None:
    manifest, image_id = Digest.of(b"manifest"), Digest.of(b"config")
    result = RunResult(
        name="hello",
        image=REPOSITORY.pin(manifest),
        tags=(Reference(REPOSITORY, "1"),),
        index=None,
        manifests={"linux/amd64": manifest},
        image_ids={"linux/amd64": image_id},
        evidence=(EvidenceResult(SIGNATURE_PREDICATE, Digest.of(b"e"), Identity("a", "b"), created=True),),
    )
    assert (result.index, result.manifests["linux/amd64"], result.image_ids["linux/amd64"]) == (
        None,
        manifest,
        image_id,
    )
    assert BuiltImage(image_id, "engine").image_id == image_id


def test_a_revision_tells_whether_files_differ() -> None:
    revision = SourceRevision(None, "c" * 40, "2026-11-22T16:00:00Z", None, "1.4", True, Path("/src"))
    assert revision.dirty
