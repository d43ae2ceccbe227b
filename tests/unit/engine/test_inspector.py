"""What a doctor is told by a host."""

import json
import ssl
from datetime import UTC, datetime
from pathlib import Path

import pytest

from imagepipe.engine.client import Endpoint
from imagepipe.engine.inspector import EngineInspector
from imagepipe.errors import SettingsError, UnavailableError
from imagepipe.wiring import SystemClock
from tests.contract.vch_world import Authority
from tests.unit.engine.servers import answer, host

VERSION = answer(b'{"Version":"1.5.8","ApiVersion":"1.25"}')
NETWORKS = answer(b'[{"Name":"public"},{"Name":"bridge"}]')


def info(**changes: object) -> bytes:
    whole = {"ID": "vSphere Integrated Containers", "Name": "a", "SystemTime": "2026-01-02T03:04:05.123456789Z"}
    return answer(json.dumps({**whole, **changes}).encode())


@pytest.mark.parametrize(
    ("status", "limit", "used"),
    [
        ([[" VCH storage limit", "100GiB"], [" VCH storage usage", "1.953GiB"]], 100 * 1024**3, 2097017782),
        ([[" VCH storage usage", "0B"]], None, 0),
        ([[" VCH storage usage", "a lot"]], None, None),
        (None, None, None),
    ],
)
def test_a_vch_tells_its_limit_and_what_is_used(status: object, limit: int | None, used: int | None) -> None:
    with host(VERSION, info(SystemStatus=status), NETWORKS) as there:
        facts = EngineInspector(Endpoint(there.address), None, SystemClock()).facts()
    assert (facts.storage_limit_bytes, facts.storage_used_bytes) == (limit, used)
    assert facts.networks == ("bridge", "public")
    assert facts.system_time == datetime(2026, 1, 2, 3, 4, 5, 123456, tzinfo=UTC)


@pytest.mark.parametrize(
    ("text", "hour"), [("2026-01-02T03:04:05", 3), ("2026-01-02T05:04:05+02:00", 3), ("now", None)]
)
def test_a_clock_is_read_with_and_without_a_time_zone(text: str, hour: int | None) -> None:
    with host(VERSION, info(SystemTime=text), NETWORKS) as there:
        told = EngineInspector(Endpoint(there.address), None, SystemClock()).facts().system_time
    assert (told.astimezone(UTC).hour if told else None) == hour


def test_without_certificates_there_is_no_tls_to_look_at() -> None:
    inspector = EngineInspector(Endpoint("tcp://127.0.0.1:1"), None, SystemClock())
    assert (inspector.tls(), inspector.own_certificate()) == (None, None)
    with pytest.raises(UnavailableError, match="look at tcp://"):
        inspector.facts()


def test_the_hosts_certificate_and_our_own_are_read(tmp_path: Path) -> None:
    authority = Authority("ours")
    authority.issue("vch-a", "127.0.0.1", *(tmp_path / f"{part}.pem" for part in ("cert", "key", "ca")))
    with (tmp_path / "cert.pem").open("ab") as chain:
        chain.write((tmp_path / "ca.pem").read_bytes())
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(tmp_path / "cert.pem", tmp_path / "key.pem")
    with host(VERSION, tls=context) as there:
        inspector = EngineInspector(Endpoint(there.address, cert_path=str(tmp_path)), str(tmp_path), SystemClock())
        look, own = inspector.tls(), inspector.own_certificate()
    assert look is not None
    assert look.certificate is not None
    assert own == look.certificate
    assert (own.subject, own.issuer) == ("vch-a", "ours")


def test_a_folder_that_is_not_whole_is_told(tmp_path: Path) -> None:
    inspector = EngineInspector(Endpoint("tcp://127.0.0.1:1"), str(tmp_path), SystemClock())
    with pytest.raises(SettingsError, match=r"ca\.pem"):
        inspector.tls()
