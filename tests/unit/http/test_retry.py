from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime

import httpx
import pytest

from imagepipe.errors import UnavailableError
from imagepipe.events import Event, Retried
from imagepipe.http.retry import RetryTransport, settle

Answer = httpx.Response | Exception


class Server(httpx.BaseTransport):
    """Gives one prepared answer after another, the last one for ever, and remembers what it was asked."""

    def __init__(self, *answers: Answer) -> None:
        self.answers = list(answers)
        self.asked: list[str] = []

    def handle_request(self, request: httpx.Request) -> httpx.Response:
        self.asked.append(request.method)
        answer = self.answers.pop(0) if len(self.answers) > 1 else self.answers[0]
        if isinstance(answer, Exception):
            raise answer
        return answer


class Waits:
    def __init__(self) -> None:
        self.seconds: list[float] = []
        self.events: list[Event] = []

    def transport(self, server: Server) -> RetryTransport:
        return RetryTransport(server, sink=self.events.append, sleep=self.seconds.append)


def ask(method: str, url: str = "https://vic.example/v2/p/r/manifests/1") -> httpx.Request:
    return httpx.Request(method, url, content=b"body" if method in ("POST", "PUT", "PATCH") else None)


def status(code: int, headers: dict[str, str] | None = None) -> httpx.Response:
    return httpx.Response(code, headers=headers)


@pytest.mark.parametrize("method", ["GET", "HEAD", "PUT", "DELETE"])
@pytest.mark.parametrize("trouble", [429, 502, 503, 504])
def test_passing_trouble_is_waited_out(method: str, trouble: int) -> None:
    waits, server = Waits(), Server(status(trouble), status(200))
    assert waits.transport(server).handle_request(ask(method)).status_code == 200
    assert server.asked == [method, method]
    assert len(waits.seconds) == 1


@pytest.mark.parametrize("trouble", [httpx.ConnectError("refused"), httpx.ReadTimeout("slow"), httpx.ReadError("gone")])
def test_a_broken_connection_is_made_again(trouble: Exception) -> None:
    server = Server(trouble, status(200))
    assert Waits().transport(server).handle_request(ask("GET")).status_code == 200


@pytest.mark.parametrize("method", ["POST", "PATCH"])
@pytest.mark.parametrize("trouble", [httpx.ConnectError("refused"), httpx.ReadTimeout("slow"), status(503)])
def test_a_post_is_never_sent_twice(method: str, trouble: Answer) -> None:
    server = Server(trouble, status(200))
    if isinstance(trouble, Exception):
        with pytest.raises(type(trouble)):
            Waits().transport(server).handle_request(ask(method))
    else:
        assert Waits().transport(server).handle_request(ask(method)).status_code == 503
    assert server.asked == [method]


@pytest.mark.parametrize("trouble", [httpx.RemoteProtocolError("gone"), status(503)])
def test_an_upload_is_begun_again_for_what_was_begun_before_ends_by_itself(trouble: Answer) -> None:
    server = Server(trouble, status(202))
    begin = httpx.Request("POST", "https://vic.example/v2/p/r/blobs/uploads/?mount=sha256:0&from=p/q", content=b"")
    assert Waits().transport(server).handle_request(begin).status_code == 202
    assert server.asked == ["POST", "POST"]


def test_a_body_that_can_be_read_once_is_never_sent_twice() -> None:
    def chunks() -> Iterator[bytes]:
        yield b"chunk"

    server = Server(status(503), status(200))
    request = httpx.Request("PUT", "https://vic.example/v2/p/r/blobs/uploads/1", content=chunks())
    assert Waits().transport(server).handle_request(request).status_code == 503
    assert server.asked == ["PUT"]


@pytest.mark.parametrize(
    ("method", "url", "times"),
    [
        ("PUT", "https://vic.example/v2/p/r/manifests/1", 2),
        ("PUT", "https://vic.example/api/v2.0/projects/1", 1),
        ("HEAD", "https://vic.example/v2/p/r/manifests/1", 2),
        ("GET", "https://vic.example/v2/p/r/manifests/1", 2),
        ("HEAD", "https://vic.example/v2/p/r/blobs/sha256:0", 2),
        ("GET", "https://vic.example/v2/p/r/blobs/sha256:0", 1),
        ("GET", "https://vic.example/api/v2.0/projects/p/manifests/1", 1),
    ],
)
def test_a_server_error_is_retried_only_where_two_clients_may_have_raced(method: str, url: str, times: int) -> None:
    server = Server(status(500), status(201))
    Waits().transport(server).handle_request(ask(method, url))
    assert len(server.asked) == times


def test_a_manifest_that_harbor_1_10_does_not_know_is_not_sent_again_though_it_says_500() -> None:
    said = {"code": "InternalError", "message": "unsupported content type for manifest: x"}
    server = Server(httpx.Response(500, json={"errors": [said]}), status(201))
    answer = Waits().transport(server).handle_request(ask("PUT", "https://vic.example/v2/p/r/manifests/1"))
    assert (answer.status_code, len(server.asked)) == (500, 1)


@pytest.mark.parametrize("final", [200, 201, 307, 400, 401, 403, 404, 409, 412, 501])
def test_an_answer_that_stands_is_not_asked_for_again(final: int) -> None:
    server = Server(status(final))
    assert Waits().transport(server).handle_request(ask("GET")).status_code == final
    assert server.asked == ["GET"]


