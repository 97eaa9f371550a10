"""Which error codes a function may raise, read from the code: those it names, and those of what it refers to.

It follows names through modules, not values: a code that is caught on the way counts as raised.
"""

import ast
from collections.abc import Iterator
from pathlib import Path
from typing import Final

ROOT: Final = Path(__file__).parents[2]
FOLDERS: Final = ("admin_api/routes", "admin_api/operations", "admin_api/identity", "gateway/domain")
ERROR: Final = "GatewayError"


class RaisedCodes:
    """The functions of the folders, by module and name."""

    def __init__(self) -> None:
        self._uses: dict[str, set[str]] = {}
        self._codes: dict[str, set[str]] = {}
        for folder in FOLDERS:
            for path in (ROOT / folder).rglob("*.py"):
                self._read(".".join(path.relative_to(ROOT).with_suffix("").parts), ast.parse(path.read_text()))

    def of(self, module: str, function: str) -> dict[str, str]:
        """Code -> the function that names it."""
        found: dict[str, str] = {}
        seen: set[str] = set()
        waiting = [f"{module}.{function}"]
        while waiting:
            name = waiting.pop()
            if name in seen or name not in self._uses:
                continue
            seen.add(name)
            found |= dict.fromkeys(self._codes[name], name)
            waiting += self._uses[name]
        return found

    def _read(self, module: str, tree: ast.Module) -> None:
        imported = {
            alias.asname or alias.name: f"{node.module}.{alias.name}"
            for node in ast.walk(tree)
            if isinstance(node, ast.ImportFrom)
            for alias in node.names
        }
        for node in ast.walk(tree):
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
                name = f"{module}.{node.name}"
                self._uses.setdefault(name, set()).update(_references(node, module, imported))
                self._codes.setdefault(name, set()).update(_codes(node))


def _references(function: ast.AST, module: str, imported: dict[str, str]) -> Iterator[str]:
    for node in ast.walk(function):
        if isinstance(node, ast.Name):
            yield imported.get(node.id, f"{module}.{node.id}")
        elif isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name):
            owner = module if node.value.id == "self" else imported.get(node.value.id, "")
            yield f"{owner}.{node.attr}"


def _codes(function: ast.AST) -> Iterator[str]:
    for node in ast.walk(function):
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id == ERROR and node.args:
            code = node.args[0]
            if isinstance(code, ast.Constant):
                yield str(code.value)
