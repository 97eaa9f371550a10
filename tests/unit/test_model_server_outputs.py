"""JSON that the model server generates: tool arguments and structured outputs."""

import json
from typing import Any

import jsonschema
import pytest

from deploy.embedded.model_server.outputs import example, read_offer, write
from deploy.embedded.model_server.plan import Pace, Prompt, plan

WEATHER: dict[str, Any] = {
    "type": "object",
    "properties": {"city": {"type": "string"}, "unit": {"enum": ["celsius", "kelvin"]}, "days": {"type": "integer"}},
    "required": ["city", "unit"],
    "additionalProperties": False,
}
TREE: dict[str, Any] = {
    "$defs": {
        "Node": {
            "type": "object",
            "properties": {"name": {"type": "string"}, "next": {"anyOf": [{"$ref": "#/$defs/Node"}, {"type": "null"}]}},
            "required": ["name", "next"],
        }
    },
    "$ref": "#/$defs/Node",
}
SCHEMAS: dict[str, Any] = {
    "weather": WEATHER,
    "tree": TREE,
    "bounds": {
        "type": "object",
        "properties": {
            "list": {"type": "array", "items": {"type": "number", "minimum": 3}, "minItems": 2, "maxItems": 3},
            "none": {"type": "array", "items": {"type": "string"}, "maxItems": 0},
            "text": {"type": "string", "minLength": 20},
            "short": {"type": "string", "maxLength": 1},
            "maybe": {"type": ["string", "null"]},
            "flag": {"const": "yes"},
            "both": {"allOf": [{"type": "object"}, {"properties": {"a": {"type": "boolean"}}, "required": ["a"]}]},
        },
        "required": ["list", "none", "text", "short", "maybe", "flag", "both"],
    },
    "nothing asked": {},
}
TOOLS = [("weather", WEATHER), ("other", {})]


@pytest.mark.parametrize("schema", SCHEMAS.values(), ids=SCHEMAS)
@pytest.mark.parametrize("seed", [0, 7, 4_000_000_000])
def test_a_generated_example_is_valid_for_its_schema(schema: dict[str, Any], seed: int) -> None:
    jsonschema.validate(example(schema, seed), schema)


@pytest.mark.parametrize(
    ("choice", "asked", "has_results", "called"),
    [
        ("auto", {}, False, None),
        ("auto", {"tool": "other"}, False, "other"),
        ("auto", {"tool": "other"}, True, None),
        ("auto", {"tool": "of nobody"}, False, None),
        ("none", {"tool": "other"}, False, None),
        ({"type": "none"}, {"tool": "other"}, False, None),
        ("required", {}, False, "weather"),
        ("required", {}, True, None),
        ({"type": "any"}, {}, False, "weather"),
        ({"type": "function", "function": {"name": "other"}}, {}, False, "other"),
        ({"type": "function", "name": "other"}, {}, True, "other"),
        ({"type": "tool", "name": "other"}, {"tool": "weather"}, False, "other"),
    ],
)
def test_a_tool_is_called_if_required_or_named_in_the_prompt(
    choice: Any, asked: dict[str, str], has_results: bool, called: str | None
) -> None:
    offer = read_offer(TOOLS, choice, None, has_results=has_results)

    written = write(offer, asked, 0, has_results=has_results)

    assert (written.tool if written else None) == called


def test_output_costs_a_token_for_four_characters_and_ends_at_max_tokens() -> None:
    offer = read_offer([], None, WEATHER, has_results=False)

    whole = plan({}, Prompt("Hello [reasoning=3]", 5, offer=offer), Pace(), "id")
    cut = plan({}, Prompt("Hello [reasoning=3]", 5, 8, offer=offer), Pace(), "id")

    jsonschema.validate(json.loads(whole.text), WEATHER)
    assert whole.completion_tokens == 3 + -(-len(whole.text) // 4)
    assert (cut.completion_tokens, cut.finish_reason, cut.text) == (8, "length", whole.text[:20])
