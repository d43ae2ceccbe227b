"""Changes over a network that loses answers: nothing lost, nothing doubled, on the sandbox's Harbor."""

from collections import Counter
from collections.abc import Iterator

import httpx
import pytest

from imagepipe.harbor.administration import open_administration
from imagepipe.model.access import PERMISSION_SETS, Principal, RobotRequest, Role
from imagepipe.model.result import Credential
from imagepipe.ports.administration import Administration
from tests.contract.harbor_chaos import ChaosTransport
from tests.contract.harbor_world import PASSWORD, HarborClient, config_for, served

CHANGES = 50
NAMES = tuple(f"user-{number:02}" for number in range(CHANGES))


@pytest.fixture(scope="module")
def standin(tmp_path_factory: pytest.TempPathFactory) -> Iterator[HarborClient]:
    with served(config_for(tmp_path_factory.mktemp("harbor"), "http://127.0.0.1:1", lock_s=0.0)) as client:
        now = client.harbor.stamp()
        for name in NAMES:
            client.harbor.store.insert("users", username=name, secret="", salt="", creation_time=now, update_time=now)
        yield client


def opened(standin: HarborClient, transport: httpx.BaseTransport) -> Administration:
    credential = Credential("admin", PASSWORD)
    return open_administration(url=str(standin.http.base_url), credential=credential, transport=transport)


def held(standin: HarborClient, project: str) -> dict[str, str]:
    found = standin.ok("GET", f"/projects/{project}/members?page_size=100").json()
    assert Counter(member["entity_name"] for member in found).most_common(1)[0][1] == 1
    return {member["entity_name"]: member["role_name"] for member in found}


def test_fifty_members_are_added_changed_and_removed_whatever_becomes_of_the_answers(standin: HarborClient) -> None:
    with ChaosTransport(httpx.HTTPTransport(), share=0.03, seed=3) as chaos:
        harbor = opened(standin, chaos)
        project = harbor.projects.create("chaos", {"public": True, "max_severity": "high"})
        members = [harbor.membership.add(project, Principal.parse(name), Role.GUEST) for name in NAMES]
        assert held(standin, "chaos") == {"admin": "projectAdmin"} | dict.fromkeys(NAMES, "guest")
        members = [harbor.membership.set_role(project, member, Role.MAINTAINER) for member in members]
        assert held(standin, "chaos") == {"admin": "projectAdmin"} | dict.fromkeys(NAMES, "maintainer")
        for member in members[::2]:
            harbor.membership.remove(project, member)
        assert held(standin, "chaos") == {"admin": "projectAdmin"} | dict.fromkeys(NAMES[1::2], "maintainer")
    fates = {spoilt.rpartition(" ")[0] for spoilt in chaos.spoilt}
    assert fates == {"500 before", "500 after", "reset before", "reset after"}


def test_every_robot_has_the_secret_that_its_maker_was_told(standin: HarborClient) -> None:
    with ChaosTransport(httpx.HTTPTransport(), share=0.06, seed=2) as chaos:
        harbor = opened(standin, chaos)
        project = harbor.projects.create("robots", {})
        made = [
            harbor.require_robots().create(
                RobotRequest(f"ci-{number}", project.name, PERMISSION_SETS["pull"], 1), project
            )
            for number in range(10)
        ]
    assert sum(chaos.spoilt.values())
    assert len(standin.ok("GET", "/robots?q=Level=project,ProjectID=" + project.handle).json()) == 10
    for each in made:
        assert standin.api("GET", "/users/current", (each.robot.login, each.secret)).status_code == 412
