"""Texts of e-mails in each language: complete, correct, and with amounts and times in the reader's format."""

from typing import Any

import pytest

from admin_api.operations.notifications.email_texts import (
    KINDS,
    LEVELS,
    LIMIT,
    REASON,
    SUBSCRIPTIONS,
    WINDOWS,
    write_email,
)
from gateway.domain.limits import LEVELS as LIMIT_LEVELS
from gateway.domain.limits import WINDOWED_KINDS
from gateway.domain.subscriptions import STATUSES
from gateway.domain.windows import WINDOW_KINDS

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
def test_money_is_formatted_in_the_readers_locale(locale: str, used: str, limit: str) -> None:
    _, text = write_email("limit.threshold_reached", DATA, locale)

    assert f"{used} " in text
    assert f"{limit} USD" in text


@pytest.mark.parametrize("locale", LIMIT)
@pytest.mark.parametrize(("used", "is_reached"), [(1, False), (2_000_000_500_000_000, True)])
def test_a_lifetime_budget_is_not_said_to_reset(locale: str, used: int, is_reached: bool) -> None:
    month, lifetime = [
        write_email("limit.threshold_reached", DATA | {"used": used} | about, locale)[1]
        for about in ({}, {"window": "lifetime", "window_end": None})
    ]

    again, todo = LIMIT[locale]["reached"], LIMIT[locale]["todo"]
    for_good, todo_for_good = LIMIT[locale]["reached for good"], LIMIT[locale]["todo for good"]
    assert (again in month, todo in month, for_good in month) == (is_reached, True, False)
    assert (for_good in lifetime, todo_for_good in lifetime, again in lifetime) == (is_reached, True, False)
    assert todo not in lifetime


def test_every_language_has_every_text() -> None:
    for language in ("en", "es", "fr"):
        assert set(KINDS[language]) == set(WINDOWED_KINDS)
        assert set(WINDOWS[language]) == set(WINDOW_KINDS)
        assert set(LEVELS[language]) == set(LIMIT_LEVELS)
        assert set(SUBSCRIPTIONS[language]) == set(STATUSES)
        assert set(LIMIT[language]) == set(LIMIT["en"])
        assert language in REASON


@pytest.mark.parametrize("locale", ["en", "es", "fr", None, "de"])
@pytest.mark.parametrize("status", STATUSES)
def test_a_subscription_email_names_the_change_and_its_reason(locale: str | None, status: str) -> None:
    data = {"model": "team/small", "account": "red\nBcc: x", "reason": "because so"}

    subject, text = write_email(f"subscription.{status}", data, locale)

    assert "team/small" in subject
    assert "because so" in text
    assert "\n" not in subject


def test_a_budget_email_uses_usd_and_the_accounts_time_zone() -> None:
    data = {
        "key": "", "key_last_four": "wxyz", "model": None, "account": "ana", "user": "ana@example.org", "level": "key",
        "kind": "cost", "window": "month", "threshold_percent": 80, "used": None, "limit": None,
        "used_nano_usd": 8_000_000_000, "limit_nano_usd": 10_000_000_000,
        "forecast_at": "2027-01-20T12:00:00+00:00", "window_end": "2027-01-31T23:00:00+00:00",
        "time_zone": "Europe/Madrid",
    }  # fmt: skip

    subject, text = write_email("limit.threshold_reached", data, "en")

    assert "…wxyz" in subject
    assert "8 of 10 USD have been used this month (80 %)" in text
    assert "2027-01-20 13:00 (Europe/Madrid)" in text
    assert "2027-02-01 00:00 (Europe/Madrid)" in text
