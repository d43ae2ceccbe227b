"""Streams as they come off the wire: cut anywhere, joined, broken, endless."""

import json
import tracemalloc
from collections.abc import Iterator
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from imagepipe.engine.puller import read_pull
from imagepipe.engine.pusher import read_push
from imagepipe.engine.stream import Relay, messages
from imagepipe.errors import NotFoundError, RefusedError, UnavailableError, UnsupportedError
from imagepipe.events import Event, Output, Progress, silent
from imagepipe.model.digest import Digest

D = Digest.of(b"manifest")
DOCKERD_PULL = (
    b'{"status":"Pulling from es/hello","id":"0123456789ab"}\r\n'
    b'{"status":"Pulling fs layer","progressDetail":{},"id":"aaaaaaaaaaaa"}\r\n'
    b'{"status":"Downloading","progressDetail":{"current":10,"total":20},"progress":"[=>]","id":"aaaaaaaaaaaa"}\r\n'
    b'{"status":"Already exists","progressDetail":{},"id":"bbbbbbbbbbbb"}\r\n'
    + f'{{"status":"Digest: {D}"}}\r\n'.encode()
    + '{"status":"Status: Downloaded newer image for vic.example/es/hello:süß"}\r\n'.encode()
)
VIC_PULL = (
    b'{"status":"1.0: Pulling from es/hello"}\r\n'
    b'{"status":"Pulling fs layer","progressDetail":{},"id":"aaaaaaaaaaaa"}\r\n'
    b'{"status":"Pulling fs layer","progressDetail":{},"id":"a3ed95caeb02"}\r\n'
    b'{"status":"Pull complete","progressDetail":{},"id":"aaaaaaaaaaaa"}\r\n'
    + f'{{"status":"Digest: {D}"}}\r\n'.encode()
    + b'{"status":"Status: Image is up to date for es/hello:1.0"}\r\n'
)


def relay() -> Relay:
    return Relay(silent, "pull", "x")


@given(st.lists(st.integers(1, len(DOCKERD_PULL) - 1)))
def test_it_does_not_matter_where_the_chunks_are_cut(cuts: list[int]) -> None:
    edges = [0, *sorted(cuts), len(DOCKERD_PULL)]
    chunks = [DOCKERD_PULL[start:end] for start, end in pairwise(edges)]

    assert list(messages(chunks)) == list(messages([DOCKERD_PULL]))


def test_decoded_messages_text_and_joined_objects_are_read_too() -> None:
    assert list(messages([{"status": "a"}, '{"status":"b"}{"status":"c"} ', b'{"status":"d"}'])) == [
        {"status": letter} for letter in "abcd"
    ]


@pytest.mark.parametrize(
    "line",
    [
        {"errorDetail": {"message": "Tag 9 not found in repository es/hello"}, "error": "Tag 9 not found"},
        {"error": "Tag 9 not found in repository es/hello"},
        {"errorDetail": {"message": "Tag 9 not found in repository es/hello"}},
        {"errorDetail": {"code": 404, "message": "Tag 9 not found in repository es/hello"}, "status": "x"},
    ],
)
def test_an_error_line_raises_however_the_host_words_it(line: dict[str, object]) -> None:
    with pytest.raises(NotFoundError, match="Tag 9 not found"):
        list(messages([DOCKERD_PULL, json.dumps(line)]))


def test_an_error_without_words_is_still_an_error() -> None:
    with pytest.raises(RefusedError, match="without words"):
        list(messages(['{"error":""}']))


@pytest.mark.parametrize(
    "body", [b'{"status":"Pulling', b"<html>", b"[1]\n", b'"x"\n', pytest.param(b"[" * 100_000, id="deep")]
)
def test_a_stream_that_breaks_off_or_is_no_json_is_no_success(body: bytes) -> None:
    with pytest.raises(UnavailableError):
        list(messages([DOCKERD_PULL, body]))


