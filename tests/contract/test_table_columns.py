"""A20: every column of every table has a kind, so that no list cuts what the next command needs."""

import ast
from collections.abc import Iterator
from importlib import import_module
from pathlib import Path
from pkgutil import iter_modules
from types import ModuleType
from typing import Any, get_args

import pytest
from pydantic import BaseModel

import admin_api.cli
from admin_api.cli.columns import columns, kind_of

MODULES = [import_module(f"admin_api.cli.{module.name}") for module in iter_modules(admin_api.cli.__path__)]
# `details` names the columns of lists of objects by their fields; see the second test.
BY_FIELDS = ("admin_api.cli.tables",)


def calls_of(name: str, tree: ast.AST) -> Iterator[ast.Call]:
    for node in ast.walk(tree):
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id == name:
            yield node


def tree_of(module: ModuleType) -> ast.Module:
    return ast.parse(Path(str(module.__file__)).read_text())


def test_a20_lists_name_their_columns_when_they_are_imported() -> None:
    lists = 0
    for module in MODULES:
        tree = tree_of(module)
        named = {id(call) for call in calls_of("columns", tree)}
        in_functions = {
            id(call)
            for node in ast.walk(tree)
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
            for call in calls_of("columns", node)
        }
        lists += len(named)
        assert not in_functions or module.__name__ in BY_FIELDS, module.__name__
    # That many names were found in the table of kinds, or the imports above had failed.
    assert lists > 25


def shapes_in(annotation: Any) -> Iterator[type[BaseModel]]:
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        yield annotation
    for part in get_args(annotation):
        yield from shapes_in(part)


def shown_in_detail() -> Iterator[type[BaseModel]]:
    """The shapes that commands show a line for each field of."""
    for module in MODULES:
        for call in calls_of("show_details", tree_of(module)):
            view = call.args[0]
            if isinstance(view, ast.Call) and isinstance(view.func, ast.Attribute):
                yield getattr(module, ast.unparse(view.func.value))


def test_a20_lists_of_objects_in_details_have_columns_with_a_kind() -> None:
    waiting, seen = list(shown_in_detail()), set[type[BaseModel]]()
    assert len(waiting) > 8
    tables = 0
    while waiting:
        shape = waiting.pop()
        if shape in seen:
            continue
        seen.add(shape)
        for field in shape.model_fields.values():
            for below in shapes_in(field.annotation):
                waiting.append(below)
                if str(field.annotation).startswith("list["):
                    tables += 1
                    assert len(columns(*below.model_fields)) == len(below.model_fields)
    assert tables >= 4


def test_a20_a_column_without_a_kind_is_refused() -> None:
    for name in ("unheard_of", "unheard", ""):
        with pytest.raises(KeyError, match=r"admin_api/cli/columns\.py"):
            kind_of(name)
