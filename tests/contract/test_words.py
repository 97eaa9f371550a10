"""Words: the project uses the standard terms of its field, and plain English.

`NAMES` are words that were replaced as names, `TEXT` words that no text uses. docs/development.md says how to write.
"""

import io
import re
import tokenize
from collections.abc import Iterator
from fnmatch import fnmatch
from functools import cache
from pathlib import Path
from typing import Final, NamedTuple

import pytest

from tests.contract.tables import ROOT

# Not migrations: they are checked by hash once they are applied.
FOLDERS: Final = ("gateway", "admin_api", "deploy", "docs", "loadtests", "tests")
FILES: Final = ("README.md", "CHANGELOG.md", "Makefile", "pyproject.toml", "deploy/Dockerfile", ".ci/run")
TEXT_SUFFIXES: Final = frozenset(
    {".py", ".md", ".lua", ".js", ".ts", ".mjs", ".sh", ".sql", ".toml", ".txt", ".yaml", ".yml"}
)
IGNORED_FOLDERS: Final = frozenset({"__pycache__", "node_modules", "recorded"})
# This file lists the words, loadtests/texts are samples of prose, and static/ is built of other projects' files.
IGNORED_FILES: Final = ("tests/contract/test_words.py", "loadtests/texts/*", "admin_api/portal/static/*")

# A part of a name (`hang_ups`, `told`), or a whole name (`=Standing`) -> its replacement.
NAMES: Final = {
    "wish": "input or query",
    "wishes": "inputs",
    "told": "reported, shown or audit_fields()",
    "notice": "notification or event",
    "notices": "notifications",
    "news": "events or notifications",
    "seal": "encrypt",
    "seals": "encryption",
    "sealed": "encrypted",
    "permit": "SessionQuota or realtime limits",
    "anew": "again",
    "refused_rows": "rejected_rows",
    "hang_ups": "disconnects",
    "meet_run": "record_redis_run",
    "saved_settings": "runtime_settings",
    "=LETTERS": "KIND_CODES",
    "=letters": "emails or email_texts",
    "=receivers": "webhook_urls",
    "=Patience": "Timeouts",
    "=Offer": "Subprotocols",
    "=Standing": "current_access",
    "=standing": "current_access",
    "=hearing": "is_listening",
    "=Parts": "Worker",
    "=readings": "usage_parsing",
    "=questions": "queries",
    "=families": "rollup_tables",
}
# The first part of a name -> its replacement.
PREFIXES: Final = {"view": "x_report or a schema", "MOST": "MAX_", "LONGEST": "MAX_", "LARGEST": "MAX_"}
# Modules: (folder, name) -> its replacement.
MODULES: Final = {
    ("*", "letters"): "email_texts",
    ("*", "notices"): "notifications",
    ("*", "news"): "events",
    ("*", "receivers"): "webhook_urls",
    ("*", "send"): "channels",
    ("*", "plans"): "reservation_plan",
    ("*", "turns"): "retry_pacing",
    ("*", "permit"): "limits",
    ("*", "parts"): "worker",
    ("*", "pieces"): "rollup_ranges",
    ("gateway/*", "places"): "max_in_flight",
    ("*", "views"): "schemas",
    ("*", "clock"): "scheduler",
    ("*", "seals"): "encryption",
    ("*", "trust"): "tls",
    ("*", "saved_settings"): "runtime_settings",
    ("admin_api/*", "checks"): "validation",
    ("admin_api/*", "words"): "parsing",
    ("gateway/*", "catalogue"): "endpoints/registry",
    ("admin_api/*", "catalogue"): "litellm_info",
    ("*", "questions"): "queries",
    ("*", "families"): "rollup_tables",
    ("*", "readings"): "usage_parsing",
    ("*", "refused_rows"): "rejected_rows",
    ("*", "hang_ups"): "disconnects",
    ("*", "trace"): "series",
}
# (Files, word) that stay, and why.
ALLOWED: Final = {
    ("*", "groups_told_at"): "a column of identities and a field of the API",
    ("gateway/storage/changes.py", "hearing"): "a field of the log event `hearing_changed`",
    ("deploy/embedded/model_server/*", "Offer"): "the tools a request offers to the model",
}
# Words of text -> their replacement.
TEXT: Final = {
    r"he": "they",
    r"his": "their",
    r"him": "them",
    r"himself": "themselves",
    r"anew": "again",
    r"whoever": "everybody who, or the noun",
    r"can not": "cannot",
    r"told": "reported, shown or sent",
    r"as it were": "nothing",
}
A_WORD: Final = re.compile(rf"(?<![\w'-])({'|'.join(TEXT)})(?![\w-])", re.IGNORECASE)
A_NAME: Final = re.compile(r"[^\W\d]\w*")
A_PART: Final = re.compile(r"[A-Z]+(?![a-z])|[A-Z]?[a-z0-9]+")


class Finding(NamedTuple):
    """A word that must not be there."""

    path: str
    line: int
    word: str
    replacement: str

    def __str__(self) -> str:
        return f"{self.path}:{self.line}: '{self.word}', write {self.replacement}"


def test_no_text_has_a_word_that_plain_english_replaces() -> None:
    found = [finding for path in text_files() for finding in words_in_text(path.read_text(), relative(path))]

    assert not found, "\n".join(map(str, found))


def test_no_name_is_a_word_that_a_standard_term_replaced() -> None:
    found = [finding for path in python_files() for finding in words_in_names(path.read_text(), relative(path))]

    assert not found, "\n".join(map(str, found))


