"""Calls to copy are calls: each parses in its language and names the model as it is, whatever characters it has."""

import ast
import json
import shlex

import pytest

from admin_api.portal.model_texts import MODES
from admin_api.portal.snippets import CALLS, Snippet

NAMES = ("demo-chat", "team/model:1", "it's", 'a"b', "$HOME`id`\\", "ñ模")
MODES_AND_NONE = [*{*CALLS, *MODES}, "unknown", None]


@pytest.mark.parametrize("name", NAMES)
def test_a_call_with_curl(name: str) -> None:
    for mode in MODES_AND_NONE:
        snippet = Snippet("https://models.example.org/v1", name, mode)
        words = shlex.split(snippet.of("curl").replace("\\\n", ""))

        assert words[:2] == ["curl", f"https://models.example.org/v1/{snippet.call.path}"]
        if snippet.call.upload:
            assert f"model={name}" in words
        else:
            assert json.loads(words[words.index("-d") + 1]) == {"model": name, **snippet.call.body}


@pytest.mark.parametrize("name", NAMES)
def test_a_call_in_python(name: str) -> None:
    for mode in MODES_AND_NONE:
        for base_url in ("https://models.example.org/v1", None):
            tree = ast.parse(Snippet(base_url, name, mode).of("python"))

            texts = [one.value for one in ast.walk(tree) if isinstance(one, ast.Constant)]
            assert name in texts
            assert (base_url or "LITEMAAS_BASE_URL") in texts


@pytest.mark.parametrize("name", NAMES)
def test_a_call_in_javascript(name: str) -> None:
    for mode in MODES_AND_NONE:
        code = Snippet(None, name, mode).of("javascript")

        assert f'"model": {json.dumps(name, ensure_ascii=False)}' in code
        assert "process.env.LITEMAAS_BASE_URL" in code
        assert code.count("(") == code.count(")")


@pytest.mark.parametrize("text", ['it\'s "quoted"', "$HOME `id` \\", "two\nlines", "</script>😀"])
def test_a_call_of_what_a_person_typed(text: str) -> None:
    given = {"messages": [{"role": "user", "content": text}], "temperature": 0.5}
    snippet = Snippet("https://models.example.org/v1", "demo-chat", "chat", given)
    body = {"model": "demo-chat", **given}

    words = shlex.split(snippet.of("curl").replace("\\\n  -", "  -"))
    assert json.loads(words[words.index("-d") + 1]) == body
    texts = [one.value for one in ast.walk(ast.parse(snippet.of("python"))) if isinstance(one, ast.Constant)]
    assert text in texts
    assert json.dumps(body, ensure_ascii=False) in snippet.of("javascript")
