from collections.abc import Iterator
from dataclasses import dataclass, field, replace

from imagepipe.access.read import read_access
from imagepipe.model.access import Project
from imagepipe.ports.administration import Administration, Projects
from tests.contract.harbor_memory import MemoryHarbor


@dataclass
class Counting:
    """Projects that count how often they are listed, as a whole and by name."""

    inner: Projects
    asked: list[str | None] = field(default_factory=list)

    def list(self, *, name: str | None = None) -> Iterator[Project]:
        self.asked.append(name)
        return self.inner.list(name=name)


def counted(names: list[str]) -> tuple[Administration, Counting]:
    admin = MemoryHarbor().administration()
    for name in names:
        admin.projects.create(name, {})
    counting = Counting(admin.projects)
    return replace(admin, projects=counting), counting  # type: ignore[arg-type]  # only listing is asked for


def test_many_projects_are_found_in_one_list_and_absent_ones_by_name() -> None:
    names = [f"team-{number}" for number in range(12)]
    admin, counting = counted(names)
    assert sorted(read_access([*names, "absent"], admin)) == sorted(names)
    assert counting.asked == [None, "absent"]


def test_a_few_projects_are_found_by_name() -> None:
    admin, counting = counted(["one", "two"])
    assert sorted(read_access(["one", "two", "one"], admin)) == ["one", "two"]
    assert counting.asked == ["one", "two"]
