"""The main job from end to end: build, push, sign, promote by digest, prove, look."""

import json
import re
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.e2e.box import Box
from tests.e2e.cli import Cli, Run
from tests.e2e.workspace import Workspace

pytestmark = pytest.mark.sandbox

SIGNATURE = "https://sigstore.dev/cosign/sign/v1"
PROVENANCE = "https://slsa.dev/provenance/v1"
PROMOTION = "https://imagepipe.dev/promotion/v1"
TARGETS = ("--to", "vch-a", "--to", "vch-b", "--to", "engine-a")

# With a RUN step, as most Dockerfiles have one.
DOCKERFILE = """\
ARG BASE
FROM ${BASE}
COPY index.html /srv/
RUN sha256sum /srv/index.html > /srv/index.html.sha256
EXPOSE 8080
CMD ["httpd", "-f", "-p", "8080", "-h", "/srv"]
"""


class Story:
    """One image that is built, promoted everywhere, and looked at from all sides."""

    def __init__(self, box: Box, cli: Cli, workspace: Workspace) -> None:
        self.box, self.cli, self.workspace = box, cli, workspace
        self.built = self.command("run", workspace.name, "--json").ok()
        self.image: str = self.built.json()["images"][0]["image"]
        self.digest = self.image.partition("@")[2]
        self.promoted = self.command("promote", self.image, *TARGETS, "--reason", "first", "--yes", "--json").ok()

    def command(self, *argv: str) -> Run:
        return self.cli.run(*argv, cwd=self.workspace.folder)


@pytest.fixture(scope="module")
def story(box: Box, cli: Cli, tmp_path_factory: pytest.TempPathFactory) -> Story:
    folder = tmp_path_factory.mktemp("story")
    return Story(box, cli, Workspace.make(folder / "story", "story", dockerfile=DOCKERFILE))


def test_run_names_index_manifest_and_image_id_apart(story: Story, box: Box) -> None:
    document = story.built.json()
    (image,) = document["images"]
    stored = json.loads(box.registry.manifest(story.workspace.repository, "1.0"))
    assert document["schema"] == "imagepipe.run/v1"
    assert image["image"] == f"{box.registry.host}/es-sandbox/story@{story.digest}"
    assert box.registry.digest(story.workspace.repository, "1.0") == story.digest
    assert image["index"] is None
    assert image["platforms"] == [
        {"platform": "linux/amd64", "manifest": story.digest, "image_id": stored["config"]["digest"]}
    ]
    assert story.digest != stored["config"]["digest"]
    assert image["size_bytes"] == sum(part["size"] for part in (stored["config"], *stored["layers"]))


def test_run_signs_as_ci_and_says_where_the_evidence_is(story: Story, box: Box) -> None:
    (image,) = story.built.json()["images"]
    kinds = {one["predicate_type"]: one for one in image["evidence"]}
    assert set(kinds) == {SIGNATURE, PROVENANCE}
    assert all(one["created"] and box.document["sigstore"]["identity"] in one["signed_by"] for one in kinds.values())
    for one in kinds.values():
        attached = json.loads(box.registry.manifest("es-sandbox/story", one["manifest"]))
        assert attached["subject"]["digest"] == story.digest


def test_run_gives_every_tag_of_the_pipeline_and_the_one_for_hosts(story: Story, box: Box) -> None:
    (image,) = story.built.json()["images"]
    commit = subprocess.run(
        ("git", "rev-parse", "HEAD"), cwd=story.workspace.folder, capture_output=True, text=True, timeout=20, check=True
    ).stdout[:12]
    assert image["tags"] == [f"{box.registry.host}/es-sandbox/story:{tag}" for tag in ("1.0", f"main-{commit}")]
    carrier = f"imagepipe-{story.digest.removeprefix('sha256:')[:32]}"
    for tag in ("1.0", f"main-{commit}", carrier):
        assert box.registry.digest("es-sandbox/story", tag) == story.digest


def test_provenance_names_the_source_and_the_base(story: Story, box: Box) -> None:
    (provenance,) = [
        one for one in box.registry.statements("es-sandbox/story", story.digest) if one["predicateType"] == PROVENANCE
    ]
    assert provenance["subject"][0]["digest"] == {"sha256": story.digest.removeprefix("sha256:")}
    text = json.dumps(provenance["predicate"])
    assert box.registry.digest("es-sandbox/base", "1").removeprefix("sha256:") in text
    assert "pipelines/story.yaml" in text


def test_promote_brings_the_digest_to_every_target_and_proves_it(story: Story, box: Box) -> None:
    document = story.promoted.json()
    assert document["schema"] == "imagepipe.promote/v1"
    assert document["image"] == story.image
    assert all(gate["passed"] for gate in document["gates"])
    assert [(one["target"], one["kind"], one["outcome"], one["digest"]) for one in document["targets"]] == [
        ("vch-a", "vch", "promoted", story.digest),
        ("vch-b", "vch", "promoted", story.digest),
        ("engine-a", "docker", "promoted", story.digest),
    ]
    for one in document["targets"]:
        assert one["proof"]["pull"] == f"Digest: {story.digest}"
        assert box.host(one["target"]).holds(story.image)
        assert box.host(one["target"]).containers() == []
    assert "layers" in document["targets"][0]["proof"]
    assert "error" not in document


