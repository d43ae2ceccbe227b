"""What a VCH alone does to us, said by the VIC facade over mutual TLS: policy, certificates, faults of its store."""

import shutil
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from imagepipe.engine.builder import EngineBuilder
from imagepipe.engine.client import Endpoint
from imagepipe.engine.host import EngineHost
from imagepipe.errors import (
    CredentialsError,
    NotFoundError,
    RefusedError,
    StorageFullError,
    UnavailableError,
    UnsupportedError,
)
from imagepipe.events import silent
from imagepipe.model.host import TargetKind
from imagepipe.model.reference import Reference
from imagepipe.model.result import BuildRequest
from tests.contract.engine_worlds import Nobody, RealWorld, started_world
from tests.contract.vch_images import OCI, build, busybox_layer, push
from tests.contract.vch_world import World

pytestmark = pytest.mark.sandbox


@pytest.fixture(scope="module")
def running() -> Iterator[World]:
    with started_world() as world:
        yield world


@pytest.fixture
def vch(running: World) -> Iterator[RealWorld]:
    yield RealWorld(running, TargetKind.VCH)
    running.fault()


def test_it_tells_its_version_and_whom_it_lets_images_come_from(vch: RealWorld) -> None:
    info = vch.host.info()

    assert (info.name, info.version, info.api_version) == ("vch-test", "1.5.8", "1.25")
    assert info.whitelist == (vch.world.registry,)


def test_a_vch_whose_back_end_has_stopped_is_not_ready(vch: RealWorld) -> None:
    vch.world.fault(portlayer_stopped=True)

    assert not vch.host.info().ready


def test_a_registry_off_the_whitelist_is_refused_with_the_way_out(vch: RealWorld) -> None:
    with pytest.raises(RefusedError, match="Access denied to unauthorized registry") as caught:
        vch.puller.pull(Reference.parse("other.example/es/hello:1.0"), silent)

    assert caught.value.hint is not None
    assert "vic-machine configure --whitelist-registry" in caught.value.hint


def test_an_oci_image_is_not_to_be_had(vch: RealWorld) -> None:
    with vch.world.registry_client() as client:
        push(client, "es/oci", "1.0", build([busybox_layer()], media_type=OCI))

    with pytest.raises((UnsupportedError, NotFoundError)):
        vch.puller.pull(Reference.parse(f"{vch.world.registry}/es/oci:1.0"), silent)


def test_too_many_history_entries_are_refused_with_the_limit(vch: RealWorld) -> None:
    with vch.world.registry_client() as client:
        push(client, "es/long", "1.0", build([busybox_layer()], empty_entries=95))

    with pytest.raises(RefusedError, match="Failed to write to image store") as caught:
        vch.puller.pull(Reference.parse(f"{vch.world.registry}/es/long:1.0"), silent)

    assert "90 history entries" in str(caught.value.hint)


def test_a_full_endpoint_vm_is_told_as_a_full_disk(vch: RealWorld) -> None:
    shelved = vch.shelve("es/full", "1.0")
    vch.world.fault(no_space_left=True)

    with pytest.raises(StorageFullError, match="no space left on device"):
        vch.puller.pull(shelved.tag, silent)


def test_an_image_that_is_listed_though_its_last_layer_was_never_written_is_still_a_failed_pull(vch: RealWorld) -> None:
    shelved = vch.shelve("es/leaf", "1.0")
    vch.world.fault(leaf_write_fails=True)

    with pytest.raises((RefusedError, UnavailableError)):
        vch.puller.pull(shelved.tag, silent)

    assert vch.host.holds(shelved.pinned)


def test_a_probe_finds_out_that_layers_are_missing(vch: RealWorld) -> None:
    shelved = vch.shelve("es/hollow", "1.0")
    vch.puller.pull(shelved.tag, silent)
    vch.world.fault(no_such_image=True)

    with pytest.raises(RefusedError, match="No such image"):
        vch.host.probe(shelved.pinned)


def test_an_image_without_a_command_can_be_probed(vch: RealWorld) -> None:
    built = build([busybox_layer()], Cmd=None)
    with vch.world.registry_client() as client:
        push(client, "es/nocmd", "1.0", built)
    name = Reference.parse(f"{vch.world.registry}/es/nocmd:1.0")
    digest = vch.puller.pull(name, silent).digest
    assert digest is not None

    vch.host.probe(name.repository.pin(digest))

    assert not [one for one in vch.containers() if one.startswith("imagepipe-probe")]


def test_a_vch_is_never_a_build_host(vch: RealWorld, tmp_path: Path) -> None:
    (tmp_path / "Dockerfile").write_text("FROM scratch\n")
    name = Reference.parse("vic.example/es/hello:1")

    with pytest.raises(UnsupportedError, match="Virtual Container Host") as caught:
        EngineBuilder(vch.endpoint, Nobody()).build(
            BuildRequest("hello", tmp_path, "Dockerfile", name, "linux/amd64"), silent
        )

    assert "build.host" in str(caught.value.hint)


def test_a_certificate_of_another_authority_is_told_as_such(vch: RealWorld, tmp_path: Path) -> None:
    for name in ("cert.pem", "key.pem"):
        shutil.copy(vch.world.stranger_certs / name, tmp_path / name)
    shutil.copy(vch.world.client_certs / "ca.pem", tmp_path / "ca.pem")

    with pytest.raises(CredentialsError, match="refuses our client certificate"):
        EngineHost(Endpoint(vch.endpoint.host, cert_path=str(tmp_path))).info()


def test_a_vch_whose_certificate_our_authority_did_not_sign_is_not_talked_to(vch: RealWorld) -> None:
    stranger = Endpoint(vch.endpoint.host, cert_path=str(vch.world.stranger_certs))

    with pytest.raises(CredentialsError, match="its certificate is not accepted"):
        EngineHost(stranger).info()


def test_an_expired_client_certificate_is_told_before_anything_connects(vch: RealWorld) -> None:
    in_a_year = datetime.now(UTC) + timedelta(days=366)
    late = Endpoint("tcp://192.0.2.1:2376", cert_path=str(vch.world.client_certs), now=lambda: in_a_year)

    with pytest.raises(CredentialsError, match=r"client certificate .*cert\.pem expired on"):
        EngineHost(late).info()


def test_tls_is_named_when_it_is_missing(vch: RealWorld) -> None:
    with pytest.raises((CredentialsError, UnavailableError)):
        EngineHost(Endpoint(vch.endpoint.host)).info()
