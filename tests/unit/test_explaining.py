"""Refusals by Harbor are told with their cause; whatever goes wrong with that, the refusal itself is told."""

import time
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import datetime

import pytest

from imagepipe.errors import (
    CredentialsError,
    DigestMismatchError,
    ImagepipeError,
    NotFoundError,
    PermissionRefusedError,
    RefusedError,
    SettingsError,
    UnavailableError,
)
from imagepipe.events import Event, EventSink, Output, silent
from imagepipe.model.access import Caller, Right, Role
from imagepipe.model.copying import Copied
from imagepipe.model.digest import Digest
from imagepipe.model.host import PullReport
from imagepipe.model.reference import Pinned, Reference, Repository
from imagepipe.ports.administration import Administration
from imagepipe.wiring.explaining import ExplainedCopier, ExplainedPuller, ExplainedPusher, Explainer
from tests.contract.harbor_memory import MemoryCallers, MemoryHarbor

IMAGE = Reference.parse("vic.example/es/web:1")
DENIED = PermissionRefusedError("push vic.example/es/web:1: denied", hint="ask")


class Rights(MemoryCallers):
    """Callers whose rights on images are told, too."""

    def rights(self, project: object) -> frozenset[Right]:
        return frozenset({Right("repository", "pull")})


@dataclass
class Bench:
    """A Harbor in which gus is a guest, and how often it was asked."""

    harbor: MemoryHarbor
    fails: ImagepipeError | None = None
    username: str | ImagepipeError | None = "gus"
    slow_s: float = 0.0
    asked: int = 0
    told: list[Event] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.explainer = Explainer(
            registry="vic.example",
            administration=self.open,
            username=self.who,
            clock=self,
            sink=self.told.append,
            deadline_s=0.2,
        )

    def now(self) -> datetime:
        return self.harbor.now

    def who(self) -> str | None:
        if isinstance(self.username, ImagepipeError):
            raise self.username
        return self.username

    def open(self) -> Administration:
        self.asked += 1
        time.sleep(self.slow_s)
        if self.fails is not None:
            raise self.fails
        whole = self.harbor.administration()
        parts = {name: getattr(whole, name) for name in whole.__slots__}
        return Administration(**parts | {"callers": Rights(self.harbor)})

    def explained(
        self, error: ImagepipeError = DENIED, image: Reference = IMAGE, *, push: bool = True
    ) -> ImagepipeError:
        return self.explainer.explained(error, image, push=push)


@pytest.fixture
def bench() -> Bench:
    harbor = MemoryHarbor(caller=Caller("gus", "user"))
    harbor.add_project("es", {"lee": Role.PROJECT_ADMIN, "gus": Role.GUEST})
    return Bench(harbor)


def test_a_refusal_keeps_its_words_and_kind_and_gains_a_cause(bench: Bench) -> None:
    with pytest.raises(PermissionRefusedError) as caught, bench.explainer.of(IMAGE, push=True):
        raise DENIED
    assert caught.value.message == f"{DENIED.message} (cause: gus is guest of es, who may not push)"
    assert caught.value.hint == "let an admin of the project run `imagepipe member set es gus --role developer`"
    assert caught.value.cause is not None
    assert caught.value.cause["kind"] == "role"
    assert caught.value.__cause__ is DENIED
    around = caught.value.doing("run web")
    assert around.cause == caught.value.cause


def test_one_image_is_asked_about_once_and_a_cause_is_not_explained_again(bench: Bench) -> None:
    first = bench.explained()
    assert bench.explained(first) is first
    bench.explained()
    assert bench.asked == 1
    bench.explained(image=Reference.parse("vic.example/es/other:1"))
    assert bench.asked == 2


@pytest.mark.parametrize(
    "error",
    [
        NotFoundError("manifest unknown"),
        UnavailableError("HTTP 502"),
        DigestMismatchError("is not signed"),
        RefusedError("no space left in the image store"),
        CredentialsError("its certificate is not accepted"),
    ],
)
def test_what_is_no_refusal_of_harbors_asks_nothing(bench: Bench, error: ImagepipeError) -> None:
    with pytest.raises(type(error)) as caught, bench.explainer.of(IMAGE):
        raise error
    assert caught.value is error
    assert bench.asked == 0


def test_other_registries_and_nobody_are_not_asked_about(bench: Bench) -> None:
    assert bench.explained(image=Reference.parse("docker.io/es/web:1")) is DENIED
    bench.username = None
    assert bench.explained() is DENIED
    assert bench.asked == 0


def test_who_is_allowed_as_far_as_harbor_shows_is_told_no_cause(bench: Bench) -> None:
    assert bench.explained(push=False) is DENIED


def test_what_is_about_to_be_pushed_is_explained_as_a_push(bench: Bench) -> None:
    bench.explainer.pushing([IMAGE.repository])
    assert bench.explained(push=False).cause == bench.explained().cause


def test_a_policy_is_told_by_its_words_when_harbor_tells_no_more(bench: Bench) -> None:
    bench.fails = UnavailableError("away")
    said = RefusedError("push: PRECONDITION: 'web:1' configured as immutable. (HTTP 412)")
    assert bench.explained(said).cause is not None
    assert bench.explained() is DENIED
    assert bench.told == [Output("explain", "es/web:1", "away")]


def test_a_wrong_password_is_tried_once(bench: Bench) -> None:
    bench.fails = CredentialsError("log in to Harbor: HTTP 401", hint="check them")
    for name in ("web", "other"):
        told = bench.explained(image=Reference.parse(f"vic.example/es/{name}:1"))
        assert told.message.endswith("(cause: log in to Harbor: HTTP 401)")
        assert told.hint == "check them"
    assert bench.asked == 1


def test_settings_that_fail_meanwhile_hide_nothing(bench: Bench) -> None:
    bench.username = SettingsError("no such file")
    assert bench.explained() is DENIED
    assert bench.told == [Output("explain", str(IMAGE), "no such file")]


def test_nobody_waits_long_for_a_cause(bench: Bench) -> None:
    bench.slow_s = 0.5
    assert bench.explained() is DENIED
    assert isinstance(bench.told[0], Output)
    assert "no answer within" in bench.told[0].line


@dataclass
class Shut:
    """Every adapter that Harbor may refuse, and does."""

    refusal: ImagepipeError = DENIED

    def push(self, image_id: Digest, name: Reference, sink: EventSink) -> Digest:
        raise self.refusal

    def pull(self, image: Reference, sink: EventSink) -> PullReport:
        raise self.refusal

    def copy(self, image: Pinned, to: Repository) -> Copied:
        raise self.refusal


def test_whoever_pushes_pulls_or_copies_tells_the_cause(bench: Bench) -> None:
    digest, full = Digest.of(b""), RefusedError("push: will exceed the configured upper limit of 1 B")
    pinned = IMAGE.repository.pin(digest)
    elsewhere = Repository("vic.example", "library/web").pin(digest)
    calls: tuple[tuple[Callable[[], object], str], ...] = (
        (lambda: ExplainedPusher(Shut(), bench.explainer).push(digest, IMAGE, silent), "role"),
        (lambda: ExplainedCopier(Shut(), bench.explainer).copy(elsewhere, pinned.repository), "role"),
        (lambda: ExplainedPuller(Shut(full), bench.explainer).pull(IMAGE, silent), "quota"),
    )
    for call, kind in calls:
        with pytest.raises(ImagepipeError) as caught:
            call()
        assert caught.value.cause is not None
        assert caught.value.cause["kind"] == kind
