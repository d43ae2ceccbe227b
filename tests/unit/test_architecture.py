"""Holds the floors: who imports whom, which foreign package lives where, and how large anything may grow.

Each rule is a function from a source text to complaints, so that samples below can show that it is able to fail.
"""

import ast
import re
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import pytest

PACKAGE = Path(__file__).parents[2] / "imagepipe"

FLOORS = (
    {"errors"},
    {"model", "problems"},
    {"events", "fanout", "once", "documents", "layers", "sections", "configfile", "envfile"},
    {"http", "ports", "settings"},
    {"registry", "harbor", "engine", "signing", "source"},
    {"evidence", "subject"},
    {"build", "promote", "access", "deploy", "doctor"},
    {"sandbox"},
    {"wiring"},
    {"cli"},
)
FLOOR = {room: number for number, rooms in enumerate(FLOORS) for room in rooms}
ADAPTERS = {"http", "registry", "harbor", "engine", "signing", "source"}
USE_CASES = {"evidence", "build", "promote", "access", "deploy", "doctor"}

# Which rooms may import a foreign package; the sandbox may use what it needs.
SEALED = {
    "docker": {"engine"},
    "requests": {"engine"},
    "urllib3": {"engine"},
    "sigstore": {"signing"},
    "sigstore_models": {"signing"},
    "cryptography": {"signing", "engine", "http"},  # engine, http: what certificates say
    "httpx": {"http", "registry", "harbor"},
    "tenacity": {"http"},
    "typer": {"cli"},
    "click": {"cli"},
    "rich": {"cli"},
    "pydantic_settings": {"settings"},
    "yaml": {"documents"},
    "tomlkit": {"configfile"},
    "starlette": {"cli"},  # only to see whether the sandbox's extra is installed
    "uvicorn": {"cli"},
    "rfc8785": set[str](),
}
# What could make a value depend on anything but its arguments.
IMPURE_MODULES = {
    "glob", "http", "io", "os", "pydantic", "random", "secrets", "shutil", "socket", "subprocess", "tempfile",
    "threading", "time", "urllib", "uuid",
}  # fmt: skip
IMPURE_CALLS = {
    "cwd", "exists", "expanduser", "glob", "home", "is_dir", "is_file", "iterdir", "mkdir", "now", "open", "read_bytes",
    "read_text", "resolve", "stat", "today", "unlink", "utcnow", "write_bytes", "write_text",
}  # fmt: skip
LOUD = {
    "print", "input", "exit", "quit", "breakpoint", "sys.exit", "os._exit", "getpass.getpass", "sys.stdout.write",
    "sys.stderr.write", "logging.basicConfig", "logging.config.dictConfig", "logging.config.fileConfig",
}  # fmt: skip
THREADS = {"Thread", "Timer", "ThreadPoolExecutor", "ProcessPoolExecutor", "Pool"}

# Read once: every rule walks every module.
SOURCES: list["Source"] = []

MAX_LINES, MAX_STATEMENTS, MAX_METHODS, MAX_PROTOCOL_METHODS = 350, 40, 15, 5


@dataclass(frozen=True)
class Source:
    """One module: its dotted name and its text."""

    name: str
    text: str

    @classmethod
    def at(cls, path: Path) -> "Source":
        parts = path.relative_to(PACKAGE.parent).with_suffix("").parts
        return cls(".".join(parts).removesuffix(".__init__"), path.read_text())

    @cached_property
    def tree(self) -> ast.Module:
        return ast.parse(self.text)

    @cached_property
    def nodes(self) -> list[ast.AST]:
        return list(ast.walk(self.tree))

    @cached_property
    def imported(self) -> list[tuple[int, str]]:
        """The line and full dotted name of everything imported, lazily, for types, or by a function."""
        return list(_imports(self.nodes))

    @property
    def room(self) -> str:
        """The part of the name that has a floor; empty at the edges (`imagepipe`, `imagepipe.__main__`)."""
        room = f"{self.name}.".split(".")[1]
        return "" if room == "__main__" else room

    @property
    def is_door(self) -> bool:
        return self.room == "cli" or self.name.endswith(".__main__")