def test_no_module_has_a_name_that_was_replaced() -> None:
    found = [finding for path in python_files() if (finding := word_of_module(relative(path)))]

    assert not found, "\n".join(map(str, found))


def test_all_source_is_read() -> None:
    read = {relative(path) for path in text_files()}

    assert {"gateway/proxy.py", "admin_api/cli/app.py", "docs/limits.md", "README.md", "Makefile"} <= read
    assert {"gateway/storage/counters/lua/reserve.lua", "deploy/compose.yaml", "tests/conftest.py"} <= read
    assert {relative(path).partition("/")[0] for path in text_files()} >= set(FOLDERS)


@pytest.mark.parametrize("word", ["he", "His", "him", "himself", "anew", "whoever", "can not", "told", "as it were"])
def test_a_planted_word_is_found_in_text(word: str) -> None:
    text = f'"""Sound."""\n\n# Nobody says {word} here.\nx = 1\n'

    assert [(one.line, one.word) for one in words_in_text(text, "gateway/x.py")] == [(3, word)]


@pytest.mark.parametrize("text", ["the heir", "this history", "she", "cannot", "Himalaya", "his-key", "a_his_b"])
def test_a_word_within_another_one_is_not_found(text: str) -> None:
    assert [*words_in_text(text, "gateway/x.py")] == []


@pytest.mark.parametrize("word", [*NAMES, *(f"{prefix}_X" for prefix in PREFIXES)])
def test_a_planted_name_is_found(word: str) -> None:
    name = word.removeprefix("=")

    assert [one.line for one in words_in_names(f"\nx = {name}\n", "gateway/x.py")] == [2]
    assert [*words_in_names(f"# {name}\nx = '{name}'\n", "gateway/x.py")] == []


@pytest.mark.parametrize(("folder", "name"), MODULES)
def test_a_planted_module_is_found(folder: str, name: str) -> None:
    path = f"{folder.replace('*', 'gateway/x').replace('gateway/gateway', 'gateway')}/{name}.py"

    assert word_of_module(path) is not None
    assert word_of_module(path.replace(name, "other")) is None


@pytest.mark.parametrize(("files", "name"), ALLOWED)
def test_an_allowed_name_is_used_in_its_files_only(files: str, name: str) -> None:
    used_in = [relative(path) for path in python_files() if re.search(rf"\b{name}\b", path.read_text())]

    assert any(fnmatch(path, files) for path in used_in)
    assert files == "*" or [*words_in_names(f"{name} = 1\n", "gateway/x.py")]


def words_in_text(text: str, path: str) -> Iterator[Finding]:
    """Of the changelog only what is not released yet: the rest is history."""
    if path == "CHANGELOG.md":
        text = "\n".join(text.split("\n## ")[:2])
    for number, line in enumerate(text.splitlines(), 1):
        for match in A_WORD.finditer(line):
            if not _is_allowed(match[0], path):
                yield Finding(path, number, match[0], TEXT[match[0].lower()])


def words_in_names(source: str, path: str) -> Iterator[Finding]:
    """Names of tests are sentences: only whole words that text must not have either are found in them."""
    if not any(map(_replacement_of, set(A_NAME.findall(source)))):
        # Reading tokens takes nearly all of the time: only where such a word stands at all, if only in a comment.
        return
    for token in tokenize.generate_tokens(io.StringIO(source).readline):
        if token.type == tokenize.NAME:
            replacement = _replacement_of(token.string)
            if replacement is not None and not _is_allowed(token.string, path):
                yield Finding(path, token.start[0], token.string, replacement)


def _is_allowed(name: str, path: str) -> bool:
    return any(name == word and fnmatch(path, files) for files, word in ALLOWED)


@cache
def _replacement_of(name: str) -> str | None:
    if f"={name}" in NAMES:
        return NAMES[f"={name}"]
    if name.startswith("test_"):
        words = re.search(rf"_({'|'.join(TEXT)})(?=_|$)".replace(" ", "_"), name)
        return TEXT[words[1].replace("_", " ")] if words else None
    parts = A_PART.findall(name)
    if len(parts) > 1 and parts[0] in PREFIXES:
        return PREFIXES[parts[0]]
    joined = "_".join(parts).lower()
    for word, replacement in NAMES.items():
        if re.search(rf"(?:^|_){re.escape(word)}(?:_|$)", joined):
            return replacement
    return None


def word_of_module(path: str) -> Finding | None:
    """A module, or a package, by its name."""
    folder, _, name = path.removesuffix("/__init__.py").removesuffix(".py").rpartition("/")
    for (pattern, word), replacement in MODULES.items():
        if name == word and fnmatch(f"{folder}/", f"{pattern.removesuffix('*')}*"):
            return Finding(path, 1, name, replacement)
    return None


def text_files() -> Iterator[Path]:
    for folder in FOLDERS:
        for path in sorted((ROOT / folder).rglob("*")):
            if path.suffix in TEXT_SUFFIXES and path.is_file() and not _is_ignored(path):
                yield path
    yield from (ROOT / name for name in FILES)


def python_files() -> Iterator[Path]:
    return (path for path in text_files() if path.suffix == ".py")


def relative(path: Path) -> str:
    return path.relative_to(ROOT).as_posix()


def _is_ignored(path: Path) -> bool:
    parts = path.relative_to(ROOT).parts
    return any(part in IGNORED_FOLDERS or part.startswith(".") for part in parts) or any(
        fnmatch(relative(path), pattern) for pattern in IGNORED_FILES
    )
