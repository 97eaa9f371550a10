"""Routes of one stored response: read, delete or cancel it, list the items of its input.
https://platform.openai.com/docs/api-reference/responses

They count as a request and cost nothing. The id in the path is sent on only once it is known whose it is."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Final, Literal, get_args
from urllib.parse import parse_qsl, quote

import msgspec

from gateway.domain.errors import GatewayError
from gateway.endpoints.answer_forms import AnswerForm
from gateway.endpoints.registry import Declaration, read_nothing
from gateway.endpoints.requests import Call
from gateway.endpoints.routes import spellings

NAME: Final = "stored_responses"
PREFIX: Final = "/v1/responses/"
PREFIXES: Final = spellings(PREFIX, "openai")
MAX_ITEMS: Final = 100
MAX_CURSOR: Final = 200

Method = Literal["GET", "DELETE", "POST"]
Order = Literal["asc", "desc"]
_decode = msgspec.json.Decoder(dict[str, msgspec.Raw]).decode


@dataclass(frozen=True, slots=True)
class StoredRoute:
    """`suffix` follows the id in the path."""

    suffix: str
    methods: tuple[Method, ...]

    @property
    def path(self) -> str:
        """As it is documented and logged."""
        return f"{PREFIX}{{id}}{self.suffix}"


RESPONSE: Final = StoredRoute("", ("GET", "DELETE"))
CANCEL: Final = StoredRoute("/cancel", ("POST",))
INPUT_ITEMS: Final = StoredRoute("/input_items", ("GET",))
# A response, one that failed too; what was deleted; a list.
STORED: Final = AnswerForm(("id", "data"))
STORED_ROUTES: Final = (CANCEL, INPUT_ITEMS, RESPONSE)


def find_stored_route(path: str, method: str | None = None) -> tuple[StoredRoute, str] | None:
    """The route and the response's id, which may hold slashes; None: it is another path, or not this method."""
    for prefix in PREFIXES:
        if path.startswith(prefix):
            rest = path[len(prefix) :]
            for route in STORED_ROUTES:
                if rest.endswith(route.suffix) and len(rest) > len(route.suffix):
                    is_served = method is None or method in route.methods
                    return (route, rest[: len(rest) - len(route.suffix)]) if is_served else None
    return None


def new_declaration(route: StoredRoute, method: Method, response_id: str) -> Declaration:
    """As what this one call is forwarded."""
    return Declaration(
        name=NAME,
        path=f"{PREFIX}{quote(response_id, safe='')}{route.suffix}",
        method=method,
        answer=STORED,
        read_answer=read_nothing,
        rewrite=_name_as(response_id),
    )


def new_call(model: str, route: StoredRoute, query: bytes) -> Call:
    """Raises GatewayError with a 400 for what cannot be asked for."""
    body = b"{}" if route is CANCEL else b""
    asked = parse_qsl(query.decode("latin-1"), keep_blank_values=True)
    if route is INPUT_ITEMS and (page := _read_page(asked)):
        # LiteLLM reads these from the body, also of a GET.
        body = msgspec.json.encode(page)
    if route is RESPONSE and dict(asked).get("stream", "false").lower() not in ("false", "0", ""):
        message = "A stored response is not streamed here; leave 'stream' out."
        raise GatewayError("parameter_not_allowed", message, param="stream")
    return Call.without_prompt(model, body, is_free=True)


def _read_page(asked: list[tuple[str, str]]) -> dict[str, str | int]:
    page: dict[str, str | int] = {}
    for name, value in asked:
        if name == "limit":
            if not (value.isascii() and value.isdigit() and len(value) <= 3 and 1 <= int(value) <= MAX_ITEMS):
                raise GatewayError("invalid_request", f"'limit' must be from 1 to {MAX_ITEMS}.", param=name)
            page[name] = int(value)
        elif name == "order":
            if value not in get_args(Order):
                raise GatewayError("invalid_request", "'order' must be asc or desc.", param=name)
            page[name] = value
        elif name in ("after", "before"):
            if not value or len(value) > MAX_CURSOR:
                raise GatewayError("invalid_request", f"'{name}' must be the id of an item.", param=name)
            page[name] = value
    return page


def _name_as(response_id: str) -> Callable[[bytes], bytes]:
    """LiteLLM encrypts an id differently each time it shows it, or shows the provider's: the caller gets back the one
    that they know."""

    def rewrite(answer: bytes) -> bytes:
        try:
            fields = _decode(answer)
        except (msgspec.MsgspecError, UnicodeError, RecursionError):
            return answer
        if "id" not in fields:
            return answer
        return msgspec.json.encode(fields | {"id": msgspec.Raw(msgspec.json.encode(response_id))})

    return rewrite
