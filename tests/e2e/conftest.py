"""One sandbox for all end-to-end tests, brought up and taken down by the command line itself."""

import shlex
import shutil
import tempfile
from collections.abc import Callable, Generator, Iterator
from contextlib import suppress
from pathlib import Path

import pytest

from imagepipe.sandbox.layout import Layout
from imagepipe.sandbox.processes import end_all
from tests.e2e.box import Box
from tests.e2e.cli import Cli, cool
from tests.e2e.images import hand_made
from tests.e2e.ledger import DOCKERFILE as PRINTS_ITS_PAGE
from tests.e2e.ledger import Ledger
from tests.e2e.traces import machine, traces
from tests.e2e.workspace import DOCKERFILE, Workspace
from tests.watching import watched

UP_S = 120.0
LOG_LINES, LOG_COLUMNS = 12, 400


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Lets the search for secrets come last among these tests: it reads what all the others left."""
    for folder in ("/tests/e2e/", "/tests/e2e_vic/"):  # each has its own sandbox
        here = [index for index, item in enumerate(items) if folder in item.path.as_posix()]
        ordered = sorted((items[index] for index in here), key=lambda item: item.path.name == "test_secrets.py")
        for index, item in zip(here, ordered, strict=True):
            items[index] = item


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """Shows, where a test failed, what the sandbox's processes said last: where it ran, nothing else may be left."""
    report = yield
    box = getattr(item, "funcargs", {}).get("box")
    if report.failed and isinstance(box, Box):
        logs = sorted((box.directory / "logs").glob("*.log"))
        report.sections += [(f"end of {log.name}", _end_of(log)) for log in logs]
    return report


def _end_of(log: Path) -> str:
    return "\n".join(line[:LOG_COLUMNS] for line in log.read_text(errors="replace").splitlines()[-LOG_LINES:])


@pytest.fixture(scope="session", autouse=True)
def cooled() -> Iterator[None]:
    """Ends what the commands were forks of before coverage is reported: what it imported counts."""
    yield
    cool()


@pytest.fixture(scope="package")
def folder() -> Iterator[Path]:
    """A short path: a sandbox's sockets allow no long one."""
    path = Path(tempfile.mkdtemp(prefix="e2e-"))
    with watched(path):
        yield path
    with suppress(FileNotFoundError):  # whoever watches takes it along where the tests were interrupted
        shutil.rmtree(path)


@pytest.fixture(scope="package")
def cli(folder: Path) -> Cli:
    """The command line; pointed at the sandbox as soon as `box` is up."""
    home = folder / "home"
    home.mkdir()
    return Cli(home)


@pytest.fixture(scope="package")
def flavour() -> str:
    """What sandbox is brought up."""
    return "harbor"


@pytest.fixture(scope="package")
def box(folder: Path, cli: Cli, flavour: str) -> Iterator[Box]:
    """The sandbox. When the last test is done it is taken down, and nothing of it may be left."""
    directory, before = folder / "box", machine()
    try:
        up = ("sandbox", "up", "--flavour", flavour, "--dir", str(directory), "--json")
        document = cli.run(*up, deadline_s=UP_S).ok().json()
        exports = cli.run("sandbox", "env", "--dir", str(directory)).ok().out.splitlines()
        cli.environ = dict(shlex.split(line)[1].split("=", 1) for line in exports)
        (folder / "tests").mkdir()
        made = Box(document, folder / "tests")
        made.let_harbor_fail()
        yield made
    finally:
        cli.environ = {}
        down = cli.run("sandbox", "down", "--dir", str(directory), "--json", deadline_s=UP_S)
        end_all((), world_id=Layout.at(directory).world_id)  # what tests started again is theirs to reap
    assert down.ok().json()["was_up"] is True
    assert traces(directory) == set()
    assert machine() == before


@pytest.fixture
def workspace(tmp_path: Path) -> Callable[..., Workspace]:
    """Makes a git repository with one pipeline of the given name."""

    def make(name: str, dockerfile: str = DOCKERFILE) -> Workspace:
        return Workspace.make(tmp_path / name, name, dockerfile=dockerfile)

    return make


@pytest.fixture
def ledger(box: Box, cli: Cli, workspace: Callable[..., Workspace], request: pytest.FixtureRequest) -> Ledger:
    """A repository of the test's own."""
    name = request.node.name.removeprefix("test_").replace("_", "-")[:40].rstrip("-")
    return Ledger(box, cli, workspace(name, PRINTS_ITS_PAGE))


@pytest.fixture(scope="package")
def signed(box: Box, cli: Cli) -> str:
    """An image that CI signed and nobody has promoted, pinned; tests that use it must be refused."""
    pinned = box.registry.push("es-sandbox/signed", "1", hand_made("signed"))
    cli.run("sign", pinned).ok()
    return pinned
