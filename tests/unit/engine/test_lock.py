"""What hosts say when they cannot keep a lock, and when it is not they who say it."""

import json

import pytest

from imagepipe.engine.client import Endpoint
from imagepipe.engine.lock import EngineLock
from imagepipe.errors import DeadlineError, ImagepipeError, UnavailableError, UnsupportedError
from imagepipe.model.host import TargetKind
from imagepipe.model.lock import Holder
from tests.unit.engine.servers import answer, host

OURS = Holder("n1", "dana@ops-1, process 7", "m/f", "2026-01-02T03:04:05+00:00")
THEIRS = Holder("n2", "ci@runner, process 1", "o/f", "2026-01-02T03:00:00+00:00")
VERSION = answer(json.dumps({"Version": "1.5.8", "ApiVersion": "1.25"}).encode())


def volume(holder: Holder | None) -> bytes:
    return answer(json.dumps({"Name": "imagepipe-lock", "Labels": holder.labels() if holder else None}).encode())


def says(text: str, status: str = "500 Internal Server Error") -> bytes:
    return answer(json.dumps({"message": text}).encode(), status)


EXISTS = says("A volume named imagepipe-lock already exists. Choose a different volume name.")
GONE = says("No such volume: imagepipe-lock", "404 Not Found")


def lock(address: str) -> EngineLock:
    return EngineLock(Endpoint(address, read_timeout_s=0.5), TargetKind.VCH)


def test_a_vch_that_refuses_a_second_volume_is_asked_whose_the_first_is() -> None:
    with host(VERSION, EXISTS, volume(THEIRS)) as vch:
        assert lock(vch.address).take(OURS) == THEIRS


def test_a_lock_that_went_while_we_asked_is_nobodys() -> None:
    with host(VERSION, EXISTS, GONE) as vch:
        assert lock(vch.address).take(OURS) is None


def test_a_volume_without_our_labels_is_held_by_somebody_unknown() -> None:
    with host(VERSION, volume(None), volume(None)) as engine:
        found = lock(engine.address).take(OURS)
    assert found == Holder("", "somebody who does not say so", "", "")
    assert str(found) == "somebody who does not say so"


def test_an_engine_that_was_started_again_tells_the_labels_of_an_older_volume_when_it_is_inspected() -> None:
    with host(VERSION, volume(None), volume(THEIRS)) as engine:
        assert lock(engine.address).take(OURS) == THEIRS
    with host(VERSION, volume(None), GONE) as engine:
        assert lock(engine.address).take(OURS) is None, "it was let go meanwhile"


@pytest.mark.parametrize(
    ("text", "status"),
    [
        ("No volume store named (default) exists", "500 Internal Server Error"),
        ("Failed to add disk 'scsi0:0'.", "500 Internal Server Error"),
        ("authorization denied by plugin opa", "403 Forbidden"),
        ('create imagepipe-lock: invalid option: "Capacity"', "400 Bad Request"),
        ("no space left on device", "500 Internal Server Error"),
    ],
)
def test_a_host_that_answers_but_makes_no_volume_keeps_no_lock(text: str, status: str) -> None:
    with host(VERSION, says(text, status)) as vch, pytest.raises(UnsupportedError) as refused:
        lock(vch.address).take(OURS)
    assert refused.value.message == f"it keeps no volumes for us: {text}"


def test_a_host_that_is_silent_is_not_one_that_keeps_no_lock() -> None:
    with host(VERSION, None) as vch, pytest.raises(DeadlineError, match="lock it: tcp://"):
        lock(vch.address).take(OURS)


def test_a_host_that_is_away_is_told_as_such() -> None:
    with host(VERSION) as vch:
        address = vch.address
    with pytest.raises(UnavailableError, match="lock it: tcp://"):
        lock(address).take(OURS)
    with pytest.raises(UnavailableError, match="look at its lock: tcp://"):
        lock(address).holder()
    with pytest.raises(UnavailableError, match="look at its lock"):
        lock(address).release(OURS.nonce)


def test_a_lock_of_ours_is_removed_and_it_is_told_when_it_cannot_be() -> None:
    with host(VERSION, volume(OURS), GONE) as vch:
        assert lock(vch.address).release(OURS.nonce) is None
        assert [head.split()[0] for head in vch.requests] == ["GET", "GET", "DELETE"]
    with host(VERSION, volume(OURS), says("volume in use", "409 Conflict")) as vch, pytest.raises(ImagepipeError) as no:
        lock(vch.address).release(OURS.nonce)
    assert no.value.message == "release its lock: volume in use"
