"""Which requests the code can make of a Harbor, as its source says, and which function made the one under way.

>>> sites("imagepipe/harbor/client.py")["imagepipe.harbor.client.HarborClient.prove", "GET"]
1
"""

import ast
import sys
from collections import Counter
from collections.abc import Iterable, Iterator
from pathlib import Path
from types import FrameType

ROOT = Path(__file__).parents[2]
Site = tuple[str, str]
_BUILDERS = ("Call", "Listing")  # a Listing is always read by GET


def sites(*patterns: str) -> Counter[Site]:
    """Returns how many requests each function has in its source: by its full name, and by method."""
    found = Counter[Site]()
    for pattern in patterns:
        for file in sorted(ROOT.glob(pattern)):
            module = ".".join(file.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__")
            found.update(_of(ast.parse(file.read_text("utf-8")).body, module))
    return found


def _of(nodes: Iterable[ast.AST], name: str) -> Iterator[Site]:
    for node in nodes:
        if isinstance(node, ast.ClassDef):
            yield from _of(node.body, f"{name}.{node.name}")
        else:
            own = f"{name}.{node.name}" if isinstance(node, ast.FunctionDef) else name
            yield from ((own, method) for method in map(_method, ast.walk(node)) if method)


def _method(node: ast.AST) -> str:
    if not (isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id in _BUILDERS):
        return ""
    if node.func.id == "Listing":
        return "GET"
    assert isinstance(node.args[0], ast.Constant), f"line {node.lineno}: a request without a method of its own"
    return str(node.args[0].value)


def functions_under_way() -> Iterator[str]:
    """Yields the full names of the functions that are running; one inside another counts as the outer one."""
    frame: FrameType | None = sys._getframe(1)
    while frame is not None:
        module = frame.f_globals.get("__name__", "")
        yield f"{module}.{frame.f_code.co_qualname.partition('.<locals>')[0]}"
        frame = frame.f_back
