"""The methods of uvicorn that the gateway's protocols override are those that were read when they were overridden.

Another release may do more in them, or call others: then this test names the method. Read what has changed, mend
gateway/web/, and put the new digest here.
"""

import hashlib
import inspect
from typing import Any, Final

import pytest
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol, RequestResponseCycle
from uvicorn.protocols.websockets.websockets_sansio_impl import WebSocketsSansIOProtocol

from gateway.web.bounded_http import BoundedHttp
from gateway.web.bounded_websocket import BoundedWebSocket

# What BoundedHttp relies on without overriding it.
RELIED_ON: Final = (
    (HttpToolsProtocol, "_unset_keepalive_if_required"),
    (HttpToolsProtocol, "on_response_complete"),
    (RequestResponseCycle, "__init__"),
    (RequestResponseCycle, "send"),
    (RequestResponseCycle, "receive"),
)
DIGESTS: Final[dict[str, str]] = {
    "HttpToolsProtocol.__init__": "4f08999410347141",
    "HttpToolsProtocol._should_upgrade": "8fcad1ab8e096739",
    "HttpToolsProtocol._unset_keepalive_if_required": "00a6a4e47214e68e",
    "HttpToolsProtocol.connection_lost": "c91a4c9bf2e29c55",
    "HttpToolsProtocol.connection_made": "6efb565ff3d36b91",
    "HttpToolsProtocol.data_received": "010a7ae59a5d3b1a",
    "HttpToolsProtocol.eof_received": "5652627579a02369",
    "HttpToolsProtocol.handle_websocket_upgrade": "179c4f769386ab89",
    "HttpToolsProtocol.on_headers_complete": "1ea8589acfad92d8",
    "HttpToolsProtocol.on_message_begin": "96d377fdc7c2baef",
    "HttpToolsProtocol.on_message_complete": "1fbad42dc31fc01f",
    "HttpToolsProtocol.on_response_complete": "64e254f28e389e76",
    "HttpToolsProtocol.send_400_response": "ae5a4a3782b646fd",
    "RequestResponseCycle.__init__": "4d2f220910c33c12",
    "RequestResponseCycle.receive": "8124ae006be71184",
    "RequestResponseCycle.send": "abdd8601b326a8da",
    "WebSocketsSansIOProtocol.__init__": "631dcd744eab875f",
    "WebSocketsSansIOProtocol.data_received": "c89d394077d8841d",
    "WebSocketsSansIOProtocol.handle_connect": "fc648c2161ff8e13",
    "WebSocketsSansIOProtocol.keepalive_timeout": "8e1ceb6ec446de9d",
    "WebSocketsSansIOProtocol.on_task_complete": "f45490be9f809f51",
    "WebSocketsSansIOProtocol.send": "d4919ed760ce9f7b",
    "WebSocketsSansIOProtocol.shutdown": "e8ace796ada616b7",
}


def overridden() -> list[tuple[type[Any], str]]:
    pairs = ((HttpToolsProtocol, BoundedHttp), (WebSocketsSansIOProtocol, BoundedWebSocket))
    return [
        (base, name)
        for base, own in pairs
        for name, value in vars(own).items()
        if inspect.isfunction(value) and inspect.isfunction(vars(base).get(name))
    ]


def name_of(method: tuple[type[Any], str]) -> str:
    return f"{method[0].__name__}.{method[1]}"


def digest_of(method: tuple[type[Any], str]) -> str:
    source = inspect.getsource(vars(method[0])[method[1]])
    return hashlib.sha256(source.encode()).hexdigest()[:16]


METHODS: Final = [*overridden(), *RELIED_ON]


@pytest.mark.parametrize("method", METHODS, ids=map(name_of, METHODS))
def test_the_method_is_the_one_that_was_read(method: tuple[type[Any], str]) -> None:
    assert digest_of(method) == DIGESTS.get(name_of(method))


def test_every_digest_is_of_a_method() -> None:
    assert set(DIGESTS) == set(map(name_of, METHODS))
    assert len(overridden()) > 10
