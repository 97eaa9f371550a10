"""The fields a caller may send, by endpoint. LiteLLM reads some thousand names from a body; only what is listed here
reaches it: allowed_fields.txt, made from the vendors' own request types, and what LITEMAAS_ALLOWED_FIELDS adds."""

import tomllib
from collections.abc import Callable, Iterable, Mapping, Sequence
from importlib.resources import files
from typing import Any, Final

import msgspec

from gateway.domain.errors import GatewayError
from gateway.domain.prices import SERVICE_TIERS
from gateway.endpoints.parameters import LITELLM_PARAMETERS, PARAMETER_PREFIXES
from gateway.endpoints.stored_files import ADDRESS_WORDS, EMBEDDING_WORDS, Words, holds_any, names_stored_file

SETTING: Final = "LITEMAAS_ALLOWED_FIELDS"
_FOLDER: Final = files("gateway.endpoints")
# Endpoint or `*`, `tools`, `content` → name → what it could do.
UNSAFE_FIELDS: Final[Mapping[str, Mapping[str, str]]] = tomllib.loads((_FOLDER / "unsafe_fields.toml").read_text())
MAX_NAME: Final = 100
# Of a tool: what may hold another tool, a file or a container. Schemas are the application's own, and not looked into.
_NESTED_IN_TOOLS: Final = frozenset({"container", "environment", "input_image_mask", "tools", "configs"})
# Where an attachment may name a file by its id. Citations do so too, and are only text to the model.
_ATTACHMENTS: Final = frozenset(
    {"file", "input_file", "input_image", "image", "document", "container_upload", "computer_screenshot"}
)
_NAMING_WORDS: Final = (b"file_id", b"item_reference", b"container_id", b"additional_tools", b"mcp_approval")
# Of fields that change what a token costs: the values at the model's price, or below it.
_VALUES: Final[Mapping[str, frozenset[str]]] = {
    "service_tier": frozenset({"auto", "default", "flex", "standard", "standard_only"}),
    "speed": frozenset({"standard"}),
    "inference_geo": frozenset({"global"}),
}
# Dearer values that pass where the model's price has one for them.
_PRICED: Final[Mapping[str, frozenset[str]]] = {"service_tier": frozenset(SERVICE_TIERS)}
_CONTENT: Final = ("messages", "input", "system")
_WORDS: Final = Words((*_NAMING_WORDS, *ADDRESS_WORDS))
_WORDS_OF_EMBEDDINGS: Final = Words((*_NAMING_WORDS, *EMBEDDING_WORDS))

Fields = dict[str, msgspec.Raw]
_decode_tools = msgspec.json.Decoder(list[Fields]).decode
_NULL: Final = b"null"


def _read_list() -> dict[str, frozenset[str]]:
    names: dict[str, set[str]] = {}
    for line in (_FOLDER / "allowed_fields.txt").read_text().splitlines()[1:]:
        endpoint, name, _ = line.split(" ", 2)
        names.setdefault(endpoint, set()).add(name)
    return {endpoint: frozenset(found) for endpoint, found in names.items()}


_LISTS: Final = _read_list()
# Endpoint → names, and `tools.<type>`.
LISTED_FIELDS: Final[Mapping[str, frozenset[str]]] = {name: _LISTS[name] for name in _LISTS if name != "tool_keys"}
# What a tool of any type may have. Any other key may be a tool itself: LiteLLM drops `type` beside one of Gemini's.
TOOL_KEYS: Final = _LISTS["tool_keys"]


def why_unsafe(endpoint: str, name: str) -> str | None:
    """What a field could do that no setting opens by accident; None: it is not known to do any harm."""
    section, _, inner = name.rpartition(".")
    if section:
        return UNSAFE_FIELDS.get(section, {}).get(inner)
    if name in LITELLM_PARAMETERS or name.startswith(PARAMETER_PREFIXES):
        return "LiteLLM: a parameter of its own"
    return UNSAFE_FIELDS["*"].get(name) or UNSAFE_FIELDS.get(endpoint, {}).get(name)


