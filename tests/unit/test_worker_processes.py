"""What a worker does when its parent's end of the pipe is closed, how long a start waits for the port, and how an app
is tried before there are workers."""

import signal
import socket
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from multiprocessing import Pipe

import pytest

from deploy.embedded.processes import free_port
from gateway.web import worker_processes

STUBBORN = """
import signal, sys, time
from multiprocessing.connection import Connection
from gateway.web.worker_processes import end_with_parent

signal.signal(signal.SIGTERM, lambda *_: print("asked", flush=True))
end_with_parent(Connection(int(sys.argv[1]), writable=False), kill_after_s=0.3)
print("waits", flush=True)
while True:
    time.sleep(60)
"""


def test_s7_a_worker_that_does_not_end_is_killed() -> None:
    parent_ended, held_by_parent = Pipe(duplex=False)
    read_end = parent_ended.fileno()
    with subprocess.Popen(
        [sys.executable, "-c", STUBBORN, str(read_end)], pass_fds=[read_end], stdout=subprocess.PIPE, text=True
    ) as worker:
        assert worker.stdout is not None
        try:
            assert worker.stdout.readline() == "waits\n"
            assert worker.poll() is None
            held_by_parent.close()
            # Asked first, and killed only then. The log goes the same way.
            assert "asked\n" in worker.stdout.readlines()
            assert worker.wait() == -signal.SIGKILL
        finally:
            worker.kill()
            parent_ended.close()


def test_s7_a_start_waits_for_a_port_that_is_being_let_go(monkeypatch: pytest.MonkeyPatch) -> None:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen()
        port = listener.getsockname()[1]
        waits: list[float] = []

        def wait(seconds: float) -> None:
            waits.append(seconds)
            if len(waits) == 3:
                listener.close()

        monkeypatch.setattr(worker_processes.time, "sleep", wait)
        worker_processes.wait_for_port("127.0.0.1", port)

    assert len(waits) == 3


def test_s7_a_start_does_not_wait_for_ever(monkeypatch: pytest.MonkeyPatch) -> None:
    now_s = 0.0

    def wait(seconds: float) -> None:
        nonlocal now_s
        now_s += seconds

    monkeypatch.setattr(worker_processes.time, "sleep", wait)
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen()
        worker_processes.wait_for_port("127.0.0.1", listener.getsockname()[1], clock=lambda: now_s)

    assert now_s == pytest.approx(worker_processes.PORT_WAIT_S, abs=worker_processes.PORT_RETRY_S)


def test_s7_a_free_port_is_not_waited_for(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(worker_processes.time, "sleep", lambda _: pytest.fail("waited"))
    worker_processes.wait_for_port("127.0.0.1", free_port())


def test_an_app_is_tried_within_a_loop() -> None:
    """Python 3.14 makes none for who asks; threads never had one."""
    with ThreadPoolExecutor(1) as thread:
        thread.submit(worker_processes.build_once, "asyncio:get_running_loop").result()
        with pytest.raises(SystemExit, match="wrong"):
            thread.submit(worker_processes.build_once, f"{__name__}:exits").result()


def exits() -> None:
    raise SystemExit("what is wrong")