def test_the_promotion_is_on_record_at_the_image(story: Story, box: Box) -> None:
    (record,) = box.registry.records("es-sandbox/story", story.digest)
    assert record["reason"] == "first"
    assert record["image"] == story.image
    assert record["plan"] == story.promoted.json()["plan"]
    assert [(one["target"], one["outcome"]) for one in record["targets"]] == [
        ("vch-a", "promoted"),
        ("vch-b", "promoted"),
        ("engine-a", "promoted"),
    ]


def test_promoting_again_changes_nothing_and_says_so(story: Story, box: Box) -> None:
    before = [box.host(name).images("es-sandbox/story") for name in box.document["targets"]]
    again = story.command("promote", story.image, *TARGETS, "--yes", "--json").ok().json()
    assert [one["outcome"] for one in again["targets"]] == ["present"] * 3
    assert again["record"] == story.promoted.json()["record"]
    assert len(box.registry.records("es-sandbox/story", story.digest)) == 1
    assert before == [box.host(name).images("es-sandbox/story") for name in box.document["targets"]]


def test_running_again_builds_the_same_digest_and_signs_nothing_twice(story: Story, box: Box) -> None:
    (image,) = story.command("run", "story", "--json").ok().json()["images"]
    assert image["image"] == story.image
    assert [one["created"] for one in image["evidence"]] == [False, False]
    kinds = [one["predicateType"] for one in box.registry.statements("es-sandbox/story", story.digest)]
    assert sorted(kinds) == sorted([SIGNATURE, PROVENANCE, PROMOTION])


def test_verify_tells_who_signed(story: Story, box: Box) -> None:
    document = story.command("verify", "es-sandbox/story:1.0", "--policy", "sandbox", "--json").ok().json()
    signer = {"identity": box.document["sigstore"]["identity"], "issuer": box.issuer}
    assert document["schema"] == "imagepipe.verify/v1"
    assert document["image"] == story.image
    assert [(one["predicate_type"], one["signed_by"]) for one in document["proofs"]] == [(SIGNATURE, signer)]
    assert re.match(r"\d{4}-\d\d-\d\dT", document["proofs"][0]["signed_at"])


def test_verify_asks_for_provenance_where_the_policy_does(story: Story, box: Box, cli: Cli) -> None:
    strict = box.config({"policies.sandbox.require_provenance": True})
    document = cli.run("verify", story.image, "--json", config=strict).ok().json()
    assert [one["predicate_type"] for one in document["proofs"]] == [SIGNATURE, PROVENANCE]


def test_digest_names_the_three_digests_apart(story: Story) -> None:
    document = story.command("digest", story.image, "--json").ok().json()
    text = story.command("digest", story.image).ok().out
    (platform,) = document["platforms"]
    assert (document["schema"], document["index"]) == ("imagepipe.digest/v1", None)
    assert platform["manifest"] == story.digest
    assert platform["image_id"] == story.built.json()["images"][0]["platforms"][0]["image_id"]
    assert re.search(rf"^manifest +{story.digest} ", text, re.MULTILINE)
    assert re.search(rf"^image id +{platform['image_id']} ", text, re.MULTILINE)


def test_tree_shows_signature_provenance_and_promotion_each_verified(story: Story, box: Box) -> None:
    document = story.command("tree", story.image, "--json").ok().json()
    assert document["schema"] == "imagepipe.tree/v1"
    assert sorted(one["predicate_type"] for one in document["attached"]) == sorted([SIGNATURE, PROVENANCE, PROMOTION])
    assert all(one["verified"] and one["signed_by"]["issuer"] == box.issuer for one in document["attached"])


def test_status_tells_what_is_held_where_and_on_whose_word(story: Story, box: Box) -> None:
    document = story.command("status", "--json").ok().json()
    assert document["schema"] == "imagepipe.status/v1"
    assert [one["target"] for one in document["targets"]] == list(box.document["targets"])
    for one in document["targets"]:
        (held,) = one["images"]
        assert (held["image"], held["state"]) == (story.image, "promoted")
        assert box.document["sigstore"]["identity"] in held["signed_by"]
    assert len(story.command("status").ok().out.splitlines()) == 3


def test_the_pinned_line_of_run_is_what_promote_takes(story: Story, box: Box) -> None:
    line = story.command("run", "story", "-q").ok()
    assert line.out == f"{story.image}\n"
    assert line.err == ""
    promoted = story.command("promote", line.out.strip(), "--to", "vch-a", "--yes").ok()
    assert promoted.out == f"vch-a\tpresent\t{story.digest}\n"


