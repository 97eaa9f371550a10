"""URLs that webhooks may have, and the signature of a message."""

from ipaddress import ip_address, ip_network

import pytest

from admin_api.operations.notifications.channels import signature
from admin_api.operations.notifications.webhook_urls import (
    WebhookURLError,
    WebhookURLRules,
    check_address,
    check_url,
    resolve,
)
from gateway.domain.errors import GatewayError

STRICT = WebhookURLRules()


@pytest.mark.parametrize(
    "address",
    ["127.0.0.1", "10.1.2.3", "172.16.0.1", "192.168.1.1", "169.254.169.254",
     "100.64.0.1", "0.0.0.0", "224.0.0.1",
     "::1", "fe80::1", "fd00::1", "::ffff:127.0.0.1", "::ffff:169.254.169.254",
     "2002:7f00:1::", "64:ff9b:1::1", "64:ff9b::a9fe:a9fe", "::",
     "fec0::1", "::10.0.0.1", "5f00::1", "4000::1"],
)  # fmt: skip
def test_loopback_and_private_addresses_are_refused(address: str) -> None:
    with pytest.raises(WebhookURLError, match="LITEMAAS_WEBHOOK_NETWORKS"):
        check_address(ip_address(address), STRICT)


@pytest.mark.parametrize("address", ["93.184.216.34", "2606:2800:220:1:248:1893:25c8:1946"])
def test_public_addresses_are_allowed(address: str) -> None:
    check_address(ip_address(address), STRICT)


def test_only_the_networks_named_in_settings_are_also_allowed() -> None:
    rules = WebhookURLRules(networks=(ip_network("10.0.0.0/8"),))

    check_address(ip_address("10.1.2.3"), rules)
    check_address(ip_address("::ffff:10.1.2.3"), rules)
    with pytest.raises(WebhookURLError):
        check_address(ip_address("192.168.0.1"), rules)


@pytest.mark.parametrize("host", ["localhost", "127.0.0.1", "0x7f000001", "2130706433", "127.1"])
async def test_a_host_name_is_checked_by_the_addresses_it_resolves_to(host: str) -> None:
    with pytest.raises(WebhookURLError):
        await resolve(host, 443, STRICT)


@pytest.mark.parametrize(
    "url",
    ["http://example.com/", "ftp://example.com/", "https://", "https://user:pw@example.com/", "https://example.com/#a",
     "https://exa mple.com/", "https://example.com:0/", "https://example.com:99999/", "javascript:alert(1)", "",
     "https://" + "a" * 2000, "https://example.com/\r\nhost: other"],
)  # fmt: skip
def test_a_url_that_is_not_public_https_is_refused(url: str) -> None:
    with pytest.raises(GatewayError) as caught:
        check_url(url, STRICT)

    assert caught.value.code == "validation_failed"


def test_the_signature_is_that_of_standard_webhooks() -> None:
    # The example of the specification's libraries.
    secret, message_id, timestamp = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw", "msg_p5jXN8AQM9LWM0D4loKWxJek", 1614265330

    signed = signature(secret, message_id, timestamp, b'{"test": 2432232314}')

    assert signed == "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE="