def _imports(nodes: Iterable[ast.AST]) -> Iterator[tuple[int, str]]:
    for node in nodes:
        if isinstance(node, ast.Import):
            yield from ((node.lineno, alias.name) for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and not node.level:
            yield from ((node.lineno, f"{node.module}.{alias.name}") for alias in node.names)
        elif isinstance(node, ast.Call) and ast.unparse(node.func) in ("__import__", "importlib.import_module"):
            named = node.args[0] if node.args else None
            yield node.lineno, str(named.value) if isinstance(named, ast.Constant) else "(unknown at reading)"


def rooms_imported(source: Source) -> Iterator[tuple[int, str]]:
    for line, name in source.imported:
        package, _, rest = name.partition(".")
        if package == "imagepipe" and not rest.startswith("__"):
            yield line, rest.split(".")[0]


def imports_go_downwards(source: Source) -> Iterator[str]:
    if not source.room:
        return
    own = FLOOR.get(source.room)
    if own is None:
        yield f"{source.name}: room {source.room!r} has no floor"
        return
    for line, room in rooms_imported(source):
        if room != source.room and FLOOR.get(room, len(FLOORS)) >= own:
            yield f"{source.name}:{line}: {source.room} (floor {own}) imports {room} (floor {FLOOR.get(room)})"


def use_cases_know_only_ports(source: Source) -> Iterator[str]:
    if source.room in USE_CASES:
        for line, room in rooms_imported(source):
            if room in ADAPTERS:
                yield f"{source.name}:{line}: a use case imports the adapter {room}"


def nobody_imports_the_sandbox(source: Source) -> Iterator[str]:
    if source.room not in ("sandbox", "cli"):
        yield from (
            f"{source.name}:{line}: imports sandbox" for line, room in rooms_imported(source) if room == "sandbox"
        )


def foreign_packages_are_sealed(source: Source) -> Iterator[str]:
    for line, name in source.imported:
        package = name.split(".")[0]
        if package == "(unknown at reading)":
            yield f"{source.name}:{line}: imports something that cannot be told by reading"
        if source.room != "sandbox" and package in SEALED and source.room not in SEALED[package]:
            yield f"{source.name}:{line}: {package} belongs into {', '.join(sorted(SEALED[package])) or 'sandbox'}"


def imports_are_absolute(source: Source) -> Iterator[str]:
    for node in source.nodes:
        if isinstance(node, ast.ImportFrom) and node.level:
            yield f"{source.name}:{node.lineno}: relative import"


def library_is_silent(source: Source) -> Iterator[str]:
    if source.is_door:
        return
    for node in source.nodes:
        if isinstance(node, ast.Call) and ast.unparse(node.func) in LOUD:
            yield f"{source.name}:{node.lineno}: calls {ast.unparse(node.func)}"
        elif isinstance(node, ast.Raise) and node.exc and ast.unparse(node.exc).startswith("SystemExit"):
            yield f"{source.name}:{node.lineno}: raises SystemExit"


def model_is_pure(source: Source) -> Iterator[str]:
    if source.room != "model":
        return
    for line, name in source.imported:
        if name.split(".")[0] in IMPURE_MODULES:
            yield f"{source.name}:{line}: imports {name}"
    for node in source.nodes:
        if isinstance(node, ast.Call):
            called = node.func.attr if isinstance(node.func, ast.Attribute) else ast.unparse(node.func)
            if called in IMPURE_CALLS:
                yield f"{source.name}:{node.lineno}: calls {ast.unparse(node.func)}"


def threads_start_in_fanout(source: Source) -> Iterator[str]:
    if source.room in ("fanout", "sandbox"):
        return
    for node in source.nodes:
        if isinstance(node, ast.Call) and ast.unparse(node.func).split(".")[-1] in THREADS:
            yield f"{source.name}:{node.lineno}: starts {ast.unparse(node.func)}"


def nothing_grows_too_large(source: Source) -> Iterator[str]:
    lines = len(source.text.splitlines())
    if lines > MAX_LINES:
        yield f"{source.name}: {lines} lines, at most {MAX_LINES}"
    for node in source.nodes:
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            statements = sum(isinstance(inner, ast.stmt) for inner in ast.walk(node)) - 1
            if statements > MAX_STATEMENTS:
                yield f"{source.name}:{node.lineno}: {node.name} has {statements} statements, at most {MAX_STATEMENTS}"
        elif isinstance(node, ast.ClassDef):
            yield from _too_many_methods(source, node)


def _too_many_methods(source: Source, node: ast.ClassDef) -> Iterator[str]:
    methods = sum(
        isinstance(inner, ast.FunctionDef | ast.AsyncFunctionDef)
        and not inner.name.startswith("_")
        and "property" not in {ast.unparse(decorator) for decorator in inner.decorator_list}
        for inner in node.body
    )
    bases = {re.split(r"[.\[]", ast.unparse(base).removeprefix("typing."))[0] for base in node.bases}
    limit = MAX_PROTOCOL_METHODS if "Protocol" in bases else MAX_METHODS
    if methods > limit:
        yield f"{source.name}:{node.lineno}: {node.name} has {methods} public methods, at most {limit}"


def public_names_are_listed(source: Source) -> Iterator[str]:
    """A public module with functions or classes has `__all__`, and each name in it exists; the sandbox is private."""
    listed: list[str] | None = None
    defined = set[str]()
    speaks = False
    for node in source.tree.body:
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
            defined.add(node.name)
            speaks = speaks or not node.name.startswith("_")
        elif isinstance(node, ast.Import | ast.ImportFrom):
            defined.update((alias.asname or alias.name).split(".")[0] for alias in node.names)
        elif isinstance(node, ast.Assign | ast.AnnAssign):
            targets = node.targets if isinstance(node, ast.Assign) else [node.target]
            names = {name.id for target in targets for name in ast.walk(target) if isinstance(name, ast.Name)}
            defined |= names
            if "__all__" in names and node.value is not None:
                listed = list(ast.literal_eval(node.value))
    private = source.room == "sandbox" or any(part.startswith("_") for part in source.name.split("."))
    if listed is None and speaks and not private:
        yield f"{source.name}: no __all__"
    for name in listed or ():
        if name not in defined:
            yield f"{source.name}: __all__ names {name!r}, which is not there"


RULES: tuple[Callable[[Source], Iterator[str]], ...] = (
    imports_go_downwards,
    use_cases_know_only_ports,
    nobody_imports_the_sandbox,
    foreign_packages_are_sealed,
    imports_are_absolute,
    library_is_silent,
    model_is_pure,
    threads_start_in_fanout,
    nothing_grows_too_large,
    public_names_are_listed,
)


@pytest.mark.parametrize("rule", RULES, ids=lambda rule: rule.__name__)
def test_every_module_keeps_the_rule(rule: Callable[[Source], Iterator[str]]) -> None:
    if not SOURCES:
        SOURCES.extend(Source.at(path) for path in sorted(PACKAGE.rglob("*.py")))
    assert len(SOURCES) > 20
    complaints = [complaint for source in SOURCES for complaint in rule(source)]
    assert complaints == []


BAD: tuple[tuple[Callable[[Source], Iterator[str]], str, str], ...] = (
    (imports_go_downwards, "imagepipe.model.digest", "import imagepipe.events"),
    (imports_go_downwards, "imagepipe.model.digest", "from imagepipe import cli"),
    (imports_go_downwards, "imagepipe.registry.client", "from imagepipe.harbor.client import Harbor"),
    (imports_go_downwards, "imagepipe.promote.plan", "def f():\n    from imagepipe.build import load"),
    (imports_go_downwards, "imagepipe.http.client", "import importlib\nimportlib.import_module('imagepipe.wiring')"),
    (imports_go_downwards, "imagepipe.fanout", "from imagepipe.nowhere import x"),
    (imports_go_downwards, "imagepipe.cellar.wine", ""),
    (use_cases_know_only_ports, "imagepipe.promote.execute", "from imagepipe.registry.client import Registry"),
    (nobody_imports_the_sandbox, "imagepipe.wiring", "def f():\n    import imagepipe.sandbox.world"),
    (nobody_imports_the_sandbox, "imagepipe.__main__", "from imagepipe.sandbox import world"),
    (foreign_packages_are_sealed, "imagepipe.promote.plan", "import docker"),
    (foreign_packages_are_sealed, "imagepipe.registry.client", "def f():\n    from requests.auth import AuthBase"),
    (foreign_packages_are_sealed, "imagepipe.cli.main", "import yaml"),
    (foreign_packages_are_sealed, "imagepipe.cli.main", "__import__('sigstore.sign')"),
    (foreign_packages_are_sealed, "imagepipe.cli.main", "__import__(name)"),
    (foreign_packages_are_sealed, "imagepipe.cli.main", "import rfc8785"),
    (imports_are_absolute, "imagepipe.model.digest", "from . import media"),
    (library_is_silent, "imagepipe.build.runner", "print('hello')"),
    (library_is_silent, "imagepipe.build.runner", "import sys\nsys.exit(1)"),
    (library_is_silent, "imagepipe.build.runner", "raise SystemExit(1)"),
    (library_is_silent, "imagepipe.build.runner", "import logging\nlogging.basicConfig()"),
    (library_is_silent, "imagepipe.build.runner", "answer = input()"),
    (model_is_pure, "imagepipe.model.digest", "import os"),
    (model_is_pure, "imagepipe.model.digest", "from time import time"),
    (model_is_pure, "imagepipe.model.digest", "from datetime import datetime\ndatetime.now()"),
    (model_is_pure, "imagepipe.model.digest", "from pathlib import Path\nPath('x').read_text()"),
    (model_is_pure, "imagepipe.model.digest", "open('x')"),
    (threads_start_in_fanout, "imagepipe.promote.execute", "import threading\nthreading.Thread(target=f)"),
    (nothing_grows_too_large, "imagepipe.model.digest", "\n" * 351),
    (nothing_grows_too_large, "imagepipe.model.digest", "def f():\n" + "    x = 1\n" * 41),
    (nothing_grows_too_large, "imagepipe.x", "class A:\n" + "".join(f"    def m{n}(self): ...\n" for n in range(16))),
    (
        nothing_grows_too_large,
        "imagepipe.ports",
        "class A(Protocol):\n" + "".join(f"    def m{n}(self): ...\n" for n in range(6)),
    ),
    (
        nothing_grows_too_large,
        "imagepipe.ports",
        "class A(typing.Protocol[T]):\n" + "".join(f"    def m{n}(self): ...\n" for n in range(6)),
    ),
    (public_names_are_listed, "imagepipe.model.digest", "class Digest: ..."),
    (public_names_are_listed, "imagepipe.model.digest", "__all__ = ['Gone']"),
)


@pytest.mark.parametrize(("rule", "name", "text"), BAD)
def test_each_rule_can_fail(rule: Callable[[Source], Iterator[str]], name: str, text: str) -> None:
    assert len(list(rule(Source(name, text)))) == 1


GOOD: tuple[tuple[str, str], ...] = (
    ("imagepipe.model.digest", "from imagepipe.errors import InputError\nfrom imagepipe.model import media"),
    (
        "imagepipe.registry.client",
        "import httpx\nfrom imagepipe import __version__\nfrom imagepipe.http.client import x",
    ),
    ("imagepipe.wiring", "from imagepipe.registry.client import x\nfrom imagepipe.promote.plan import y"),
    ("imagepipe.cli.main", "import sys, typer\nfrom imagepipe.sandbox import world\nprint('x')\nsys.exit(0)"),
    ("imagepipe.__main__", "import sys\nfrom imagepipe.cli.main import run\nsys.exit(run())"),
    ("imagepipe.sandbox.vch.app", "import starlette, docker\nimport threading\nthreading.Thread()"),
    ("imagepipe.fanout", "__all__ = ['each']\ndef each(): return ThreadPoolExecutor()"),
    ("imagepipe.model.media", "X = 1\ndef _private(): ..."),
    ("imagepipe.engine._stream", "def helper(): ..."),
    (
        "imagepipe.ports",
        "__all__ = ['A']\nclass A(Protocol):\n" + "".join(f"    def m{n}(self): ...\n" for n in range(5)),
    ),
)


@pytest.mark.parametrize(("name", "text"), GOOD)
def test_no_rule_complains_about_what_is_allowed(name: str, text: str) -> None:
    assert [complaint for rule in RULES for complaint in rule(Source(name, text))] == []
