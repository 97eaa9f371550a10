"""Lists the names that LiteLLM's own code reads from a dict or takes as an argument, by reading its source.

Providers' transformations (`llms/`) are left out: what they read goes to the model that was granted. So are types, and
what only logs after the call (`integrations/`).
"""

import ast
from collections.abc import Iterator
from pathlib import Path
from typing import Final

LEFT_OUT: Final = ("llms", "types", "integrations")
READERS: Final = frozenset({"get", "pop", "setdefault", "__getitem__"})


def list_reads(package: Path) -> dict[str, set[str]]:
    """Name → the modules that read it; `package` is the folder of the installed LiteLLM."""
    reads: dict[str, set[str]] = {}
    for file in sorted(package.rglob("*.py")):
        module = file.relative_to(package)
        if module.parts[0] in LEFT_OUT:
            continue
        for name in _names(ast.parse(file.read_bytes())):
            reads.setdefault(name, set()).add(module.with_suffix("").as_posix())
    return reads


def _names(tree: ast.AST) -> Iterator[str]:
    for node in ast.walk(tree):
        match node:
            case ast.Subscript(slice=ast.Constant(value=str(name)), ctx=ast.Load() | ast.Del()):
                yield name
            case ast.Call(func=ast.Attribute(attr=attr), args=[ast.Constant(value=str(name)), *_]) if attr in READERS:
                yield name
            case ast.Compare(left=ast.Constant(value=str(name)), ops=[ast.In() | ast.NotIn()]):
                yield name
            case ast.FunctionDef() | ast.AsyncFunctionDef():
                # A body is handed on as keyword arguments.
                yield from (argument.arg for argument in (*node.args.args, *node.args.kwonlyargs))
