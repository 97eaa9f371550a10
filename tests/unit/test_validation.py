"""Checks of texts, times and networks that users enter."""

from datetime import UTC, datetime, timedelta, timezone

import pytest

from admin_api.operations.validation import (
    check_email,
    check_future,
    check_networks,
    check_reason,
    check_text,
    check_time_zone,
)
from gateway.domain.errors import GatewayError

NOW = datetime(2026, 11, 22, tzinfo=UTC)


def test_an_email_address_is_stored_in_lower_case() -> None:
    assert check_email("  Ann@Example.ORG ") == "ann@example.org"


@pytest.mark.parametrize(
    "email",
    ["", "ann", "@x", "ann@", "a b@x.org", "a\x00@x.org", "a" * 250 + "@x.org", "İ" * 200 + "@x.org", "\ud800@x"],
)
def test_an_invalid_email_address_is_refused_with_its_field(email: str) -> None:
    with pytest.raises(GatewayError) as caught:
        check_email(email)

    assert caught.value.code == "validation_failed"
    assert caught.value.details["fields"][0]["field"] == "email"


@pytest.mark.parametrize("text", ["a\x00b", "a\nb", "\x1b[31m", "a\ud800"])
def test_a_name_has_printable_characters_only(text: str) -> None:
    with pytest.raises(GatewayError):
        check_text("name", text, maximum=200)


def test_a_reason_may_have_several_lines() -> None:
    assert check_reason("first\r\n\tsecond") == "first\r\n\tsecond"


def test_a_blank_reason_counts_as_missing() -> None:
    assert check_reason("  ") is None
    with pytest.raises(GatewayError, match="reason is required"):
        check_reason("  ", required=True)


@pytest.mark.parametrize("zone", ["UTC", "Europe/Madrid", "America/Argentina/Ushuaia", "Asia/Kathmandu"])
def test_iana_time_zone_names_are_accepted(zone: str) -> None:
    assert check_time_zone(zone) == zone


@pytest.mark.parametrize("zone", ["", "Mars/Olympus", "CEST", "+02:00", "europe/madrid", "localtime", "../etc/passwd"])
def test_other_time_zone_names_are_refused(zone: str) -> None:
    with pytest.raises(GatewayError):
        check_time_zone(zone)


def test_a_future_time_is_converted_to_utc() -> None:
    moment = datetime(2026, 11, 23, 1, tzinfo=timezone(timedelta(hours=2)))

    assert check_future("expires_at", moment, NOW) == datetime(2026, 11, 22, 23, tzinfo=UTC)


LAST = datetime(9999, 12, 31, 23, tzinfo=timezone(timedelta(hours=-2)))


@pytest.mark.parametrize("moment", [NOW, NOW - timedelta(seconds=1), datetime(2030, 1, 1), LAST])
def test_a_past_time_or_one_without_a_zone_is_refused(moment: datetime) -> None:
    with pytest.raises(GatewayError):
        check_future("expires_at", moment, NOW)


def test_ip_addresses_become_networks() -> None:
    assert check_networks(["10.0.0.1", "2001:db8::/32"]) == ["10.0.0.1/32", "2001:db8::/32"]


def test_an_ipv4_mapped_ipv6_network_is_stored_as_ipv4() -> None:
    mapped = ["::ffff:10.0.0.1", "::ffff:10.0.0.0/104", "::ffff:0:0/96", "::/0"]
    assert check_networks(mapped) == ["10.0.0.1/32", "10.0.0.0/8", "0.0.0.0/0", "::/0"]


@pytest.mark.parametrize("network", ["10.0.0.1/8", "10.0.0", "x", "", "fe80::1%eth0", "fe80::%eth0/64"])
def test_an_invalid_network_is_refused(network: str) -> None:
    with pytest.raises(GatewayError):
        check_networks([network])
