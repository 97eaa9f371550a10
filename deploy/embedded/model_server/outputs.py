"""Generated output that is not text: the arguments of a tool call, and structured output."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import msgspec

from deploy.embedded.model_server.words import word

# A token of JSON.
CHARACTERS_A_TOKEN = 4
MAX_DEPTH = 12
ANY_OBJECT: dict[str, Any] = {"type": "object", "properties": {"answer": {"type": "string"}}}


@dataclass(frozen=True, slots=True, kw_only=True)
class Offer:
    """The tools and the schema that a caller offers the model."""

    tools: Mapping[str, Any]  # JSON schemas by name
    choice: str | None = None  # a tool that must be called
    schema: Mapping[str, Any] | None = None  # of the whole answer


@dataclass(frozen=True, slots=True)
class Written:
    """JSON, and the name of the tool whose arguments it is."""

    text: str
    tool: str | None = None

    @property
    def tokens(self) -> list[str]:
        return [self.text[i : i + CHARACTERS_A_TOKEN] for i in range(0, len(self.text), CHARACTERS_A_TOKEN)]


def read_offer(tools: Iterable[tuple[str, Any]], choice: Any, schema: Any, *, has_results: bool) -> Offer:
    """`choice` in the format of any vendor. Once the results are there, nothing has to be called any more, unless
    the caller names the tool."""
    offered = {name: value if isinstance(value, dict) else {} for name, value in tools}
    named = _named(choice)
    if choice == "none" or named == "none":
        return Offer(tools={}, schema=schema)
    if named in ("required", "any") and not has_results:
        named = next(iter(offered), None)
    return Offer(tools=offered, choice=named if named in offered else None, schema=schema)


def _named(choice: Any) -> str | None:
    """The name of a tool, or the word that stands for one."""
    if not isinstance(choice, dict):
        return choice if isinstance(choice, str) else None
    function = choice.get("function")
    name = function.get("name") if isinstance(function, dict) else choice.get("name", choice.get("type"))
    return name if isinstance(name, str) else None


def write(offer: Offer, asked: Mapping[str, str], seed: int, *, has_results: bool) -> Written | None:
    """The output, unless it is text: the required tool, else the one of the directive, else the structured output."""
    wanted = None if has_results else asked.get("tool")
    tool = offer.choice or (wanted if wanted in offer.tools else None)
    if tool:
        return Written(asked.get("arguments") or _json(example(offer.tools[tool], seed)), tool)
    return None if offer.schema is None else Written(_json(example(offer.schema, seed)))


def example(schema: Mapping[str, Any], seed: int) -> Any:
    """A value that is valid for the schema; supports the subset of JSON Schema that clients generate from types."""
    return _Examples(schema, seed).value(schema, 0)


class _Examples:
    def __init__(self, root: Mapping[str, Any], seed: int) -> None:
        self._root = root
        self._seed = seed
        self._made = 0

    def value(self, schema: Any, depth: int) -> Any:
        schema = self._resolved(schema)
        if "const" in schema:
            return schema["const"]
        if schema.get("enum"):
            return schema["enum"][0]
        for name in ("anyOf", "oneOf"):
            if schema.get(name):
                return self.value(self._smallest(schema[name], depth), depth)
        kind = schema.get("type")
        kind = kind[0] if isinstance(kind, list) else kind
        if kind == "object" or (kind is None and "properties" in schema):
            return self._object(schema, depth)
        if kind == "array":
            count = max(schema.get("minItems", 0), min(1, schema.get("maxItems", 1)) if depth < MAX_DEPTH else 0)
            return [self.value(schema.get("items", {"type": "string"}), depth + 1) for _ in range(count)]
        if kind in ("integer", "number"):
            return schema.get("minimum", schema.get("exclusiveMinimum", 6) + 1)
        if kind in ("boolean", "null"):
            return True if kind == "boolean" else None
        return self._string(schema) if kind == "string" else {}

    def _object(self, schema: Any, depth: int) -> dict[str, Any]:
        """All its properties; where it nests too deep, those it must have."""
        properties = schema.get("properties", {})
        names = properties if depth < MAX_DEPTH else schema.get("required", ())
        return {name: self.value(properties.get(name, {}), depth + 1) for name in names}

    def _string(self, schema: Any) -> str:
        self._made += 1
        text = word(self._seed, self._made).strip()
        return text.ljust(schema.get("minLength", 0), ".")[: schema.get("maxLength")]

    def _resolved(self, schema: Any) -> Mapping[str, Any]:
        for _ in range(MAX_DEPTH):
            if not isinstance(schema, dict):
                return {}
            target = schema.get("$ref")
            if not isinstance(target, str):
                break
            schema = self._root
            for name in target.removeprefix("#").strip("/").split("/"):
                schema = schema.get(name, {}) if name else schema
        if isinstance(schema, dict) and schema.get("allOf"):
            return {
                key: value for part in (schema, *map(self._resolved, schema["allOf"])) for key, value in part.items()
            }
        return schema if isinstance(schema, dict) else {}

    @staticmethod
    def _smallest(choices: list[Any], depth: int) -> Any:
        """The first; deep down, the end of a recursion if there is one."""
        ends = [one for one in choices if isinstance(one, dict) and one.get("type") == "null"]
        return ends[0] if ends and depth >= MAX_DEPTH else choices[0]


def _json(value: Any) -> str:
    return msgspec.json.encode(value).decode()
