"""Request bodies: decoded at the top level, checked, and encoded again, so that what is forwarded was checked."""

import re
from codecs import BOM_UTF8, getincrementaldecoder
from collections.abc import AsyncIterator, Callable, Sequence
from typing import Any, Final, Self

import msgspec

from gateway.domain.call_shapes import CallShape
from gateway.domain.encodings import NOT_UTF8, is_utf16
from gateway.domain.errors import GatewayError
from gateway.domain.prices import ANY_TIER, SERVICE_TIERS
from gateway.endpoints.allowed_fields import AllowedFields
from gateway.endpoints.application_metadata import shield_metadata
from gateway.endpoints.stored_items import StoredItems
from gateway.upstream.client import Body

# LiteLLM's own parser ends at about a thousand; no model's input needs more than a few.
MAX_DEPTH: Final = 100
MAX_CHOICES: Final = 128
# A body above this is not copied as a whole.
LARGE: Final = 1024 * 1024
CHUNK_BYTES: Final = 128 * 1024
MAX_TOKENS: Final = 100_000_000
MAX_MODEL_NAME: Final = 255
_TOKEN: Final = re.compile(rb'"(?:[^"\\]|\\.)*+"|[\[\]{}]')

# What may be a number that no float holds, once digits are 0 and e is e; in a text it is no number.
_LONG: Final = b"0" * 300
_EXPONENTS: Final = (b"0e000", b"0e+000")
_OVERLAP: Final = len(_LONG)
_NUMBER_SHAPE: Final = bytes(
    ord("0") if 48 <= byte < 58 else ord("e") if byte in b"eE" else byte if byte == ord("+") else ord(" ")
    for byte in range(256)
)
_NUMBER: Final = re.compile(rb'"(?:[^"\\]|\\.)*+"|-?\d[\d.]*+(?:[eE][+-]?\d+)?+')

REASONING_FIELDS: Final = frozenset({
    "reasoning", "reasoning_effort", "thinking", "think", "enable_thinking", "thinking_token_budget",
    "include_reasoning",
})  # fmt: skip
_NO_REASONING: Final = re.compile(rb'^(?:null|false|0|\{\})$|"(?:none|disabled)"|:\s*false')

Fields = dict[str, msgspec.Raw]
# Not made again for each call.
_COUNT: Final = int | None
_FLAG: Final = bool | None
_decode_top = msgspec.json.Decoder(Fields).decode
_encode = msgspec.json.Encoder().encode


class Call(CallShape, frozen=True, kw_only=True):
    """What a caller asks for, read from a checked body. `body` goes upstream."""

    model: str
    body: Body
    is_streamed: bool
    wants_usage: bool
    # Attachments or a stored conversation: the estimate of the prompt does not see them, so nothing is learned from it.
    hides_prompt: bool = False
    # The model may make output that the caller does not see.
    asks_to_reason: bool = False
    # Is free, and counts as no request: the bound on token counting stands in for the limits.
    counts_tokens: bool = False
    # The service tier, if the call is refused where the model's price has none for it.
    tier_to_price: str | None = None
    # The answer is stored at the provider, under the id that it has.
    is_stored: bool = False
    # The id of a stored answer, whose conversation is put before this prompt.
    continues: str | None = None
    # Items of the input that their ids complete at the provider.
    items: StoredItems | None = None

    @classmethod
    def without_prompt(cls, model: str, body: Body, **fields: Any) -> Self:
        """One answer, whole, to a body whose prompt is not counted in tokens."""
        return cls(
            model=model,
            body=body,
            is_streamed=False,
            wants_usage=True,
            prompt_tokens=0.0,
            prompt_bytes=0,
            maximum=0,
            choices=1,
            **fields,
        )


