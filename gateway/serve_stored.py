"""One call of a route of a stored response: whose it is; then a request of the model that answered, as any other."""

from datetime import UTC, datetime
from functools import partial
from typing import Final

from gateway.domain.access import find_grant, withheld_error
from gateway.domain.errors import GatewayError
from gateway.domain.grants import Grant, KeyRecord
from gateway.endpoints.routes import refuse_model_in_query
from gateway.endpoints.stored_responses import NAME, Method, StoredRoute, new_call, new_declaration
from gateway.exchange import Exchange
from gateway.proxy import Proxy
from gateway.stored_responses import find_response, not_found
from gateway.web.bodies import read_body
from gateway.web.errors import send_error
from gateway.web.responses import Receive, Scope, Send

# The body of a cancellation says nothing.
MAX_BODY: Final = 64 * 1024
PARAM: Final = "response_id"


async def serve_stored(
    proxy: Proxy, route: StoredRoute, response_id: str, scope: Scope, receive: Receive, send: Send
) -> None:
    """From the request to the end of the answer. The method is one of the route's."""
    send_refusal = partial(send_error, send, shape="openai")
    exchange = proxy.exchanges.begin(scope["method"], route.path, scope, send_refusal, NAME)
    await proxy.exchanges.run(exchange, _serve(proxy, exchange, route, response_id, scope, receive, send))


async def _serve(
    proxy: Proxy, exchange: Exchange, route: StoredRoute, response_id: str, scope: Scope, receive: Receive, send: Send
) -> None:
    method: Method = scope["method"]
    query: bytes = scope["query_string"]
    refuse_model_in_query(query)
    exchange.step("authenticate")
    record = await proxy.authenticate(exchange)
    exchange.step("read")
    with proxy.bodies.hold() as held:
        await read_body(receive, exchange.head.content_length, MAX_BODY, held)
    found = await find_response(proxy.books.owners, record, response_id, PARAM)
    if found.tokens is None and method != "DELETE":
        # What was not charged in full is not shown: else a caller would leave early, or not read, and fetch it here.
        raise not_found(response_id, PARAM)
    grant = _grant_of(record, found.model_id)
    exchange.model = grant.model_name
    proxy.check_ledger()
    call = new_call(grant.model_name, route, query)
    declaration = new_declaration(route, method, response_id)
    await proxy.admit_and_run(exchange, declaration, record, grant, call, receive, send)


def _grant_of(record: KeyRecord, model_id: int) -> Grant:
    """Raises `model_not_found`, `subscription_suspended`."""
    for grant in record.grants.values():
        if grant.model_id == model_id:
            return find_grant(record, grant.model_name, datetime.now(UTC))
    for one in record.withheld.values():
        if one.model_id == model_id:
            raise withheld_error(one)
    raise GatewayError("model_not_found", "This API key may not use the model that gave this response.")
