"""When the breaker takes an upstream address out, and when it tries it again."""

from gateway.domain.breaker import FAILURES_TO_OPEN, Breaker


def opened(now_s: float = 100.0) -> Breaker:
    breaker = Breaker()
    for _ in range(FAILURES_TO_OPEN):
        breaker.failed(now_s)
    return breaker


def test_consecutive_failures_open_the_breaker() -> None:
    breaker = Breaker()

    for _ in range(FAILURES_TO_OPEN - 1):
        breaker.failed(100.0)
    assert breaker.admits(100.0)
    breaker.failed(100.0)

    assert not breaker.admits(100.0)


def test_a_success_in_between_resets_the_failure_count() -> None:
    breaker = Breaker()

    for _ in range(10 * FAILURES_TO_OPEN):
        breaker.failed(100.0)
        breaker.served()

    assert breaker.admits(100.0)


def test_after_a_pause_one_probe_is_let_through_and_other_calls_are_not() -> None:
    breaker = opened()

    assert breaker.admits(101.0)
    breaker.sent(101.0)

    assert not breaker.admits(101.0)


def test_a_successful_probe_closes_the_breaker() -> None:
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


def test_a_lost_probe_does_not_keep_the_breaker_open_forever() -> None:
    breaker = opened()

    breaker.sent(101.0)

    assert breaker.admits(131.0)
