"""What is told of a project where Harbor shows less than all."""

from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime

from imagepipe.access.explain import Facts, Image, explain
from imagepipe.access.facts import gather
from imagepipe.access.log import HEADINGS, Line
from imagepipe.errors import PermissionRefusedError
from imagepipe.model.access import AuditEntry, Member, Project, ProjectFacts, Robot
from imagepipe.ports.administration import Administration, Projects
from tests.contract.harbor_memory import NOW, MemoryHarbor

WEB = Image("es", "web", "1")


class ShyProjects:
    """Shows projects, but not what they hold."""

    def __init__(self, inner: Projects) -> None:
        self._inner = inner

    def list(self, *, name: str | None = None) -> Iterator[Project]:
        return self._inner.list(name=name)

    def facts(self, project: Project) -> ProjectFacts:
        raise PermissionRefusedError("what it holds is not for you")


class ShyMembers:
    """Shows nobody."""

    def list(self, project: Project) -> tuple[Member, ...]:
        raise PermissionRefusedError("its members are not for you")


class ShyRobots:
    """Shows no robots."""

    def list(self, project: Project | None) -> tuple[Robot, ...]:
        raise PermissionRefusedError("its robots are not for you")


def shy() -> Administration:
    admin = MemoryHarbor().administration()
    admin.projects.create("es", {})
    hidden = {"projects": ShyProjects(admin.projects), "membership": ShyMembers(), "robots": ShyRobots()}
    return replace(admin, **hidden)  # type: ignore[arg-type]  # only what is asked for here


def test_what_harbor_does_not_show_is_left_out_and_not_an_error() -> None:
    found = gather(WEB, shy(), push=True, who=None, now=NOW)
    assert found.project is not None
    assert found.project.name == "es"
    assert found.used_bytes is None
    assert found.robot is None


def test_an_image_that_nobody_can_see_yet_is_not_called_unsigned() -> None:
    facts = Facts(WEB, push=False, who="dana", now=NOW, project=Project("es", {"require_cosign": True}))
    assert explain(facts).kind != "unsigned"


def test_a_line_of_the_log_is_a_row_and_an_object() -> None:
    at = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)
    line = Line("es", AuditEntry(at, "dana", "push", "artifact", "es/web:1", succeeded=False))
    assert len(line.cells()) == len(HEADINGS)
    assert line.cells()[0] == "2026-01-02T03:04:05Z"
    assert line.cells()[-1] == "failed"
    document = line.to_json()
    assert document["project"] == "es"
    assert document["time"] == at.isoformat()
