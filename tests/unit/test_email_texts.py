"""What e-mails say, in each language: figures as it writes them, and nothing that is not so."""

from typing import Any

import pytest

from admin_api.operations.notifications.email_texts import LIMIT, write_email

DATA: dict[str, Any] = {
    "account": "red",
    "user": None,
    "key_id": None,
    "key": None,
    "key_last_four": None,
    "model": None,
    "time_zone": "Europe/Madrid",
    "level": "team",
    "kind": "cost",
    "window": "month",
    "window_end": "2026-12-01T00:00:00+00:00",
    "threshold_percent": 50,
    "used": 1_234_567_890_000_000,
    "limit": 2_000_000_500_000_000,
    "forecast_at": None,
}


@pytest.mark.parametrize(
    ("locale", "used", "limit"),
    [
        ("en", "1,234,567.89", "2,000,000.5"),
        ("es", "1\u00a0234\u00a0567,89", "2\u00a0000\u00a0000,5"),
        ("fr", "1\u00a0234\u00a0567,89", "2\u00a0000\u00a0000,5"),
    ],
)
def test_money_is_written_as_the_reader_writes_it(locale: str, used: str, limit: str) -> None:
    _, text = write_email("limit.threshold_reached", DATA, locale)

    assert f"{used} " in text
    assert f"{limit} USD" in text


@pytest.mark.parametrize("locale", LIMIT)
@pytest.mark.parametrize(("used", "is_reached"), [(1, False), (2_000_000_500_000_000, True)])
def test_a_lifetime_does_not_begin_anew(locale: str, used: int, is_reached: bool) -> None:
    month, lifetime = [
        write_email("limit.threshold_reached", DATA | {"used": used} | about, locale)[1]
        for about in ({}, {"window": "lifetime", "window_end": None})
    ]

    again, todo = LIMIT[locale]["reached"], LIMIT[locale]["todo"]
    for_good, todo_for_good = LIMIT[locale]["reached for good"], LIMIT[locale]["todo for good"]
    assert (again in month, todo in month, for_good in month) == (is_reached, True, False)
    assert (for_good in lifetime, todo_for_good in lifetime, again in lifetime) == (is_reached, True, False)
    assert todo not in lifetime