def test_files_for_later_jobs_hold_the_pinned_reference(story: Story, tmp_path: Path) -> None:
    outputs, summary = tmp_path / "outputs", tmp_path / "summary.md"
    argv = ("--metadata-file", str(tmp_path / "run.json"), "--dotenv", str(tmp_path / "run.env"))
    run = story.cli.run(
        *("run", "story", "--json", *argv),
        cwd=story.workspace.folder,
        env={"GITHUB_OUTPUT": str(outputs), "GITHUB_STEP_SUMMARY": str(summary)},
    ).ok()
    assert json.loads((tmp_path / "run.json").read_text()) == run.json()
    assert (tmp_path / "run.env").read_text() == f"STORY_IMAGE={story.image}\n"
    assert outputs.read_text() == f"story_image={story.image}\n"
    assert story.image in summary.read_text()


def test_a_file_that_cannot_be_written_takes_no_pinned_reference_away(story: Story, tmp_path: Path) -> None:
    for argv, environ in (
        (("--metadata-file", "/dev/full"), {}),
        (("--dotenv", "/dev/full"), {}),
        ((), {"GITHUB_OUTPUT": str(tmp_path / "absent" / "outputs")}),
    ):
        run = story.cli.run("run", "story", "--json", *argv, cwd=story.workspace.folder, env=environ)
        document = run.fails(3, "cannot write /", hint="run the same command again", schema="imagepipe.run/v1")
        assert [one["image"] for one in document["images"]] == [story.image]
    for path in (tmp_path, tmp_path / "absent" / "run.json"):
        run = story.cli.run("run", "story", "--json", "--metadata-file", str(path), cwd=story.workspace.folder)
        run.fails(2, f"cannot write {path}", hint="a folder that exists", kind="usage")
        assert "build" not in run.err


def test_config_show_tells_where_each_value_comes_from(box: Box, cli: Cli) -> None:
    document = cli.run("config", "show", "--origin", "--json").ok().json()
    rows = {row["key"]: row for row in document["settings"]}
    assert document["schema"] == "imagepipe.config/v1"
    assert rows["registry"]["value"] == box.registry.host
    assert re.fullmatch(rf"{re.escape(box.document['config'])}:\d+", rows["registry"]["origin"])
    assert rows["signing.identity_token_file"]["origin"] == "IMAGEPIPE_SIGNING__IDENTITY_TOKEN_FILE"
    assert rows["timeouts.connect_s"]["origin"] == "default"


def test_config_show_masks_a_password_that_came_by_the_environment(box: Box, cli: Cli) -> None:
    box.secrets.append("Swordfish-Number-7")
    document = cli.run("config", "show", "--json", env={"HARBOR_PASSWORD": "Swordfish-Number-7"}).ok().json()
    (row,) = [row for row in document["settings"] if row["key"] == "harbor.password"]
    assert (row["value"], row["origin"]) == ("********", "HARBOR_PASSWORD")


def test_dockers_own_client_runs_the_promoted_digest_on_a_vch(story: Story, box: Box) -> None:
    row: dict[str, Any] = box.document["targets"]["vch-a"]
    files = {"--tlscacert": "ca.pem", "--tlscert": "cert.pem", "--tlskey": "key.pem"}
    certificates = [f"{flag}={row['cert_path']}/{file}" for flag, file in files.items()]

    def docker(*argv: str) -> str:
        line = ("docker", "--host", row["host"], "--tlsverify", *certificates, *argv)
        environ = {"PATH": "/usr/bin:/bin:/usr/sbin:/sbin", "DOCKER_API_VERSION": "1.25"}
        done = subprocess.run(line, env=environ, capture_output=True, text=True, timeout=60, check=False)
        assert done.returncode == 0, f"{argv}: {done.stderr}"
        return done.stdout.strip()

    container = docker("run", "--detach", "--network", row["networks"]["public"], story.image)
    try:
        (facts,) = json.loads(docker("inspect", container))
        address = facts["NetworkSettings"]["Networks"][row["networks"]["public"]]["IPAddress"]
        transport = httpx.HTTPTransport(retries=5)
        with httpx.Client(transport=transport, timeout=10.0, trust_env=False) as client:
            assert client.get(f"http://{address}:8080/index.html").text == story.workspace.page
    finally:
        docker("rm", "--force", container)


def test_an_unknown_workspace_makes_its_first_image_by_two_commands(
    box: Box, cli: Cli, workspace: Callable[..., Workspace]
) -> None:
    made = workspace("quickly")
    pinned = cli.run("run", "quickly", cwd=made.folder).ok().out.strip()
    assert re.fullmatch(rf"{re.escape(box.registry.host)}/es-sandbox/quickly@sha256:[0-9a-f]{{64}}", pinned)
    cli.run("promote", pinned, "--to", "vch-a", "--yes", cwd=made.folder).ok()
    assert box.host("vch-a").holds(pinned)
