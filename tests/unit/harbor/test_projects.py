from datetime import UTC, datetime

import httpx
import pytest

from imagepipe.errors import InputError, NotFoundError, PermissionRefusedError, RefusedError, UnsupportedError
from imagepipe.harbor.v2.callers import Callers2
from imagepipe.harbor.v2.projects import Projects2
from imagepipe.harbor.v2.session import encoded_repository
from imagepipe.model.access import Project, ProjectFacts, Right
from tests.unit.harbor.fake import FakeHarbor, refused

P = Project("p", handle="7")
DEVELOPER = {"username": "dev", "sysadmin_flag": False}
POST, PUT, DELETE = "POST /projects", "PUT /projects/p", "DELETE /projects/p"


def of(harbor: FakeHarbor) -> Projects2:
    return Projects2(harbor.session())


def test_metadata_mean_settings_and_what_is_missing_is_what_harbor_takes_for_granted() -> None:
    harbor = FakeHarbor()
    harbor.projects[0]["metadata"] = {
        "public": "TRUE",
        "prevent_vul": "1",
        "severity": "High",
        "auto_scan": None,
        "x": "y",
    }
    (project,) = of(harbor).list()
    assert project.settings == {
        "public": True,
        "auto_scan": False,
        "auto_sbom": False,
        "prevent_vulnerable": True,
        "max_severity": "high",
        "require_cosign": False,
        "require_notation": False,
        "reuse_system_cve_allowlist": True,
    }


def test_only_system_administrators_ask_for_quotas() -> None:
    harbor = FakeHarbor(quotas=[{"id": 3, "ref": {"id": 7}, "hard": {"storage": 500}}, {"id": 2, "ref": {}}])
    assert next(of(harbor).list()).settings["storage_limit_bytes"] == 500
    harbor.user = DEVELOPER
    (project,) = of(harbor).list()
    assert "storage_limit_bytes" not in project.settings
    assert harbor.count("GET /quotas") == 0


def test_a_harbor_without_metadata_or_quotas_is_read_all_the_same() -> None:
    harbor = FakeHarbor(projects=[{"project_id": 7, "name": "p", "metadata": None}])
    assert next(of(harbor).list(name="p")).settings["public"] is False
    with pytest.raises(NotFoundError, match="no quota"):
        of(harbor).change(P, {"storage_limit_bytes": 5})


def test_a_hidden_project_is_told_from_one_that_is_not_there() -> None:
    harbor = FakeHarbor(hidden={"secret"})
    assert list(of(harbor).list(name="nowhere")) == []
    with pytest.raises(PermissionRefusedError, match="project secret exists"):
        next(of(harbor).list(name="secret"))
    with pytest.raises(RefusedError, match="exists"):
        of(harbor).create("secret", {})


def test_who_is_no_system_administrator_cannot_limit_storage_and_is_told_before_anything_happens() -> None:
    harbor = FakeHarbor(user=DEVELOPER)
    with pytest.raises(PermissionRefusedError, match="dev is not a system administrator"):
        of(harbor).create("q", {"storage_limit_bytes": 5})
    with pytest.raises(PermissionRefusedError, match="dev is not a system administrator"):
        of(harbor).change(P, {"storage_limit_bytes": 5})
    assert len(harbor.projects) == 1


@pytest.mark.parametrize(
    ("settings", "word"),
    [
        ({"public": "true"}, "true or false"),
        ({"public": 1}, "true or false"),
        ({"max_severity": "worst"}, "critical"),
        ({"max_severity": True}, "a word"),
        ({"storage_limit_bytes": 0}, "-1"),
        ({"storage_limit_bytes": 2**60}, "1024 TB"),
        ({"storage_limit_bytes": True}, "bytes"),
    ],
)
def test_a_value_that_harbor_would_swallow_is_refused(settings: dict[str, bool | str | int], word: str) -> None:
    harbor = FakeHarbor()
    with pytest.raises(InputError) as caught:
        of(harbor).change(P, settings)
    assert word in (caught.value.hint or "")
    assert harbor.requests == []


def test_a_setting_of_a_later_version_is_refused_with_both_versions() -> None:
    with pytest.raises(UnsupportedError, match=r"auto_sbom: needs Harbor ≥ 2\.11, this is 2\.10\.0"):
        of(FakeHarbor(version="v2.10.0-a")).change(P, {"auto_sbom": True})


def test_settings_that_are_so_already_are_not_written() -> None:
    harbor = FakeHarbor(quotas=[{"id": 3, "ref": {"id": 7}, "hard": {"storage": 500}}])
    of(harbor).change(P, {"public": False, "storage_limit_bytes": 500})
    assert not any(request.startswith("PUT") for request in harbor.requests)


def test_only_what_differs_is_written() -> None:
    harbor = FakeHarbor(quotas=[{"id": 3, "ref": {"id": 7}, "hard": {"storage": 500, "count": 1}}])
    of(harbor).change(P, {"public": False, "auto_scan": True, "storage_limit_bytes": -1})
    written = [body for body in harbor.bodies if body]
    assert written == [{"metadata": {"auto_scan": "true"}}, {"hard": {"storage": -1, "count": 1}}]


