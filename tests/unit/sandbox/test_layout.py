"""Names, addresses and paths follow from the directory alone."""

import ipaddress
from itertools import combinations
from pathlib import Path

import pytest

from imagepipe.errors import SettingsError
from imagepipe.sandbox.layout import ENGINES, Addresses, Layout, default_directory


def test_two_directories_give_two_worlds() -> None:
    assert Layout.at(Path("/tmp/a")).world_id != Layout.at(Path("/tmp/b")).world_id


def test_the_same_directory_gives_the_same_world_however_it_is_written() -> None:
    assert Layout.at(Path("/tmp/x/../a")).world_id == Layout.at(Path("/tmp/a")).world_id


def test_the_machines_link_fits_an_interface_name() -> None:
    assert len(Layout.at(Path("/tmp/a")).host_link) <= 15


def test_a_directory_too_long_for_unix_sockets_is_refused_before_anything_starts() -> None:
    with pytest.raises(SettingsError, match="too long for unix sockets"):
        Layout.at(Path("/tmp") / ("x" * 60))


def test_a_directory_is_measured_in_bytes_as_sockets_are() -> None:
    with pytest.raises(SettingsError, match="too long for unix sockets"):
        Layout.at(Path("/") / ("ü" * 50))


@pytest.mark.parametrize("name", ["a b", "a\tb", "a\nb", "a,b", "a%b"])
def test_a_directory_that_engines_do_not_take_is_refused_to_them(name: str) -> None:
    with pytest.raises(SettingsError, match="engines do not work below a path with"):
        Layout.at(Path("/tmp") / name).check_engines_take_it()


@pytest.mark.parametrize("name", ["plain", "ünï", "q'\"$x", "a#b?c", "co:lon", "ba\\ck&;("])
def test_any_other_directory_is_taken(name: str) -> None:
    Layout.at(Path("/tmp") / name).check_engines_take_it()


def test_the_longest_directory_that_is_accepted_leaves_room_for_the_longest_socket() -> None:
    layout = Layout.at(Path("/") / ("x" * 50))
    assert len(str(layout.engine("engine-a") / "exec" / "containerd" / "containerd.sock.ttrpc")) <= 107


def test_the_directory_follows_the_state_home_when_that_is_absolute() -> None:
    assert default_directory({"XDG_STATE_HOME": "/state"}) == Path("/state/imagepipe/sandbox")


@pytest.mark.parametrize("given", ["", "not/absolute"])
def test_the_directory_is_below_home_otherwise(given: str) -> None:
    assert default_directory({"XDG_STATE_HOME": given}) == Path.home() / ".local" / "state" / "imagepipe" / "sandbox"


def test_public_ranges_do_not_overlap_and_hold_no_machine() -> None:
    addresses = Addresses(7)
    ranges = [ipaddress.IPv4Network(text) for text in addresses.public_range.values()]
    assert not any(one.overlaps(other) for one, other in combinations(ranges, 2))
    machines = [ipaddress.IPv4Address(addresses.of(name)) for name in ("registry", *ENGINES)]
    assert not any(
        machine in network for machine in [*machines, ipaddress.IPv4Address(addresses.host)] for network in ranges
    )


@pytest.mark.parametrize("third", [-1, 256])
def test_an_octet_out_of_range_is_refused(third: int) -> None:
    with pytest.raises(SettingsError):
        Addresses(third)