def decode_fields(body: bytes, path_model: str | None = None) -> Fields:
    """The top level of a JSON object; of a key sent twice, the last. `path_model` is named by the path, and stands in
    place of the body's. Raises `invalid_json` or `invalid_request`."""
    if not body:
        raise GatewayError("invalid_json", "The request body is empty; send a JSON object.")
    if body.startswith(BOM_UTF8):
        body = body[len(BOM_UTF8) :]  # a parser may ignore it (RFC 8259, section 8.1)
    check_utf8(body)
    try:
        fields = _decode_top(body)
    except msgspec.ValidationError:
        raise GatewayError("invalid_request", "The request body must be a JSON object.") from None
    except RecursionError:
        raise _too_deep() from None
    except msgspec.DecodeError as exc:
        raise GatewayError("invalid_json", f"The request body is not valid JSON: {exc}.") from None
    if body.count(b"[") + body.count(b"{") > MAX_DEPTH and _depth(body) > MAX_DEPTH:
        raise _too_deep()
    if has_long_number(body) and _has_endless_number(body):
        raise GatewayError("invalid_json", "The request body has a number that is too large to be one.")
    if path_model is not None:
        fields["model"] = msgspec.Raw(_encode(path_model))
    return fields


def check_utf8(body: bytes) -> None:
    """Raises `invalid_json`. A large body is looked at piece by piece: all of it as a text would be another copy."""
    if is_utf16(body[:2]):
        raise GatewayError("invalid_json", NOT_UTF8)
    if body.isascii():
        return
    decoder = getincrementaldecoder("utf-8")()
    view = memoryview(body)
    for start in range(0, len(body), LARGE):
        try:
            decoder.decode(view[start : start + LARGE], start + LARGE >= len(body))
        except UnicodeDecodeError as exc:
            raise GatewayError("invalid_json", f"The request body is not UTF-8 (byte {start + exc.start}).") from None


def has_long_number(body: bytes) -> bool:
    """Whether a number may be too large for a float: one of 300 digits, or with an exponent of three. A table and a
    search of bytes take a tenth of a regular expression's time. A large body is looked at piece by piece."""
    for start in range(0, len(body), LARGE):
        shape = body[start : start + LARGE + _OVERLAP].translate(_NUMBER_SHAPE)
        if len(shape) >= len(_LONG) and _LONG in shape:
            return True
        # Few texts have it: a digit and an e.
        if b"0e" in shape and any([exponent in shape for exponent in _EXPONENTS]):
            return True
    return False


def _has_endless_number(body: bytes) -> bool:
    """LiteLLM reads such a number as infinite, and fails when it writes it again."""
    numbers = (match[0] for match in _NUMBER.finditer(body) if not match[0].startswith(b'"'))
    return any(abs(float(number)) == float("inf") for number in numbers)


def _too_deep() -> GatewayError:
    return GatewayError("invalid_request", f"The request body is nested deeper than {MAX_DEPTH} levels.")


def _depth(body: bytes) -> int:
    deepest = depth = 0
    for match in _TOKEN.finditer(body):
        token = match[0]
        if token in (b"[", b"{"):
            depth += 1
            deepest = max(deepest, depth)
        elif token in (b"]", b"}"):
            depth -= 1
    return deepest


def encode_fields(fields: Fields, size: int | None = None) -> Body:
    """The object, encoded again, with each key once. `size` is that of the body it came in, where nothing large was put
    into it since."""
    if size is None or size > LARGE:
        size = sum([len(memoryview(raw)) for raw in fields.values()])
    return LargeBody(fields) if size > LARGE else _encode(fields)


class LargeBody:
    """The same, without a second copy of what the caller sent."""

    content_type = "application/json"

    def __init__(self, fields: Fields) -> None:
        self._parts: list[memoryview] = []
        for number, (name, raw) in enumerate(fields.items()):
            before = (b"," if number else b"{") + _encode(name) + b":"
            self._parts += [memoryview(before), memoryview(raw)]
        self._parts.append(memoryview(b"}"))
        self.size = sum(map(len, self._parts))

    async def chunks(self) -> AsyncIterator[memoryview]:
        """What is sent at once is copied: so never much of it."""
        for part in self._parts:
            for start in range(0, len(part), CHUNK_BYTES):
                yield part[start : start + CHUNK_BYTES]