def test_an_endless_line_is_refused_before_it_fills_the_memory() -> None:
    def endless() -> Iterator[bytes]:
        while True:
            yield b'{"status":"' + b"x" * 65536

    tracemalloc.start()
    with pytest.raises(UnavailableError, match="line of more than"):
        list(messages(endless()))
    assert tracemalloc.get_traced_memory()[1] < 20 << 20
    tracemalloc.stop()


def test_a_pull_from_an_engine_is_summed_up() -> None:
    report = read_pull(messages([DOCKERD_PULL]), relay())

    assert report.digest == D
    assert report.status == "Downloaded newer image for vic.example/es/hello:süß"
    assert report.layer_ids == ("aaaaaaaaaaaa", "bbbbbbbbbbbb")  # and not the tag, which looks like an id here


def test_a_pull_from_a_vch_is_summed_up() -> None:
    report = read_pull(messages([VIC_PULL]), relay())

    assert (report.digest, report.status) == (D, "Image is up to date for es/hello:1.0")
    assert report.layer_ids == ("aaaaaaaaaaaa", "a3ed95caeb02")


def test_a_pull_that_ends_without_a_digest_reports_none() -> None:
    assert read_pull(messages([b'{"status":"Digest: rubbish"}']), relay()).digest is None
    assert read_pull(messages([]), relay()).status == ""


def test_a_pull_that_fails_at_the_end_of_a_good_stream_fails() -> None:
    with pytest.raises(UnsupportedError):
        read_pull(
            messages([VIC_PULL, b'{"error":"Error while pulling image manifest: missing signature key"}']), relay()
        )


@pytest.mark.parametrize(
    "last",
    [
        {"progressDetail": {}, "aux": {"Tag": "1", "Digest": str(D), "Size": 735}},
        {"status": f"1: digest: {D} size: 735"},
    ],
)
def test_a_push_tells_its_digest_in_either_of_two_ways(last: dict[str, object]) -> None:
    assert read_push(messages([{"status": "Preparing", "id": "aaaaaaaaaaaa"}, last]), relay()) == D


def test_a_push_without_a_digest_is_no_success() -> None:
    with pytest.raises(UnavailableError, match="without saying what it pushed"):
        read_push(messages([{"status": "Pushed", "id": "aaaaaaaaaaaa"}]), relay())


class Seconds:
    """A clock that a test turns."""

    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


def test_progress_of_one_layer_is_passed_on_a_few_times_a_second() -> None:
    seen: list[Event] = []
    clock = Seconds()
    told = Relay(seen.append, "pull", "x", now=clock)
    for current in range(1000):
        clock.now += 0.001
        told.progress({"status": "Downloading", "id": "a", "progressDetail": {"current": current, "total": 1000}})
    told.progress({"status": "Pull complete", "id": "a"})

    assert 3 <= len(seen) <= 7
    assert seen[-1] == Progress("pull", "x", "a", "Pull complete")


def test_output_is_passed_on_by_whole_lines_without_colours() -> None:
    seen: list[Event] = []
    told = Relay(seen.append, "build", "x")
    for text in ("\x1b[91mone", "\x1b[0m\ntwo\r\nth", "ree"):
        told.output(text)
    told.flush()

    assert seen == [Output("build", "x", line) for line in ("one", "two", "three")]


def test_a_flood_of_output_is_thinned_and_said_so() -> None:
    seen: list[Event] = []
    told = Relay(seen.append, "build", "x", now=Seconds())

    for _ in range(500):
        told.output("y\n" * 1000)
    told.flush()

    assert len(seen) < 2500
    assert seen[-1] == Output("build", "x", "… 498000 lines left out")


def test_a_line_without_end_stays_small() -> None:
    seen: list[Event] = []
    told = Relay(seen.append, "build", "x")
    for _ in range(1000):
        told.output("x" * 65536)
    told.flush()

    assert len(seen) == 1
    assert isinstance(seen[0], Output)
    assert len(seen[0].line) <= 4096
