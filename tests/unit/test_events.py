import pytest

from imagepipe.errors import UnavailableError
from imagepipe.events import Event, StepFailed, StepFinished, StepStarted, Warned, silent, step


def test_a_step_tells_its_start_and_its_end_with_the_detail() -> None:
    seen: list[Event] = []
    with step(seen.append, "push", "es/hello") as note:
        note.detail = "sha256:abc"
    start, end = seen
    assert start == StepStarted("push", "es/hello")
    assert isinstance(end, StepFinished)
    assert (end.step, end.subject, end.detail) == ("push", "es/hello", "sha256:abc")
    assert end.duration_s >= 0


@pytest.mark.parametrize(
    ("error", "message"), [(UnavailableError("away"), "away"), (KeyboardInterrupt(), "KeyboardInterrupt")]
)
def test_a_step_that_fails_tells_why_and_the_error_travels_on(error: BaseException, message: str) -> None:
    seen: list[Event] = []
    with pytest.raises(type(error)), step(seen.append, "push", "es/hello"):
        raise error
    end = seen[-1]
    assert isinstance(end, StepFailed)
    assert end.message == message


def test_the_silent_sink_takes_anything() -> None:
    silent(Warned("es/hello", "the tag moves"))
