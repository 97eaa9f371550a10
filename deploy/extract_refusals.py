"""Finds the sentences with which operations, and the gateway, refuse, for the catalogues of their translations (`make
messages`).

A sentence is a literal, or an f-string whose values become {1}, {2}, … . It is written where it is raised, or assigned
to a name in the same function or module, or returned by a function of the module. https://babel.pocoo.org/en/latest/messages.html#writing-extraction-methods
"""

import ast
import re
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import IO, Any, Final

ROOT: Final = Path(__file__).parents[1]
# What makes a refusal: the place of the sentence among the arguments.
MAKERS: Final[Mapping[str, int]] = {
    "GatewayError": 1,
    "InvalidInput": 1,
    "invalid": 1,
    "invalid_now": 1,
    "rejected_login": 0,
}
# Of the gateway: sentences made of a limit's numbers, of which pages make their own.
SAID_BY_NUMBERS: Final = (Path("domain/refusals.py"),)
# More than any sentence has.
MAX_VALUES: Final = 100
FOLDERS: Final = ("operations", "web", "identity")
# Functions that make refusals of what they are given.
PASSED_ON: Final = ("invalid", "invalid_now", "rejected_login")


def extract(
    fileobj: IO[bytes], keywords: object, comment_tags: object, options: object
) -> Iterator[tuple[int, str, str, list[str]]]:
    """A method of extraction of Babel's."""
    for line, template in templates_in(fileobj.read().decode()):
        yield line, "gettext", template, []


def all_templates(admin_api: Path) -> set[str]:
    """Of the whole package."""
    return _of_files(file for folder in FOLDERS for file in (admin_api / folder).rglob("*.py"))


def gateway_templates(gateway: Path) -> set[str]:
    """Of the whole package, without SAID_BY_NUMBERS."""
    return _of_files(file for file in gateway.rglob("*.py") if file.relative_to(gateway) not in SAID_BY_NUMBERS)


def _of_files(files: Iterable[Path]) -> set[str]:
    return {template for file in files for _, template in templates_in(file.read_text())}


def templates_in(code: str) -> list[tuple[int, str]]:
    """Line and template of each refusal. Raises ValueError for one whose sentence cannot be found."""
    tree = ast.parse(code)
    found: list[tuple[int, str]] = []
    _search(tree, [_assigned(tree)], found)
    # Not those that are nothing but values.
    return [(line, template) for line, template in found if re.search("[a-z]", template)]


def _search(node: ast.AST, scopes: Sequence[Mapping[str, list[ast.expr]]], found: list[tuple[int, str]]) -> None:
    for child in ast.iter_child_nodes(node):
        inner = scopes
        if isinstance(child, ast.FunctionDef | ast.AsyncFunctionDef):
            if child.name in PASSED_ON:
                continue
            inner = [*scopes, _assigned(child)]
        sentence = _sentence_of(child)
        if sentence is not None:
            found += [(sentence.lineno, template) for template in _templates(sentence, inner)]
        _search(child, inner, found)


def _sentence_of(node: ast.AST) -> ast.expr | None:
    if not (isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id in MAKERS):
        return None
    place = MAKERS[node.func.id]
    if len(node.args) <= place:
        raise ValueError(f"line {node.lineno}: a refusal without a sentence")
    return node.args[place]


def _assigned(scope: ast.AST) -> Mapping[str, list[ast.expr]]:
    """What each name is set to; by functions within too, which is too much and does no harm."""
    found: dict[str, list[ast.expr]] = defaultdict(list)
    for node in ast.walk(scope):
        if isinstance(node, ast.ImportFrom) and node.module and node.module.startswith(("admin_api.", "gateway.")):
            for name in node.names:
                found[name.asname or name.name] += _constants(node.module).get(name.name, [])
        if isinstance(node, ast.FunctionDef):
            returned = [one.value for one in ast.walk(node) if isinstance(one, ast.Return)]
            found[f"{node.name}()"] += [one for one in returned if isinstance(one, ast.Constant | ast.JoinedStr)]
        targets: list[Any] = node.targets if isinstance(node, ast.Assign) else []
        if isinstance(node, ast.AnnAssign | ast.NamedExpr):
            targets = [node.target]
        value = getattr(node, "value", None)
        for target in targets:
            if isinstance(target, ast.Name) and isinstance(value, ast.expr):
                found[target.id].append(value)
    return found


@cache
def _constants(module: str) -> Mapping[str, list[ast.expr]]:
    """Those at the top of another module of ours; empty for a package."""
    path = ROOT / f"{module.replace('.', '/')}.py"
    tree = ast.parse(path.read_text()) if path.exists() else ast.Module([], [])
    return _assigned(ast.Module([node for node in tree.body if isinstance(node, ast.Assign | ast.AnnAssign)], []))


def _texts_within(
    parts: Sequence[ast.expr], scopes: Sequence[Mapping[str, list[ast.expr]]]
) -> Iterator[str | ast.expr]:
    """Of an f-string: its texts, and those of constants among its values that are more than one word, which are to be
    translated too."""
    for part in parts:
        match part:
            case ast.Constant(value=text):
                yield str(text)
            case ast.FormattedValue(value=ast.Name(id=name)) if name.isupper():
                match [value for scope in scopes for value in scope.get(name, [])]:
                    case [ast.Constant(value=str() as text)] if " " in text:
                        yield text
                    case [ast.JoinedStr(values=inner)]:
                        yield from _texts_within(inner, scopes)
                    case _:
                        yield part
            case _:
                yield part


def _templates(sentence: ast.expr, scopes: Sequence[Mapping[str, list[ast.expr]]]) -> list[str]:
    match sentence:
        case ast.Constant(value=str() as text):
            return [text]
        case ast.JoinedStr(values=parts):
            numbers = iter(range(1, MAX_VALUES))
            texts = _texts_within(parts, scopes)
            return ["".join(part if isinstance(part, str) else f"{{{next(numbers)}}}" for part in texts)]
        case ast.IfExp(body=one, orelse=other):
            return _templates(one, scopes) + _templates(other, scopes)
        case ast.Name(id=name):
            for scope in reversed(scopes):
                if name in scope:
                    return [template for value in scope[name] for template in _templates(value, scopes)]
        case ast.Call(func=ast.Name(id=name)) if any(scope.get(f"{name}()") for scope in scopes):
            return [text for value in scopes[0][f"{name}()"] for text in _templates(value, scopes)]
        case ast.Attribute() | ast.Call():
            # That of another refusal, which is found where it is made.
            return []
    raise ValueError(f"line {sentence.lineno}: the sentence of a refusal is no literal: {ast.unparse(sentence)}")