def test_it_gives_up_after_four_attempts_and_hands_on_the_last_answer() -> None:
    waits, server = Waits(), Server(status(503))
    assert waits.transport(server).handle_request(ask("GET")).status_code == 503
    assert len(server.asked) == 4


def test_it_gives_up_after_four_attempts_and_hands_on_the_last_exception() -> None:
    server = Server(httpx.ConnectError("refused"))
    with pytest.raises(httpx.ConnectError, match="refused"):
        Waits().transport(server).handle_request(ask("GET"))
    assert len(server.asked) == 4


def test_a_certificate_that_is_not_trusted_is_not_asked_for_again() -> None:
    server = Server(httpx.ConnectError("[SSL: CERTIFICATE_VERIFY_FAILED] certificate verify failed"))
    with pytest.raises(httpx.ConnectError):
        Waits().transport(server).handle_request(ask("GET"))
    assert len(server.asked) == 1


def test_the_waits_grow_and_each_is_told_before() -> None:
    waits = Waits()
    waits.transport(Server(status(503))).handle_request(ask("GET", "https://vic.example/v2/?token=hunter2"))
    first, second, third = waits.seconds
    assert 0.5 <= first <= 1.0
    assert 1.0 <= second <= 1.5
    assert 2.0 <= third <= 2.5
    told = [event for event in waits.events if isinstance(event, Retried)]
    assert [(event.attempt, event.delay_s, event.reason) for event in told] == [
        (1, first, "HTTP 503"),
        (2, second, "HTTP 503"),
        (3, third, "HTTP 503"),
    ]
    assert told[0].what == "GET https://vic.example/v2/"


@pytest.mark.parametrize(
    ("asked", "waited"),
    [("3", 3.0), ("0", 0.0), ("86400", 30.0), ("Wed, 21 Oct 2015 07:28:00 GMT", 0.0)],
)
def test_retry_after_is_honoured_up_to_half_a_minute(asked: str, waited: float) -> None:
    waits = Waits()
    waits.transport(Server(status(429, {"Retry-After": asked}), status(200))).handle_request(ask("GET"))
    assert waits.seconds == [waited]


def test_retry_after_may_be_a_date() -> None:
    waits = Waits()
    later = format_datetime(datetime.now(UTC) + timedelta(seconds=10), usegmt=True)
    waits.transport(Server(status(503, {"Retry-After": later}), status(200))).handle_request(ask("GET"))
    assert waits.seconds[0] == pytest.approx(10, abs=2)


@pytest.mark.parametrize("asked", ["soon", "Mon, 01 Jan 99999999999999999999 00:00:00 GMT"])
def test_a_retry_after_that_cannot_be_read_does_not_matter(asked: str) -> None:
    waits = Waits()
    waits.transport(Server(status(503, {"Retry-After": asked}), status(200))).handle_request(ask("GET"))
    assert 0.5 <= waits.seconds[0] <= 1.0


def countdown(calls: int) -> Callable[[], str | None]:
    left = [calls]

    def attempt() -> str | None:
        left[0] -= 1
        return "done" if left[0] == 0 else None

    return attempt


class Hanging(httpx.BaseTransport):
    """Lets every request wait for a minute, unless it is well, and counts them."""

    def __init__(self) -> None:
        self.now, self.asked, self.well = 0.0, 0, False

    def handle_request(self, request: httpx.Request) -> httpx.Response:
        self.asked += 1
        if self.well:
            return status(200)
        self.now += 60.0
        raise httpx.ReadTimeout("slow", request=request)

    def transport(self) -> RetryTransport:
        def sleep(seconds: float) -> None:
            self.now += seconds

        return RetryTransport(self, sleep=sleep, clock=lambda: self.now)


@pytest.mark.parametrize("method", ["GET", "POST"])
def test_a_host_that_hangs_at_everything_is_not_asked_hundreds_of_times(method: str) -> None:
    host = Hanging()
    transport = host.transport()
    for _ in range(500):
        with pytest.raises(httpx.ReadTimeout):
            transport.handle_request(ask(method))
    assert host.asked <= 5
    assert host.now < 360


def test_a_host_that_hung_is_asked_again_later() -> None:
    host = Hanging()
    transport = host.transport()
    for _ in range(10):
        with pytest.raises(httpx.ReadTimeout, match=r"slow|not asked again"):
            transport.handle_request(ask("GET"))
    host.well = True
    with pytest.raises(httpx.ReadTimeout, match=r"has let us wait for 2\d\d s in vain"):
        transport.handle_request(ask("GET"))
    host.now += 31
    assert transport.handle_request(ask("GET")).status_code == 200


def test_what_nobody_can_ask_is_not_asked_again() -> None:
    server = Server(httpx.UnsupportedProtocol("ftp"))
    with pytest.raises(httpx.UnsupportedProtocol):
        Waits().transport(server).handle_request(ask("GET"))
    assert server.asked == ["GET"]


def test_settling_calls_until_there_is_a_result() -> None:
    waits: list[float] = []
    assert settle(countdown(3), "list it", sleep=waits.append) == "done"
    assert len(waits) == 2


def test_settling_ends_with_an_error_that_says_what_was_not_done() -> None:
    waits: list[float] = []
    with pytest.raises(UnavailableError, match="list it: not done after 4 attempts"):
        settle(countdown(5), "list it", attempts=4, sleep=waits.append)
