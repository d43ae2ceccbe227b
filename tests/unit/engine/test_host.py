"""What a host is, by its own words."""

import json

import pytest

from imagepipe.engine.client import Endpoint
from imagepipe.engine.host import EngineHost, describe
from imagepipe.engine.inventory import EngineInventory
from imagepipe.errors import RefusedError, UnavailableError
from imagepipe.model.digest import Digest
from imagepipe.model.host import Container, HostInfo, Inventory, TargetKind
from imagepipe.model.reference import Pinned
from tests.unit.engine.servers import answer, host

VERSION = {"Version": "1.5.8", "ApiVersion": "1.25"}
STATUS = [
    ["VolumeStores", "default"],
    ["vSphere Integrated Containers v1.5.8-21217-e5d5b4b Backend Engine", "RUNNING"],
    [" VCH CPU limit", "8164 MHz"],
    [" VMware Product", "VMware vCenter Server"],
    [" Registry Whitelist Mode", "enabled"],
    [" Whitelisted Registries", "vic.example, 10.0.0.0/8,*.other.example"],
]
INFO = {"ID": "vSphere Integrated Containers", "Name": "prod-a", "SystemStatus": STATUS}
IMAGE = Pinned.parse(f"vic.example/es/hello@{Digest.of(b'm')}")


def test_a_vch_is_known_by_its_id_and_its_status_is_read() -> None:
    assert describe(INFO, VERSION) == HostInfo(
        kind=TargetKind.VCH,
        name="prod-a",
        version="1.5.8",
        api_version="1.25",
        ready=True,
        whitelist=("vic.example", "10.0.0.0/8", "*.other.example"),
        host_id="prod-a",
    )


def test_a_vch_is_known_by_its_driver_too() -> None:
    info = {"ID": "x", "Driver": "vSphere Integrated Containers v1.5.8 Backend Engine", "SystemStatus": STATUS}

    assert describe(info, VERSION).kind is TargetKind.VCH


@pytest.mark.parametrize(
    "mode", [[" Registry Whitelist Mode", "disabled.  All registry access allowed."], [" VMware OS", "linux-x64"]]
)
def test_without_whitelist_mode_any_registry_goes(mode: list[str]) -> None:
    assert describe({**INFO, "SystemStatus": [*STATUS[:2], mode]}, VERSION).whitelist is None


def test_a_vch_whose_engine_is_stopped_or_says_nothing_is_not_ready() -> None:
    stopped = [["vSphere Integrated Containers v1.5.8 Backend Engine", "STOPPED"]]

    assert not describe({**INFO, "SystemStatus": stopped}, VERSION).ready
    assert not describe({**INFO, "SystemStatus": None}, VERSION).ready


def test_anything_else_is_an_engine() -> None:
    found = describe({"ID": "AB:CD", "Driver": "overlay2", "Name": "vm"}, {"Version": "20.10.24", "ApiVersion": "1.41"})

    assert (found.kind, found.ready, found.whitelist) == (TargetKind.DOCKER, True, None)


def test_an_image_that_is_known_under_another_name_only_is_not_held() -> None:
    other = f'{{"RepoDigests":["other.example/es/hello@{IMAGE.digest}","<none>@<none>"]}}'.encode()
    with host(answer(b'{"ApiVersion":"1.41"}'), answer(other)) as there:
        assert not EngineHost(Endpoint(there.address)).holds(IMAGE)


def test_an_image_with_null_digests_holds_nothing() -> None:
    with host(answer(b'{"ApiVersion":"1.41"}'), answer(b'[{"Id":"x","RepoDigests":null}]')) as there:
        assert EngineHost(Endpoint(there.address)).held(IMAGE.repository) == ()


def test_a_probe_that_fails_or_breaks_off_still_removes_its_container() -> None:
    refusal = answer(b'{"message":"No volume store named (default) exists"}', "500 Internal Server Error")
    for reply, error in ((refusal, RefusedError), (b"", UnavailableError)):
        answers = (answer(b'{"ApiVersion":"1.25"}'), reply, answer(b"", "204 No Content"))
        with host(*answers) as there, pytest.raises(error):
            EngineHost(Endpoint(there.address)).probe(IMAGE)

        create, delete = (request.split()[:2] for request in there.requests[1:3])
        name = create[1].partition("name=")[2]
        assert name.startswith("imagepipe-probe-")
        assert delete[0] == "DELETE"
        assert f"/containers/{name}?" in delete[1]


def test_a_container_that_cannot_be_removed_is_told_by_name() -> None:
    broken = answer(b'{"message":"disk on fire"}', "500 Internal Server Error")
    answers = (answer(b'{"ApiVersion":"1.41"}'), answer(b'{"Id":"x"}', "201 Created"), broken)
    with host(*answers) as there, pytest.raises(UnavailableError) as caught:
        EngineHost(Endpoint(there.address)).probe(IMAGE)

    assert "docker rm -f -v imagepipe-probe-" in str(caught.value.hint)


def test_a_container_that_went_while_it_was_asked_for_is_left_out_and_so_is_a_probe_of_ours() -> None:
    listed = (
        b'[{"Id":"a","Names":["/gone"],"Image":"x"},{"Id":"b","Names":["/p"],"Labels":{"dev.imagepipe.probe":"x"}}]'
    )
    gone = answer(b'{"message":"No such container: a"}', "404 Not Found")
    with host(answer(b'{"ApiVersion":"1.25"}'), answer(b"[]"), answer(listed), gone) as there:
        assert EngineInventory(Endpoint(there.address)).inventory() == Inventory(())


def test_an_image_without_digests_is_known_by_the_digest_that_its_container_was_made_from() -> None:
    images = b'[{"Id":"sha256:aa","RepoDigests":null}]'
    listed = [{"Id": "a", "Names": ["/c"], "State": "running", "Image": str(IMAGE), "ImageID": "sha256:aa"}]
    with host(answer(b'{"ApiVersion":"1.41"}'), answer(images), answer(json.dumps(listed).encode())) as there:
        (container,) = EngineInventory(Endpoint(there.address)).inventory().containers
    assert container == Container("c", "running", str(IMAGE), (IMAGE,))


def test_a_container_that_others_link_to_is_known_by_its_own_name() -> None:
    listed = [{"Names": ["/app/db", "/zdb", "/app/x"], "State": "running", "Image": str(IMAGE), "ImageID": "sha256:aa"}]
    with host(answer(b'{"ApiVersion":"1.41"}'), answer(b"[]"), answer(json.dumps(listed).encode())) as there:
        (container,) = EngineInventory(Endpoint(there.address)).inventory().containers
    assert (container.name, container.linked_by) == ("zdb", ("app",))


def test_a_host_that_lists_nothing_is_told_with_what_we_wanted() -> None:
    broken = answer(b'{"message":"disk on fire"}', "500 Internal Server Error")
    with (
        host(answer(b'{"ApiVersion":"1.41"}'), broken) as there,
        pytest.raises(UnavailableError, match="holds and runs"),
    ):
        EngineInventory(Endpoint(there.address)).inventory()


def test_a_host_that_lists_no_containers_after_a_probe_has_the_image_all_the_same() -> None:
    made, gone = answer(b'{"Id":"x"}', "201 Created"), answer(b"", "204 No Content")
    broken = answer(b'{"message":"busy"}', "500 Internal Server Error")
    with host(answer(b'{"ApiVersion":"1.41"}'), made, gone, broken) as there:
        EngineHost(Endpoint(there.address)).probe(IMAGE)
    assert "/containers/json?all=1" in there.requests[3]
