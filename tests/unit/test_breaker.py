"""When an address is left out, and when it is tried again."""

from gateway.domain.breaker import FAILURES_TO_OPEN, Breaker


def opened(now_s: float = 100.0) -> Breaker:
    breaker = Breaker()
    for _ in range(FAILURES_TO_OPEN):
        breaker.failed(now_s)
    return breaker


def test_failures_in_a_row_open_it() -> None:
    breaker = Breaker()

    for _ in range(FAILURES_TO_OPEN - 1):
        breaker.failed(100.0)
    assert breaker.admits(100.0)
    breaker.failed(100.0)

    assert not breaker.admits(100.0)


def test_one_that_serves_in_between_starts_the_count_anew() -> None:
    breaker = Breaker()

    for _ in range(10 * FAILURES_TO_OPEN):
        breaker.failed(100.0)
        breaker.served()

    assert breaker.admits(100.0)


def test_after_a_pause_one_call_tries_and_the_others_wait_for_it() -> None:
    breaker = opened()

    assert breaker.admits(101.0)
    breaker.sent(101.0)

    assert not breaker.admits(101.0)


def test_a_probe_that_is_served_closes_it_for_all() -> None:
    breaker = opened()

    breaker.sent(101.0)
    breaker.served()

    assert breaker.admits(101.0)


def test_pauses_grow_while_probes_fail() -> None:
    breaker = opened()

    breaker.sent(101.0)
    breaker.failed(101.0)

    assert not breaker.admits(102.5)
    assert breaker.admits(103.0)


def test_a_probe_nobody_heard_of_again_does_not_keep_it_open_for_ever() -> None:
    breaker = opened()

    breaker.sent(101.0)

    assert breaker.admits(131.0)
