"""Recorded requests of clients have no secret, no text of their vendors, and nothing that changes between runs."""

import json
from typing import Any

from clients.recording import FOLDER, reduced, reduced_headers

BODY: dict[str, Any] = {
    "model": "demo-chat",
    "tools": [{"type": "function", "name": "exec", "description": "short", "strict": False, "max": 3}],
    "messages": [{"role": "user", "content": [{"type": "text", "text": "hello"}]}],
    "session": "01a2260e-92ae-76e3-ba68-039a4c685eae:0",
    "free": "a text of the vendor",
    "path": "/home/somebody",
    "store": None,
}


def test_field_names_and_types_stay_and_texts_become_their_length() -> None:
    assert reduced(BODY) == {
        "model": "demo-chat",
        "tools": [{"type": "function", "name": "exec", "description": "(5 characters)", "strict": False, "max": 3}],
        "messages": [{"role": "user", "content": [{"type": "text", "text": "(5 characters)"}]}],
        "session": "00000000-0000-7000-8000-000000000000:0",
        "free": "(20 characters)",
        "path": "(14 characters)",
        "store": None,
    }


def test_only_the_name_of_a_secret_header_stays() -> None:
    headers = {"Authorization": "Bearer sk-1", "X-Api-Key": "sk-2", "Host": "here", "anthropic-beta": "a-1,b-2"}

    assert reduced_headers(headers) == {
        "authorization": "(secret)",
        "x-api-key": "(secret)",
        "anthropic-beta": "a-1,b-2",
    }


def test_the_recordings_in_the_repository_are_reduced() -> None:
    assert {file.stem for file in FOLDER.glob("*.json")} == {"claude-code", "codex", "jdk"}
    assert "(secret)" in json.loads((FOLDER / "jdk.json").read_text())["head"]
    for name in ("claude-code", "codex"):
        for request in json.loads((FOLDER / f"{name}.json").read_text())["requests"]:
            assert request["headers"] == reduced_headers(request["headers"] | _secrets(request["headers"]))
            assert _texts_are_gone(request["body"]), request["way"]


def _secrets(headers: dict[str, str]) -> dict[str, str]:
    return {name: "sk-1" for name, value in headers.items() if value == "(secret)"}


def _texts_are_gone(value: Any) -> bool:
    if isinstance(value, dict):
        return all(map(_texts_are_gone, value.values()))
    if isinstance(value, list):
        return all(map(_texts_are_gone, value))
    return not isinstance(value, str) or value.endswith(" characters)") or not (" " in value or value.startswith("/"))
