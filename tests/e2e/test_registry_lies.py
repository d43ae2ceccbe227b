"""A registry that moves tags, sends other bytes than their digest says, or is away: nothing of it is believed."""

from collections.abc import Callable

import pytest

from tests.e2e.box import Box
from tests.e2e.cli import Cli
from tests.e2e.images import HandMade, hand_made
from tests.e2e.workspace import Workspace

pytestmark = pytest.mark.sandbox

PROMOTE = "imagepipe.promote/v1"


class Swap:
    """A signed image A, another one B in the same repository, and the tag by which a VCH is to fetch A."""

    def __init__(self, box: Box, cli: Cli, name: str) -> None:
        self.box, self.repository = box, f"es-sandbox/{name}"
        self.meant, self.other = hand_made(f"{name} as planned"), hand_made(f"{name} slipped in")
        self.pinned = box.registry.push(self.repository, "meant", self.meant)
        box.registry.push(self.repository, "other", self.other)
        cli.run("sign", self.pinned).ok()
        self.carrier = f"imagepipe-{self.meant.digest.removeprefix('sha256:')[:32]}"

    def at(self, image: HandMade) -> str:
        return f"{self.box.registry.host}/{self.repository}@{image.digest}"

    def moves(self, *, after_reads: int) -> dict[str, object]:
        """Returns the fault by which the tag points at B once it has been read so often."""
        return {f"{self.repository}:{self.carrier}": {"to": self.other.digest, "after_reads": after_reads}}


def test_a_tag_that_moves_between_plan_and_pull_brings_nothing_onto_the_vch_unseen(box: Box, cli: Cli) -> None:
    swap = Swap(box, cli, "moves-before")
    with box.registry_faults(tag_moves=swap.moves(after_reads=1)):
        run = cli.run("promote", swap.pinned, "--to", "vch-a", "--yes", "--json")
    document = run.fails(6, swap.meant.digest, hint="tag was moved", kind="digest_mismatch", schema=PROMOTE)
    assert [one["outcome"] for one in document["targets"]] == ["failed"]
    assert not box.host("vch-a").holds(swap.at(swap.meant))
    (record,) = box.registry.records(swap.repository, swap.meant.digest)
    assert [one["outcome"] for one in record["targets"]] == ["failed"]


def test_a_tag_that_moves_just_before_the_pull_is_seen_in_what_was_pulled(box: Box, cli: Cli) -> None:
    swap = Swap(box, cli, "moves-during")
    with box.registry_faults(tag_moves=swap.moves(after_reads=2)):
        run = cli.run("promote", swap.pinned, "--to", "vch-a", "--yes", "--json")
    run.fails(6, swap.meant.digest, hint="tag was moved", kind="digest_mismatch", schema=PROMOTE)
    assert not box.host("vch-a").holds(swap.at(swap.meant))


def test_layers_of_another_image_under_the_right_digest_are_refused_now_and_later(box: Box, cli: Cli) -> None:
    """A VCH takes layers from one read of the tag and the digest from another, and compares nothing."""
    swap = Swap(box, cli, "moves-between")
    with (
        box.registry_faults(tag_moves=swap.moves(after_reads=2)),
        box.vch_faults("vch-a", second_read=swap.meant.digest),
    ):
        run = cli.run("promote", swap.pinned, "--to", "vch-a", "--yes", "--json")
    run.fails(6, "layers of another image", hint="tag", kind="digest_mismatch", schema=PROMOTE)
    box.registry.put_manifest(swap.repository, swap.carrier, swap.meant.manifest, swap.meant.media_type)
    # The VCH now calls the wrong layers by the right digest: that must not pass for arrived, however often it is asked.
    again = cli.run("promote", swap.pinned, "--to", "vch-a", "--yes", "--json")
    assert again.code == 6, again.said
    assert [one["outcome"] for one in again.json()["targets"]] == ["failed"]


def test_bytes_that_are_not_what_their_digest_says_are_not_promoted(box: Box, cli: Cli, signed: str) -> None:
    repository, _, digest = signed.partition("/")[2].partition("@")
    with box.registry_faults(corrupt_manifests=[f"{repository}@{digest}"]):
        run = cli.run("promote", signed, "--to", "vch-a", "--yes", "--json", config=box.everybody_away())
    run.fails(6, digest, hint="broken or tampered with", kind="digest_mismatch")


