"""What every keeper must hold to: the port Keeper, in memory and at Harbor 2.x; and what Harbor refuses then."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any
from uuid import uuid4

import httpx
import pytest

from imagepipe.errors import CredentialsError, NotFoundError, PermissionRefusedError, RefusedError, UnsupportedError
from imagepipe.harbor.connection import Connection
from imagepipe.harbor.v2.keeping import Keeper2
from imagepipe.model.protection import keep_tag
from imagepipe.model.reference import Pinned, Repository
from imagepipe.model.result import Credential
from imagepipe.ports.protection import Keeper
from tests.contract.keeper_memory import MemoryKeeper
from tests.contract.registry_harbor import PASSWORD, PROJECT, RunningHarbor, harbor
from tests.contract.registry_worlds import MemoryWorld, ServerWorld, World, docker_registry

RULES = f"/projects/{PROJECT}/immutabletagrules"


@dataclass
class Place:
    """A keeper, and a registry with images for it."""

    world: World
    keeper: Keeper

    def image(self) -> Pinned:
        return self.world.repository.pin(self.world.add_image("1").digest)


@dataclass
class HarborPlace(Place):
    """The same at a Harbor that may be looked at beside the port."""

    running: RunningHarbor

    def delete(self, image: Pinned) -> httpx.Response:
        return self.send("DELETE", f"{self.path(image.repository)}/{image.digest}")

    def send(self, method: str, path: str, **more: Any) -> httpx.Response:
        url = f"http://{self.running.host}/api/v2.0{path}"
        return httpx.request(method, url, auth=("admin", PASSWORD), trust_env=False, **more)

    def path(self, repository: Repository) -> str:
        return f"/projects/{PROJECT}/repositories/{repository.name}/artifacts"

    def tags(self, image: Pinned) -> set[str]:
        shown = self.send("GET", f"{self.path(image.repository)}/{image.digest}").json()
        return {tag["name"] for tag in shown["tags"] or ()}

    def rules(self) -> list[dict[str, Any]]:
        return list(self.send("GET", RULES).json())

    def named(self) -> set[str]:
        patterns = [rule["tag_selectors"][0]["pattern"] for rule in self.rules()]
        return {tag for pattern in patterns for tag in pattern.strip("{}").split(",")}


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningHarbor]:
    folders = [tmp_path_factory.mktemp(name) for name in ("docker-registry", "harbor")]
    with docker_registry(folders[0]) as server, harbor(server, folders[1]) as found:
        yield found


def keeper_of(running: RunningHarbor, username: str = "admin", registry: str | None = None) -> Keeper2:
    connection = Connection(url=f"http://{running.host}", credential=Credential(username, PASSWORD))
    return Keeper2(lambda: connection, registry=registry or running.host)


@pytest.fixture
def at_harbor(running: RunningHarbor) -> Iterator[HarborPlace]:
    connections = running.connections()
    place = HarborPlace(ServerWorld(running.host, running.storage, connections), keeper_of(running), running)
    yield place
    for rule in place.rules():
        assert place.send("DELETE", f"{RULES}/{rule['id']}").is_success
    connections.close()


@pytest.fixture(params=["memory", "harbor"])
def place(request: pytest.FixtureRequest) -> Place:
    if request.param == "harbor":
        found: Place = request.getfixturevalue("at_harbor")
        return found
    world = MemoryWorld()
    return Place(world, MemoryKeeper(world.registry))


def test_what_is_kept_is_told_and_what_is_let_go_of_is_not(place: Place) -> None:
    one, two = place.image(), place.image()
    assert place.keeper.kept(one.repository) == {}
    place.keeper.keep([one, two])
    place.keeper.keep([one])
    assert place.keeper.kept(one.repository) == {one.digest: True, two.digest: True}
    place.keeper.release([one])
    place.keeper.release([one])
    assert place.keeper.kept(one.repository) == {two.digest: True}


def test_of_a_repository_that_is_not_there_nothing_is_kept(place: Place) -> None:
    own = place.world.repository
    assert place.keeper.kept(Repository(own.registry, f"{own.project}/{uuid4().hex}")) == {}


def test_an_image_that_is_gone_cannot_be_kept(place: Place) -> None:
    image = place.image()
    with pytest.raises(NotFoundError):
        place.keeper.keep([Repository(image.repository.registry, f"{PROJECT}/{uuid4().hex}").pin(image.digest)])


def test_harbor_deletes_nothing_that_is_kept_whoever_asks(at_harbor: HarborPlace) -> None:
    one, two = at_harbor.image(), at_harbor.image()
    at_harbor.keeper.keep([one])
    assert at_harbor.delete(one).status_code == 412
    tag = f"{at_harbor.path(one.repository)}/{one.digest}/tags/{keep_tag(one)}"
    assert at_harbor.send("DELETE", tag).status_code == 412
    whole = f"/projects/{PROJECT}/repositories/{one.repository.name}"
    assert at_harbor.send("DELETE", whole).status_code == 412
    assert at_harbor.delete(two).status_code == 200
    at_harbor.keeper.release([one])
    assert at_harbor.delete(one).status_code == 200


def test_tags_of_the_team_stay_free_to_move(at_harbor: HarborPlace) -> None:
    one = at_harbor.image()
    at_harbor.keeper.keep([one])
    two = at_harbor.image()
    assert at_harbor.world.source.resolve(one.repository.tagged("1")).digest == two.digest
    assert at_harbor.tags(one) == {keep_tag(one)}


def test_one_rule_names_what_is_kept_in_all_repositories_of_a_project(at_harbor: HarborPlace) -> None:
    one = at_harbor.image()
    other = Repository(one.repository.registry, f"{one.repository.path}-2")
    at_harbor.world.repository = other
    two = at_harbor.image()
    at_harbor.keeper.keep([one])
    at_harbor.keeper.keep([two])
    assert len(at_harbor.rules()) == 1
    assert at_harbor.named() == {keep_tag(one), keep_tag(two)}
    at_harbor.keeper.release([one])
    assert at_harbor.named() == {keep_tag(two)}
    at_harbor.keeper.release([two])
    assert at_harbor.rules() == []


def test_rules_of_the_team_are_left_alone(at_harbor: HarborPlace) -> None:
    selectors = {
        "tag_selectors": [{"kind": "doublestar", "decoration": "matches", "pattern": "v*"}],
        "scope_selectors": {"repository": [{"kind": "doublestar", "decoration": "repoMatches", "pattern": "**"}]},
    }
    body = {"action": "immutable", "template": "immutable_template", "disabled": False, **selectors}
    assert at_harbor.send("POST", RULES, json=body).status_code == 201
    image = at_harbor.image()
    at_harbor.keeper.keep([image])
    at_harbor.keeper.release([image])
    (left,) = at_harbor.rules()
    assert left["tag_selectors"][0]["pattern"] == "v*"


def test_a_rule_that_was_switched_off_or_removed_by_hand_shows_and_is_mended(at_harbor: HarborPlace) -> None:
    image = at_harbor.image()
    at_harbor.keeper.keep([image])
    (rule,) = at_harbor.rules()
    at_harbor.send("PUT", f"{RULES}/{rule['id']}", json={**rule, "disabled": True})
    assert at_harbor.keeper.kept(image.repository) == {image.digest: False}
    at_harbor.keeper.keep([image])
    assert at_harbor.keeper.kept(image.repository) == {image.digest: True}
    (rule,) = at_harbor.rules()
    at_harbor.send("DELETE", f"{RULES}/{rule['id']}")
    assert at_harbor.keeper.kept(image.repository) == {image.digest: False}
    at_harbor.keeper.keep([image])
    assert at_harbor.delete(image).status_code == 412


class Forgetful(httpx.BaseTransport):
    """Takes a rule, and makes nothing of it."""

    def __init__(self) -> None:
        self._inner = httpx.HTTPTransport()

    def handle_request(self, request: httpx.Request) -> httpx.Response:
        if request.method == "POST" and request.url.path.endswith("/immutabletagrules"):
            return httpx.Response(201)
        return self._inner.handle_request(request)

    def close(self) -> None:
        self._inner.close()


def test_a_rule_that_harbor_takes_and_does_not_obey_is_told(at_harbor: HarborPlace) -> None:
    image = at_harbor.image()
    url, admin = f"http://{at_harbor.running.host}", Credential("admin", PASSWORD)
    forgetful = Connection(url=url, credential=admin, transport=Forgetful())
    with pytest.raises(RefusedError, match="is not immutable"):
        Keeper2(lambda: forgetful, registry=at_harbor.running.host).keep([image])


def test_who_may_not_change_rules_is_told_and_leaves_no_tag(at_harbor: HarborPlace) -> None:
    image = at_harbor.image()
    with pytest.raises(PermissionRefusedError) as caught:
        keeper_of(at_harbor.running, "developer").keep([image])
    assert "maintainer" in str(caught.value.hint)
    assert at_harbor.tags(image) == {"1"}


def test_what_cannot_be_kept_at_all_is_said(running: RunningHarbor) -> None:
    elsewhere = Repository("other.example", f"{PROJECT}/hello")
    with pytest.raises(UnsupportedError, match="not in the Harbor that is configured"):
        keeper_of(running).kept(elsewhere)
    nobody = Keeper2(lambda: Connection(url=f"http://{running.host}"), registry="other.example")
    with pytest.raises(CredentialsError, match="no user name and password"):
        nobody.kept(elsewhere)
    old = Connection(url=f"http://{running.host}", credential=Credential("admin", PASSWORD))
    with pytest.raises(UnsupportedError, match="this is harbor-1") as caught:
        Keeper2(lambda: old, registry="other.example", dialect="harbor-1").kept(elsewhere)
    assert "Harbor 1.7" in str(caught.value.hint)


def test_a_tag_that_the_teams_own_rule_keeps_stays_and_does_not_stop_the_rest(at_harbor: HarborPlace) -> None:
    one, two = at_harbor.image(), at_harbor.image()
    selectors = {
        "tag_selectors": [{"kind": "doublestar", "decoration": "matches", "pattern": "**"}],
        "scope_selectors": {"repository": [{"kind": "doublestar", "decoration": "repoMatches", "pattern": "**"}]},
    }
    body = {"action": "immutable", "template": "immutable_template", "disabled": False, **selectors}
    at_harbor.keeper.keep([one, two])
    assert at_harbor.send("POST", RULES, json=body).status_code == 201
    assert at_harbor.keeper.kept(one.repository) == {one.digest: True, two.digest: True}
    at_harbor.keeper.release([one, two])
    assert at_harbor.named() == {"**"}
    # Nobody is asked again to let go of what others keep, and what is needed again is kept again.
    assert at_harbor.keeper.kept(one.repository) == {}
    at_harbor.keeper.keep([one])
    assert at_harbor.keeper.kept(one.repository) == {one.digest: True}
    told = keeper_of(at_harbor.running, "developer").kept(one.repository)
    assert told == {one.digest: True, two.digest: True}