def parse_opened(text: str) -> frozenset[tuple[str, str]]:
    """`endpoint:name` or `endpoint:unsafe:name`, commas between. Raises ValueError."""
    opened = set()
    for item in filter(None, (part.strip() for part in text.split(","))):
        endpoint, _, name = item.partition(":")
        is_marked, name = name.startswith("unsafe:"), name.removeprefix("unsafe:")
        if endpoint not in LISTED_FIELDS or not name:
            raise ValueError(f"'{item}' is not <endpoint>:<field>; endpoints are {', '.join(sorted(LISTED_FIELDS))}")
        why = why_unsafe(endpoint, name)
        if why and not is_marked:
            raise ValueError(f"'{item}' is not safe ({why}); to open it all the same, write {endpoint}:unsafe:{name}")
        if is_marked and not why:
            raise ValueError(f"'{item}' is not known to be unsafe; write {endpoint}:{name}")
        opened.add((endpoint, name))
    return frozenset(opened)


def _report_nothing(_endpoint: str, _name: str) -> None:
    return None


class AllowedFields:
    """The lists of one gateway. `report(endpoint, field)` is called for each refused field."""

    def __init__(
        self,
        opened: Iterable[tuple[str, str]] = (),
        report: Callable[[str, str], None] = _report_nothing,
    ) -> None:
        self._opened = frozenset(opened)
        self._report = report
        self._names = {
            endpoint: names | {name for where, name in self._opened if where == endpoint}
            for endpoint, names in LISTED_FIELDS.items()
        }

    def check(self, endpoint: str, fields: Fields) -> Sequence[Fields]:
        """The tools of the body, decoded. Raises `parameter_not_allowed` naming the field and the setting;
        `invalid_request` for tools that are none.

        A field that is null is absent: one that is not listed is taken out."""
        names = self._names[endpoint]
        if not fields.keys() <= names:
            for name in [name for name in fields if name not in names]:
                if bytes(fields[name]) != _NULL:
                    raise self._refusal(endpoint, name)
                del fields[name]
        tools = self._check_tools(endpoint, fields["tools"]) if "tools" in fields else ()
        for name, known in _VALUES.items():
            if name not in fields:
                continue
            value = msgspec.json.decode(fields[name])
            is_known = isinstance(value, str) and (value in known or value in _PRICED.get(name, ()))
            if value is not None and not is_known:
                self.refuse(endpoint, f"values.{name}")
        for name in _CONTENT:
            raw = fields.get(name)
            if raw is None:
                continue
            if holds_any(raw, _WORDS_OF_EMBEDDINGS if endpoint == "embeddings" else _WORDS):
                value = msgspec.json.decode(raw)
                self._check_content(endpoint, value, "")
                if names_stored_file(value, is_embedded=endpoint == "embeddings"):
                    self.refuse(endpoint, "content.stored_file")
        return tools

    def tier_to_price(self, endpoint: str, fields: Fields) -> str | None:
        """The service tier of a body that was checked, if the model's price has to have one for it."""
        raw = fields.get("service_tier")
        tier = None if raw is None else msgspec.json.decode(raw)
        if not isinstance(tier, str) or tier not in _PRICED["service_tier"] - _VALUES["service_tier"]:
            return None
        return None if (endpoint, "values.service_tier") in self._opened else tier

    def refuse_tier(self, endpoint: str, model: str, tier: str) -> GatewayError:
        """The error for a service tier that the model's price does not have."""
        error = self._refusal(endpoint, "values.service_tier")
        advice = f"litemaas prices set --model '{model}' --tier 'input_per_million_usd@{SERVICE_TIERS[tier]}=…'"
        message = (
            f"The price of '{model}' has none for the service tier '{tier}', so it cannot be charged: leave it out. "
            f"An operator sets one ({advice}), or opens it at the usual price with "
            f"{SETTING}={endpoint}:unsafe:values.service_tier."
        )
        return GatewayError(error.code, message, param="service_tier")

    def check_names(self, endpoint: str, names: Iterable[str]) -> None:
        """The same for the names of a form's fields."""
        for name in names:
            if name not in self._names[endpoint]:
                raise self._refusal(endpoint, name)

    def refuse(self, endpoint: str, name: str) -> None:
        """Raises for a name that is in no list, unless it was opened."""
        if (endpoint, name) not in self._opened:
            raise self._refusal(endpoint, name)

    def _check_tools(self, endpoint: str, raw: msgspec.Raw) -> Sequence[Fields]:
        if bytes(memoryview(raw)[:4]) == _NULL:
            return ()
        try:
            tools: Sequence[Fields] = _decode_tools(raw)
        except (msgspec.MsgspecError, RecursionError):
            raise GatewayError("invalid_request", "'tools' must be a list of tools.", param="tools") from None
        for tool in tools:
            for kind in _types_of(tool):
                if f"tools.{kind}" not in self._names[endpoint]:
                    raise self._refusal(endpoint, f"tools.{kind}")
            if not tool.keys() <= TOOL_KEYS:
                self._check_other_keys(endpoint, tool)
            if not _NESTED_IN_TOOLS.isdisjoint(tool):
                self._check_nested_tools(endpoint, tool)
        return tools

    def _check_other_keys(self, endpoint: str, tool: Fields) -> None:
        for key in tool.keys() - TOOL_KEYS:
            if f"tools.{key}"[:MAX_NAME] not in self._names[endpoint] and bytes(tool[key]) != _NULL:
                raise self._refusal(endpoint, f"tools.{key}")

    def _check_nested_tools(self, endpoint: str, tool: Fields) -> None:
        for key in _NESTED_IN_TOOLS & tool.keys():
            if key == "tools":
                # Of a namespace: tools like any other.
                self._check_tools(endpoint, tool[key])
                continue
            value = msgspec.json.decode(tool[key])
            if key == "container" and isinstance(value, str):
                self.refuse(endpoint, "tools.container_id")
            self._check_nested_tool(endpoint, value)

    def _check_nested_tool(self, endpoint: str, value: Any) -> None:
        """What a tool holds: a container's files, an environment's skills, an image."""
        if isinstance(value, list):
            for item in value:
                self._check_nested_tool(endpoint, item)
        elif isinstance(value, dict):
            for key, inner in value.items():
                word = inner if key == "type" and isinstance(inner, str) else key
                if word in UNSAFE_FIELDS["tools"] and inner is not None:
                    self.refuse(endpoint, f"tools.{word}")
                if key not in ("parameters", "input_schema"):
                    self._check_nested_tool(endpoint, inner)

    def _check_content(self, endpoint: str, value: Any, key: str) -> None:
        """Bodies are at most MAX_DEPTH deep."""
        if isinstance(value, list):
            for item in value:
                self._check_content(endpoint, item, key)
        elif isinstance(value, dict):
            kind = value.get("type")
            if kind == "item_reference":
                self.refuse(endpoint, "content.item_reference")
            if kind == "mcp_approval_response":
                # It names a request that is stored, maybe another caller's.
                self.refuse(endpoint, "tools.mcp")
            if kind == "additional_tools" and value.get("tools") is not None:
                self._check_tools(endpoint, msgspec.Raw(msgspec.json.encode(value["tools"])))
            is_attachment = key == "file" or (isinstance(kind, str) and kind in _ATTACHMENTS)
            if is_attachment and value.get("file_id") is not None:
                self.refuse(endpoint, "content.file_id")
            if value.get("container_id") is not None:
                self.refuse(endpoint, "content.container_id")
            for name, inner in value.items():
                if isinstance(inner, dict | list):
                    self._check_content(endpoint, inner, name)

    def _refusal(self, endpoint: str, name: str) -> GatewayError:
        name = name[:MAX_NAME]
        self._report(endpoint, name)
        why = why_unsafe(endpoint, name)
        spelled = f"{endpoint}:unsafe:{name}" if why else f"{endpoint}:{name}"
        is_value, plain = name.startswith("values."), name.removeprefix("values.")
        what = f"This value of '{plain}'" if is_value else f"The field '{name}'"
        because = f" ({why})" if why else ""
        message = f"{what} is not allowed here; leave it out. An operator opens it with {SETTING}={spelled}{because}."
        param = "tools" if name.startswith("tools.") else plain
        return GatewayError("parameter_not_allowed", message, param=param)


def _types_of(tool: Fields) -> Iterable[str]:
    """The words that say what a tool is: its type; where it has none, its keys, unless it is a function by its name.

    Raises `invalid_request`."""
    raw = bytes(tool.get("type", _NULL))
    if raw != _NULL:
        kind = msgspec.json.decode(raw)
        if not isinstance(kind, str):
            raise GatewayError("invalid_request", "The 'type' of a tool must be a text.", param="tools")
        return (kind[:MAX_NAME],)
    if "name" in tool or "function" in tool:
        return ()
    return [key for key in tool if key != "type"]


ALLOWED_FIELDS: Final = AllowedFields()