def test_bytes_that_are_not_what_their_digest_says_are_not_believed_on_an_engine(box: Box, cli: Cli) -> None:
    image = hand_made("late-lie")
    pinned = box.registry.push("es-sandbox/late-lie", "1", image)
    cli.run("sign", pinned).ok()
    with box.registry_faults(corrupt_manifests=["*"]):
        run = cli.run("promote", pinned, "--to", "engine-a", "--yes", "--json")
    run.fails(6, image.digest, hint="broken or tampered with", kind="digest_mismatch")
    assert not box.host("engine-a").holds(pinned)


def test_a_pushed_image_that_reads_back_as_other_bytes_is_not_signed(
    box: Box, cli: Cli, workspace: Callable[..., Workspace]
) -> None:
    made = workspace("garbled")
    cli.run("run", "garbled", "--no-push", cwd=made.folder).ok()  # the base is on the build host from here on
    with box.registry_faults(corrupt_manifests=["*"]):
        run = cli.run("run", "garbled", "--json", cwd=made.folder)
    run.fails(6, "es-sandbox/garbled", hint="broken or tampered with", kind="digest_mismatch")
    assert box.registry.attached(made.repository, box.registry.digest(made.repository, "1.0")) == []
    # Once the registry is well, the same command heals it.
    healed = cli.run("run", "garbled", cwd=made.folder).ok().out.strip()
    cli.run("verify", healed).ok()


def test_somebody_elses_push_to_the_same_tag_is_seen_and_not_signed(
    box: Box, cli: Cli, workspace: Callable[..., Workspace]
) -> None:
    made, other = workspace("raced"), hand_made("raced by another")
    box.registry.push(made.repository, "theirs", other)
    move = {f"{made.repository}:1.0": {"to": other.digest, "after_reads": 0}}
    with box.registry_faults(tag_moves=move, rules=[]):
        run = cli.run("run", "raced", "--json", cwd=made.folder)
    run.fails(6, other.digest, hint="unique", kind="digest_mismatch")
    assert box.registry.attached(made.repository, other.digest) == []


def test_a_registry_that_is_away_is_exit_8_after_some_tries(
    box: Box, cli: Cli, workspace: Callable[..., Workspace]
) -> None:
    away = box.registry.host.replace(":8443", ":1")
    run = cli.run("run", "nowhere", "--json", cwd=workspace("nowhere").folder, config=box.config({"registry": away}))
    run.fails(8, away, kind="unavailable")
    assert "trying again" in run.err


def test_a_registry_in_trouble_is_exit_8_in_its_own_words(box: Box, cli: Cli, signed: str) -> None:
    with box.registry_faults(rules=[{"path": "/v2/es-sandbox/signed/manifests/", "status": 502}]):
        run = cli.run("digest", signed, "--json")
    run.fails(8, "502", kind="unavailable")


def test_a_hiccup_of_the_registry_is_outlasted(box: Box, cli: Cli, signed: str) -> None:
    with box.registry_faults(rules=[{"path": "/v2/es-sandbox/signed/manifests/", "status": 502, "times": 2}]):
        run = cli.run("digest", signed).ok()
    assert "trying again" in run.err


def test_a_registry_that_only_reads_is_told_as_such(box: Box, cli: Cli) -> None:
    pinned = box.registry.push("es-sandbox/frozen", "1", hand_made("frozen"))
    with box.registry_faults(read_only=True):
        cli.run("sign", pinned, "--json").fails(6, "read.?only", hint="Repository Read Only", kind="refused")


def test_an_image_that_is_away_from_a_broken_registry_is_not_called_unsigned(box: Box, cli: Cli, signed: str) -> None:
    with box.registry_faults(rules=[{"path": "/referrers/", "status": 503}]):
        run = cli.run("promote", signed, "--to", "vch-a", "--yes", "--json", config=box.everybody_away())
    run.fails(8, "list what is attached", "503|500", kind="unavailable")
