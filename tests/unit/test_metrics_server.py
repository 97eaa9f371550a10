"""The address of metrics, and the server behind it."""

import socket
import threading
from collections.abc import Iterator
from contextlib import ExitStack

import httpx2
import pytest

from admin_api.settings import ProgramSettings
from deploy.embedded.processes import free_port
from gateway.web.listen_address import ListenAddress
from gateway.web.metrics_server import MAX_CONNECTIONS, CannotListen, serve_metrics


@pytest.fixture
def url() -> Iterator[str]:
    port = free_port()
    with serve_metrics(ListenAddress("127.0.0.1", port), 1, lambda: b"litemaas_x 1\n"):
        yield f"http://127.0.0.1:{port}/metrics"


def ask(url: str, method: str = "GET") -> httpx2.Response:
    return httpx2.request(method, url, trust_env=False, timeout=5)


@pytest.mark.parametrize(
    ("text", "address"),
    [
        ("127.0.0.1", ("127.0.0.1", None)),
        ("0.0.0.0:9464", ("0.0.0.0", 9464)),
        ("::1", ("::1", None)),
        ("[::]:9464", ("::", 9464)),
        (" metrics.internal:1 ", ("metrics.internal", 1)),
    ],
)
def test_an_address_has_a_host_and_perhaps_a_port(text: str, address: tuple[str, int | None]) -> None:
    assert ListenAddress.parse(text) == ListenAddress(*address)


@pytest.mark.parametrize(
    "text", ["", ":9464", "9464:", "a:b", "127.0.0.1:0", "127.0.0.1:65536", "[::1", "http://a", "a b"]
)
def test_other_text_is_no_address(text: str) -> None:
    with pytest.raises(ValueError, match=r"127\.0\.0\.1:9464"):
        ListenAddress.parse(text)


def test_off_is_nowhere() -> None:
    assert ListenAddress.parse("off") is None
    with serve_metrics(None, 1, lambda: b""):
        pass


def test_s11_without_a_setting_only_this_machine_sees_metrics(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("LITEMAAS_METRICS_LISTEN", raising=False)

    assert ListenAddress.parse(ProgramSettings.from_env().metrics_listen) == ListenAddress("127.0.0.1", None)


def test_the_default_port_is_used_where_the_address_names_none() -> None:
    port = free_port()
    with serve_metrics(ListenAddress("127.0.0.1", None), port, lambda: b"x 1\n"):
        assert ask(f"http://127.0.0.1:{port}/metrics").text == "x 1\n"


def test_metrics_are_answered_and_nothing_else(url: str) -> None:
    head = ask(url, "HEAD")

    assert ask(url + "?name=x").text == ask(url).text == "litemaas_x 1\n"
    assert (head.status_code, head.headers["content-length"], head.text) == (200, "13", "")
    assert [ask(url + "/").status_code, ask(url.replace("metrics", "")).status_code] == [404, 404]
    assert ask(url, "POST").status_code == 501
    assert "python" not in str(ask(url).headers).lower()


def test_idle_connections_keep_no_scrape_from_its_answer(url: str) -> None:
    port = httpx2.URL(url).port
    with ExitStack() as stack:
        for _ in range(MAX_CONNECTIONS - 1):
            stack.enter_context(socket.create_connection(("127.0.0.1", port)))
        assert ask(url).status_code == 200


def test_more_connections_than_bounded_are_closed(url: str) -> None:
    port = httpx2.URL(url).port
    with ExitStack() as stack:
        for _ in range(MAX_CONNECTIONS):
            stack.enter_context(socket.create_connection(("127.0.0.1", port)))
        over = stack.enter_context(socket.create_connection(("127.0.0.1", port), timeout=5))
        assert over.recv(1) == b""
    # Those that are closed free their places.
    while True:
        try:
            assert ask(url).status_code == 200
            break
        except httpx2.TransportError:
            continue


def test_a_scrape_that_fails_does_not_end_the_server() -> None:
    port, failures = free_port(), [OSError("gone")]

    def scrape() -> bytes:
        if failures:
            raise failures.pop()
        return b"x 1\n"

    with serve_metrics(ListenAddress("127.0.0.1", port), 1, scrape):
        with pytest.raises(httpx2.TransportError):
            ask(f"http://127.0.0.1:{port}/metrics")
        assert ask(f"http://127.0.0.1:{port}/metrics").text == "x 1\n"


def test_scrapes_run_one_at_a_time() -> None:
    port, at_work, most = free_port(), [0], [0]
    count = threading.Lock()

    def scrape() -> bytes:
        with count:
            at_work[0] += 1
            most[0] = max(most[0], at_work[0])
        threading.Event().wait(0.02)
        with count:
            at_work[0] -= 1
        return b""

    with serve_metrics(ListenAddress("127.0.0.1", port), 1, scrape):
        threads = [threading.Thread(target=ask, args=(f"http://127.0.0.1:{port}/metrics",)) for _ in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()

    assert most == [1]


def test_an_address_of_another_machine_is_an_error() -> None:
    with (
        pytest.raises(CannotListen, match=r"192\.0\.2\.1, port 9464"),
        serve_metrics(ListenAddress("192.0.2.1", 9464), 1, lambda: b""),
    ):
        pass
