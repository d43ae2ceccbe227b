"""Hosts that are not the one that was pinned: refused before they hear anything."""

import ssl
from pathlib import Path

import pytest

from imagepipe.engine.client import Endpoint
from imagepipe.engine.host import EngineHost
from imagepipe.engine.identity import Pin, host_id
from imagepipe.errors import CredentialsError, HostChangedError
from imagepipe.model.certificate import fingerprint
from imagepipe.model.host import Target, TargetKind
from tests.contract.vch_world import Authority
from tests.unit.engine.servers import answer, host

VERSION = answer(b'{"Version":"20.10.24","ApiVersion":"1.41"}')
INFO = answer(b'{"ID":"AB:CD","Name":"build-1","Driver":"overlay2"}')
VCH = answer(b'{"ID":"vSphere Integrated Containers","Name":"prod-a"}')
OTHER = "sha256:" + "0" * 64


@pytest.fixture(scope="module")
def certs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("certs")
    Authority("ours").issue("vch", "127.0.0.1", *(folder / f"{part}.pem" for part in ("cert", "key", "ca")))
    return folder


@pytest.fixture
def tls(certs: Path) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certs / "cert.pem", certs / "key.pem")
    return context


@pytest.fixture
def shown(certs: Path) -> str:
    """The fingerprint of the certificate that the host shows."""
    return fingerprint(ssl.PEM_cert_to_DER_cert((certs / "cert.pem").read_text()))


def test_the_pinned_certificate_passes(certs: Path, tls: ssl.SSLContext, shown: str) -> None:
    with host(VERSION, INFO, tls=tls) as there:
        endpoint = Endpoint(there.address, cert_path=str(certs), pin=Pin("a", shown, "AB:CD"))
        assert EngineHost(endpoint).info().host_id == "AB:CD"


def test_another_certificate_is_refused_before_a_byte_of_a_request_is_sent(
    certs: Path, tls: ssl.SSLContext, shown: str
) -> None:
    with host(VERSION, tls=tls) as there:
        endpoint = Endpoint(there.address, cert_path=str(certs), pin=Pin("prod-a", OTHER))
        with pytest.raises(HostChangedError, match="nothing was sent") as caught:
            EngineHost(endpoint).info()
    assert there.requests == []
    assert shown in caught.value.message
    assert OTHER in caught.value.message
    assert "imagepipe targets add prod-a --replace" in str(caught.value.hint)


def test_a_pin_does_not_replace_the_check_of_the_hosts_name(tls: ssl.SSLContext, certs: Path, shown: str) -> None:
    with host(VERSION, tls=tls) as there:
        elsewhere = there.address.replace("127.0.0.1", "localhost")
        with pytest.raises(CredentialsError, match="not accepted"):
            EngineHost(Endpoint(elsewhere, cert_path=str(certs), pin=Pin("a", shown))).info()
    assert there.requests == []


def test_a_pin_does_not_replace_the_authority(tls: ssl.SSLContext, certs: Path, shown: str, tmp_path: Path) -> None:
    Authority("theirs").issue("x", "127.0.0.1", *(tmp_path / f"{part}.pem" for part in ("cert", "key", "ca")))
    with host(VERSION, tls=tls) as there, pytest.raises(CredentialsError, match="not accepted"):
        EngineHost(Endpoint(there.address, cert_path=str(tmp_path), pin=Pin("a", shown))).info()


def test_another_id_is_refused_before_anything_else_is_asked() -> None:
    with host(VERSION, INFO) as there:
        endpoint = Endpoint(there.address, pin=Pin("build", host_id="EF:01"))
        for ask in (endpoint.info, lambda: endpoint.post("/images/create"), lambda: endpoint.get("/images/json")):
            with pytest.raises(HostChangedError, match=r"'AB:CD'.*'EF:01'"):
                ask()
    assert {line.split()[1] for line in there.requests} == {"/version", "/v1.41/info"}


def test_the_id_is_proven_once_and_with_no_question_of_its_own_where_info_is_asked_anyway() -> None:
    with host(VERSION, INFO, answer(b"[]")) as there:
        endpoint = Endpoint(there.address, pin=Pin("build", host_id="AB:CD"))
        endpoint.info()
        endpoint.get("/images/json")
        endpoint.get("/images/json")
    asked = [line.split()[1] for line in there.requests]
    assert asked == ["/version", "/v1.41/info", "/v1.41/images/json", "/v1.41/images/json"]


def test_a_vch_is_told_from_others_by_its_name_as_all_of_them_have_one_id() -> None:
    with host(VERSION, VCH) as there:
        assert EngineHost(Endpoint(there.address)).info().host_id == "prod-a"
    assert host_id({}) == ""


def test_what_a_target_pins_is_in_its_configuration() -> None:
    target = Target("a", TargetKind.VCH, "tcp://a:2376", "/certs", None, OTHER, "prod-a")
    assert Pin.of(target) == Pin("a", OTHER, "prod-a")