def check_fields(endpoint: str, fields: Fields, allowed: AllowedFields) -> Sequence[Fields]:
    """Refuses what is not on the endpoint's list, and returns the tools; of `metadata`, nothing that steers LiteLLM is
    left."""
    tools = allowed.check(endpoint, fields)
    if "metadata" in fields:
        shield_metadata(endpoint, fields)
    return tools


_decoders: dict[Any, Callable[[msgspec.Raw], Any]] = {}


def read(fields: Fields, name: str, kind: Any, wording: str) -> Any:
    """One field as `kind`; None if it is absent. Raises `invalid_request` naming the field."""
    raw = fields.get(name)
    if raw is None:
        return None
    decode = _decoders.get(kind)
    if decode is None:
        decode = _decoders[kind] = msgspec.json.Decoder(kind).decode
    try:
        return decode(raw)
    except (msgspec.MsgspecError, RecursionError):
        raise GatewayError("invalid_request", f"'{name}' must be {wording}.", param=name) from None


def read_model(fields: Fields) -> str:
    """The model's name, exactly. Raises `invalid_request`."""
    return check_model_name(read(fields, "model", str, "a string") or "")


def check_model_name(model: str) -> str:
    """The name, if it can be one. Raises `invalid_request`."""
    if not model:
        raise GatewayError("invalid_request", "'model' is missing; name the model to call.", param="model")
    if "," in model:
        raise GatewayError("invalid_request", "'model' must name one model; commas are not allowed.", param="model")
    if len(model) > MAX_MODEL_NAME:
        message = f"'model' must be at most {MAX_MODEL_NAME} characters long."
        raise GatewayError("invalid_request", message, param="model")
    return model


def read_stream(fields: Fields) -> bool:
    """Whether a stream is asked for: a bool, for LiteLLM takes the string "true" for false."""
    return "stream" in fields and bool(read(fields, "stream", _FLAG, "true or false"))


def refuse_stream(fields: Fields) -> None:
    """Where LiteLLM streams nothing: it would answer whole, or fail once the model is paid for."""
    if read_stream(fields):
        message = "This endpoint does not stream here; leave 'stream' out."
        raise GatewayError("parameter_not_allowed", message, param="stream")


def read_service_tier(fields: Fields) -> str | None:
    """The service tier that is asked for; None: none, or one by which nothing is priced."""
    if "service_tier" not in fields:
        return None
    tier = read(fields, "service_tier", Any, "a text")
    return tier if isinstance(tier, str) and (tier in SERVICE_TIERS or tier == ANY_TIER) else None


def read_count(fields: Fields, name: str, upper_bound: int, lower_bound: int = 1) -> int | None:
    """A whole number within the bounds; None if absent or null."""
    if name not in fields:
        return None
    wording = f"a whole number from {lower_bound} to {upper_bound}"
    count = read(fields, name, _COUNT, wording)
    if count is not None and not lower_bound <= count <= upper_bound:
        message = f"'{name}' must be a whole number from {lower_bound} to {upper_bound}."
        raise GatewayError("invalid_request", message, param=name)
    return None if count is None else int(count)


def asks_to_reason(fields: Fields) -> bool:
    """Whether a field turns reasoning on, under any vendor's name."""
    if "chat_template_kwargs" in fields:
        kwargs = bytes(fields["chat_template_kwargs"])
        if b"thinking" in kwargs and not _NO_REASONING.search(kwargs):
            return True
    if REASONING_FIELDS.isdisjoint(fields):
        return False
    return any(not _NO_REASONING.search(bytes(fields[name])) for name in fields.keys() & REASONING_FIELDS)


def read_maximum(fields: Fields, names: tuple[str, ...], lower_bound: int = 1) -> int | None:
    """The call's bound on its completion: the least of the fields that set one."""
    maximum: int | None = None
    for name in names:
        if name in fields:
            count = read_count(fields, name, MAX_TOKENS, lower_bound)
            if count is not None and (maximum is None or count < maximum):
                maximum = count
    return maximum