def test_a_setting_that_harbor_takes_and_drops_is_no_success() -> None:
    harbor = FakeHarbor()
    harbor.always(PUT, lambda: httpx.Response(200))
    with pytest.raises(RefusedError, match="did not keep it"):
        of(harbor).change(P, {"auto_scan": True})


@pytest.mark.parametrize("after", [False, True])
def test_a_lost_answer_neither_loses_nor_doubles_a_project(*, after: bool) -> None:
    harbor = FakeHarbor()
    harbor.once(POST, refused(500), after=after)
    assert of(harbor).create("q", {"public": True}).settings["public"] is True
    assert [project["name"] for project in harbor.projects] == ["p", "q"]


def test_an_answer_that_comes_late_is_no_other_project() -> None:
    harbor = FakeHarbor()

    def late() -> httpx.Response:
        if harbor.count(POST) == 1:
            return refused(500)
        if harbor.count(POST) == 2:
            harbor.projects.append({"project_id": 8, "name": "q", "metadata": {}})
        return refused(409, "The project named q already exists")

    harbor.always(POST, late)
    assert of(harbor).create("q", {}).handle == "8"


def test_somebody_elses_project_of_that_name_is_not_taken_for_ours() -> None:
    harbor = FakeHarbor()
    harbor.always(POST, lambda: refused(409, "The project named q already exists"))
    with pytest.raises(RefusedError, match="already exists"):
        of(harbor).create("q", {})


@pytest.mark.parametrize("after", [False, True])
def test_a_lost_answer_to_a_deletion_is_looked_after(*, after: bool) -> None:
    harbor = FakeHarbor()
    harbor.once(DELETE, refused(500), after=after)
    of(harbor).delete(P)
    assert harbor.projects == []


def test_a_deletion_that_takes_effect_late_is_a_deletion() -> None:
    harbor = FakeHarbor()
    harbor.always(DELETE, lambda: refused(500))
    harbor.clock.meanwhile = harbor.projects.clear
    of(harbor).delete(P)
    assert harbor.count("DELETE") == 1


def test_a_project_that_was_made_anew_is_not_deleted_in_the_place_of_the_old_one() -> None:
    harbor = FakeHarbor()
    with pytest.raises(RefusedError, match="another project"):
        of(harbor).delete(Project("p", handle="6"))
    assert harbor.projects


def test_a_deletion_that_changes_nothing_is_no_success() -> None:
    harbor = FakeHarbor()
    harbor.always(DELETE, lambda: httpx.Response(200))
    with pytest.raises(RefusedError, match="did not keep it"):
        of(harbor).delete(P)


def test_a_project_with_one_repository_tells_so() -> None:
    harbor = FakeHarbor()
    harbor.projects[0]["repo_count"] = 1
    harbor.always(DELETE, lambda: refused(412, "the project contains repositories, can not be deleted"))
    with pytest.raises(RefusedError, match="holds 1 repository: PRECONDITION"):
        of(harbor).delete(P)


def test_facts_tell_the_last_push_where_harbor_can() -> None:
    harbor = FakeHarbor()
    quota = {"hard": {"storage": -1}, "used": {"storage": 1234}}
    harbor.always("GET /projects/p/summary", lambda: httpx.Response(200, json={"repo_count": 2, "quota": quota}))
    pushed = [{"push_time": "2026-03-01T12:00:00.000Z"}]
    harbor.always("GET /projects/p/artifacts", lambda: httpx.Response(200, json=pushed))
    assert of(harbor).facts(P) == ProjectFacts(2, 1234, datetime(2026, 3, 1, 12, tzinfo=UTC), -1)
    harbor.always("GET /projects/p/artifacts", lambda: httpx.Response(200, json=[]))
    assert of(harbor).facts(P).last_push is None
    harbor.version = "v2.11.0"
    assert of(harbor).facts(P) == ProjectFacts(2, 1234, None, -1)


def test_facts_that_the_caller_may_not_know_are_none() -> None:
    harbor = FakeHarbor()
    harbor.always("GET /projects/p/summary", lambda: httpx.Response(200, json={"repo_count": 0}))
    assert of(harbor).facts(P) == ProjectFacts(0, None, None)
    assert harbor.count("GET /projects/p/artifacts") == 0


def test_rights_are_asked_for_by_the_projects_number() -> None:
    harbor = FakeHarbor()
    held = [{"resource": ".", "action": "read"}, {"resource": "member", "action": "create"}]
    harbor.always("GET /users/current/permissions", lambda: httpx.Response(200, json=held))
    callers = Callers2(harbor.session())
    for project in (P, Project("p")):
        assert callers.rights(project) == {Right("project", "read"), Right("member", "create")}
        assert harbor.requests[-1] == "GET /users/current/permissions?scope=%2Fproject%2F7&relative=true"
    harbor.always("GET /users/current/permissions", lambda: httpx.Response(200, text="null"))
    assert callers.rights(P) == frozenset()


def test_a_repositorys_name_is_encoded_twice_when_it_has_slashes() -> None:
    assert [encoded_repository(name) for name in ("app", "team/app", "a+b")] == ["app", "team%252Fapp", "a%2Bb"]
