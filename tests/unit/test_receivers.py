"""Where webhooks may lead, and what their letters say."""

from ipaddress import ip_address, ip_network

import pytest

from admin_api.operations.notifications.channels import signature
from admin_api.operations.notifications.email_texts import (
    KINDS,
    LEVELS,
    LIMIT,
    REASON,
    SUBSCRIPTIONS,
    WINDOWS,
    write_email,
)
from admin_api.operations.notifications.webhook_urls import (
    WebhookURLError,
    WebhookURLRules,
    check_address,
    check_url,
    resolve,
)
from gateway.domain.errors import GatewayError
from gateway.domain.limits import LEVELS as LEVEL_WORDS
from gateway.domain.limits import WINDOWED_KINDS
from gateway.domain.subscriptions import STATUSES
from gateway.domain.windows import WINDOW_KINDS

STRICT = WebhookURLRules()


@pytest.mark.parametrize(
    "address",
    ["127.0.0.1", "10.1.2.3", "172.16.0.1", "192.168.1.1", "169.254.169.254",
     "100.64.0.1", "0.0.0.0", "224.0.0.1",
     "::1", "fe80::1", "fd00::1", "::ffff:127.0.0.1", "::ffff:169.254.169.254",
     "2002:7f00:1::", "64:ff9b:1::1", "64:ff9b::a9fe:a9fe", "::",
     "fec0::1", "::10.0.0.1", "5f00::1", "4000::1"],
)  # fmt: skip
def test_addresses_of_this_machine_and_network_are_refused(address: str) -> None:
    with pytest.raises(WebhookURLError, match="LITEMAAS_WEBHOOK_NETWORKS"):
        check_address(ip_address(address), STRICT)


@pytest.mark.parametrize("address", ["93.184.216.34", "2606:2800:220:1:248:1893:25c8:1946"])
def test_public_addresses_are_allowed(address: str) -> None:
    check_address(ip_address(address), STRICT)


def test_a_network_that_settings_allow_is_allowed_and_no_other() -> None:
    rules = WebhookURLRules(networks=(ip_network("10.0.0.0/8"),))

    check_address(ip_address("10.1.2.3"), rules)
    check_address(ip_address("::ffff:10.1.2.3"), rules)
    with pytest.raises(WebhookURLError):
        check_address(ip_address("192.168.0.1"), rules)


@pytest.mark.parametrize("host", ["localhost", "127.0.0.1", "0x7f000001", "2130706433", "127.1"])
async def test_a_name_is_judged_by_what_it_resolves_to(host: str) -> None:
    with pytest.raises(WebhookURLError):
        await resolve(host, 443, STRICT)


@pytest.mark.parametrize(
    "url",
    ["http://example.com/", "ftp://example.com/", "https://", "https://user:pw@example.com/", "https://example.com/#a",
     "https://exa mple.com/", "https://example.com:0/", "https://example.com:99999/", "javascript:alert(1)", "",
     "https://" + "a" * 2000, "https://example.com/\r\nhost: other"],
)  # fmt: skip
def test_what_is_no_public_https_address_is_refused(url: str) -> None:
    with pytest.raises(GatewayError) as caught:
        check_url(url, STRICT)

    assert caught.value.code == "validation_failed"


def test_the_signature_is_that_of_standard_webhooks() -> None:
    # The example of the specification's libraries.
    secret, message_id, timestamp = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw", "msg_p5jXN8AQM9LWM0D4loKWxJek", 1614265330

    signed = signature(secret, message_id, timestamp, b'{"test": 2432232314}')

    assert signed == "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE="


def test_every_language_has_every_word() -> None:
    for language in ("en", "es", "fr"):
        assert set(KINDS[language]) == set(WINDOWED_KINDS)
        assert set(WINDOWS[language]) == set(WINDOW_KINDS)
        assert set(LEVELS[language]) == set(LEVEL_WORDS)
        assert set(SUBSCRIPTIONS[language]) == set(STATUSES)
        assert set(LIMIT[language]) == set(LIMIT["en"])
        assert language in REASON


@pytest.mark.parametrize("locale", ["en", "es", "fr", None, "de"])
@pytest.mark.parametrize("status", STATUSES)
def test_a_subscription_letter_names_what_and_why(locale: str | None, status: str) -> None:
    data = {"model": "team/small", "account": "red\nBcc: x", "reason": "because so"}

    subject, text = write_email(f"subscription.{status}", data, locale)

    assert "team/small" in subject
    assert "because so" in text
    assert "\n" not in subject


def test_a_letter_about_money_is_in_usd_and_in_the_accounts_time() -> None:
    data = {
        "key": "", "key_last_four": "wxyz", "model": None, "account": "ana", "user": "ana@example.org", "level": "key",
        "kind": "cost", "window": "month", "threshold_percent": 80, "used": 8_000_000_000, "limit": 10_000_000_000,
        "forecast_at": "2027-01-20T12:00:00+00:00", "window_end": "2027-01-31T23:00:00+00:00",
        "time_zone": "Europe/Madrid",
    }  # fmt: skip

    subject, text = write_email("limit.threshold_reached", data, "en")

    assert "…wxyz" in subject
    assert "8 of 10 USD have been used this month (80 %)" in text
    assert "2027-01-20 13:00 (Europe/Madrid)" in text
    assert "2027-02-01 00:00 (Europe/Madrid)" in text
