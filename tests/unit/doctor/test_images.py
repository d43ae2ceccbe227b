from dataclasses import replace

import pytest

from imagepipe.doctor.finding import Finding, Level
from imagepipe.doctor.images import examine_image
from imagepipe.doctor.targets import Examined
from imagepipe.errors import UnavailableError
from imagepipe.model import media
from imagepipe.model.host import HostFacts, HostInfo, TargetKind
from imagepipe.model.manifest import Descriptor, Manifest, Platform
from imagepipe.model.reference import Pinned, Reference
from tests.contract.registry_memory import MemoryRegistry
from tests.unit.doctor.clinic import VCH, Clinic, Inspected, Old

NAME = "vic.example/es/app:1"
SHORT = "es/app:1"
DOCKER = replace(VCH, name="engine-a", kind=TargetKind.DOCKER)


def clinic(
    *,
    kind: TargetKind = TargetKind.VCH,
    media_type: str = media.DOCKER_MANIFEST,
    history: int = 3,
    facts: HostFacts | None = None,
    old: str | UnavailableError = media.DOCKER_SCHEMA_1,
) -> Clinic:
    """Returns a world that holds one image."""
    made = Clinic(kind, old=Old(old))
    if facts is not None:
        made.inspected = Inspected(facts)
    made.registry.add_image(
        "vic.example/es/app", "1", history=history, empty_history=history - 1, media_type=media_type
    )
    return made


def test_a_good_image_has_nothing_against_it_on_either_kind() -> None:
    found = clinic().examine(VCH, images=[NAME])
    assert {one.level for key, one in found.items() if SHORT in (key[0], key[1].removeprefix("image "))} == {Level.OK}
    assert found["vch-a", f"image {SHORT}"].detail.startswith("nothing is known against it (sha256:")
    assert clinic(kind=TargetKind.DOCKER).examine(DOCKER, images=[NAME])["engine-a", f"image {SHORT}"].level is Level.OK


def test_an_engine_is_not_held_to_what_a_vch_wants() -> None:
    made = clinic(kind=TargetKind.DOCKER, media_type=media.OCI_MANIFEST, history=91, old="")
    found = made.examine(DOCKER, images=[NAME])
    assert found["engine-a", f"image {SHORT}"].level is Level.OK
    assert [key for key in found if key[0] == SHORT] == [(SHORT, "image")]
    assert made.old.asked == []


def test_an_oci_image_is_refused_for_a_vch_and_schema_1_is_not_asked_for() -> None:
    made = clinic(media_type=media.OCI_MANIFEST)
    found = made.examine(VCH, images=[NAME])
    assert found[SHORT, "vch: media type"].level is Level.FAIL
    assert "cannot take it: media type" in found["vch-a", f"image {SHORT}"].detail
    assert made.old.asked == []


def test_a_history_of_91_entries_is_found() -> None:
    found = clinic(history=91).examine(VCH, images=[NAME])
    assert "91 of at most 90" in found[SHORT, "vch: history"].detail
    assert found["vch-a", f"image {SHORT}"].level is Level.FAIL


def test_an_index_without_the_platform_and_a_missing_image_end_there() -> None:
    made = clinic()
    arm = made.registry.add_image("vic.example/es/arm", platform=Platform("linux", "arm64"))
    made.registry.add_index("vic.example/es/arm", "1", [(Platform("linux", "arm64"), arm)])
    found = made.examine(VCH, images=["vic.example/es/arm:1", "vic.example/es/gone:1"])
    assert "without an image for linux/amd64" in found["es/arm:1", "image"].detail
    assert found["es/gone:1", "image"].level is Level.FAIL
    assert ("vch-a", "image es/arm:1") not in found


@pytest.mark.parametrize("served", [media.DOCKER_MANIFEST, ""])
def test_a_registry_that_serves_no_schema_1_is_found_by_asking_as_a_vch_asks(served: str) -> None:
    made = clinic(old=served)
    found = made.examine(VCH, images=[NAME])
    assert made.old.asked == [Reference.parse(NAME)]
    assert found[SHORT, "vch: schema 1"].level is Level.FAIL
    assert (served or "nothing") in found[SHORT, "vch: schema 1"].detail
    assert "missing signature key" in found[SHORT, "vch: schema 1"].detail
    assert found["vch-a", f"image {SHORT}"].detail == "cannot take it: schema 1"


def test_a_registry_that_does_not_answer_the_question_fails_it() -> None:
    found = clinic(old=UnavailableError("away")).examine(VCH, images=[NAME])
    assert found[SHORT, "vch: schema 1"].detail == "away"


def test_by_digest_schema_1_is_not_tried_because_a_vch_would_not_either() -> None:
    made = clinic()
    digest = made.registry.resolve(Reference.parse(NAME)).digest
    found = made.examine(VCH, images=[f"vic.example/es/app@{digest}"])
    assert found[f"es/app@{digest}", "vch: schema 1"].level is Level.NOTE
    assert made.old.asked == []


def test_a_limit_that_the_image_does_not_fit_in_is_found() -> None:
    facts = HostFacts((), ("default",), storage_limit_bytes=100, storage_used_bytes=95)
    assert "left of its limit" in clinic(facts=facts).examine(VCH, images=[NAME])["vch-a", f"image {SHORT}"].detail


def test_a_registry_that_the_images_vch_does_not_allow_is_found() -> None:
    made = clinic()
    made.patient.whitelist = ("other.example",)
    assert "vic.example is not on its whitelist" in made.examine(VCH, images=[NAME])["vch-a", f"image {SHORT}"].detail


@pytest.mark.parametrize(("machine", "level"), [("aarch64", Level.FAIL), ("x86_64", Level.OK), ("riscv64", Level.OK)])
def test_an_engine_of_another_architecture_is_found(machine: str, level: Level) -> None:
    made = clinic(kind=TargetKind.DOCKER, facts=HostFacts((), architecture=machine))
    found = made.examine(DOCKER, images=[NAME])["engine-a", f"image {SHORT}"]
    assert found.level is level
    assert level is Level.OK or "aarch64" in found.detail


class Large(MemoryRegistry):
    """A registry whose images say that their layers are large."""

    def manifest(self, image: Pinned) -> Manifest:
        found = super().manifest(image)
        assert isinstance(found, Manifest)
        layers = tuple(Descriptor(one.media_type, one.digest, 400 * 1024**2) for one in found.layers)
        return replace(found, layers=layers)


@pytest.mark.parametrize(("layers", "level"), [(3, Level.WARN), (2, None)])
def test_layers_that_may_not_fit_into_a_vchs_memory_are_warned_of(layers: int, level: Level | None) -> None:
    registry = Large()
    registry.add_image("vic.example/es/app", "1", history=layers, empty_history=0, media_type=media.DOCKER_MANIFEST)
    one = Examined(VCH, HostInfo(TargetKind.VCH, "a", "1.5.8", "1.25", ready=True), HostFacts(()))
    found: dict[str, Finding] = {
        each.check: each for each in examine_image(Reference.parse(NAME), [one], registry, Old())
    }
    assert (found["vch: layer sizes"].level if "vch: layer sizes" in found else None) is level
    assert found[f"image {SHORT}"].level is Level.OK
