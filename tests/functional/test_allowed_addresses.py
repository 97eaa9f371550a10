"""Keys restricted to IP addresses, and the address of a caller behind proxies."""

from collections.abc import Awaitable, Callable
from typing import Any

import pytest
from callers import Caller

from gateway.web.addresses import client_address, parse_networks

MakeCaller = Callable[..., Awaitable[Caller]]


async def _restrict(caller: Caller, *networks: str) -> None:
    await caller.pool.execute("UPDATE api_keys SET allowed_ips = $2::cidr[] WHERE id = $1", caller.key_id, networks)


async def test_a_key_restricted_to_other_addresses_is_refused(make: MakeCaller) -> None:
    caller = await make()
    await _restrict(caller, "192.0.2.0/24")

    response = await caller.chat()

    assert (response.status, response.code) == (403, "ip_not_allowed")


async def test_a_key_restricted_to_this_address_is_accepted(make: MakeCaller) -> None:
    caller = await make()
    await _restrict(caller, "192.0.2.0/24", "127.0.0.0/8")

    assert (await caller.chat()).status == 200


async def test_a_forged_header_does_not_change_the_caller_address(make: MakeCaller) -> None:
    caller = await make()
    await _restrict(caller, "192.0.2.0/24")

    response = await caller.chat(headers={"x-forwarded-for": "192.0.2.1", "x-real-ip": "192.0.2.1"})

    assert (response.status, response.code) == (403, "ip_not_allowed")


async def test_the_caller_address_is_read_from_a_trusted_proxy(make: MakeCaller, start_gateway: Any) -> None:
    caller = (await make()).at(start_gateway(trusted_proxies="127.0.0.1").url)
    await _restrict(caller, "192.0.2.0/24")

    assert (await caller.chat(headers={"x-forwarded-for": "198.51.100.9, 192.0.2.1"})).status == 200
    assert (await caller.chat(headers={"x-forwarded-for": "192.0.2.1, 198.51.100.9"})).code == "ip_not_allowed"


@pytest.mark.parametrize(
    ("peer", "forwarded", "address"),
    [
        ("10.0.0.1", "192.0.2.1", "192.0.2.1"),
        ("10.0.0.1", "192.0.2.1, 10.0.0.2", "192.0.2.1"),
        ("10.0.0.1", "203.0.113.5, 192.0.2.1, 10.0.0.2", "192.0.2.1"),
        ("10.0.0.1", "", "10.0.0.1"),
        ("192.0.2.9", "203.0.113.5", "192.0.2.9"),
        ("::ffff:10.0.0.1", "2001:db8::1", "2001:db8::1"),
        ("10.0.0.1", "fe80::1%eth0", "fe80::1"),
        ("10.0.0.1", "2001:db8::1%<any text>", "2001:db8::1"),
    ],
)
def test_forwarded_addresses_are_read_from_the_right_while_trusted(peer: str, forwarded: str, address: str) -> None:
    headers = [(b"x-forwarded-for", forwarded.encode())]

    assert str(client_address(peer, headers, parse_networks("10.0.0.0/8"))) == address


@pytest.mark.parametrize(
    ("node", "address"),
    [
        ("203.0.113.7:51234", "203.0.113.7"),
        ('"203.0.113.7"', "203.0.113.7"),
        ('"203.0.113.7:51234"', "203.0.113.7"),
        ("[2001:db8::1]", "2001:db8::1"),
        ("[2001:db8::1]:443", "2001:db8::1"),
        ('"[2001:db8::1]:443"', "2001:db8::1"),
        ("[::ffff:203.0.113.7]:443", "203.0.113.7"),
        ("\t2001:db8::1 , ", "2001:db8::1"),
        ("unknown", None),
        ("_hidden", None),
        ("nonsense", None),
        ('"203.0.113.7', None),
        ("203.0.113.7:", None),
        ("203.0.113.7:http", None),
        ("203.0.113.7:123456", None),
        ("[203.0.113.7]", None),
        ("[2001:db8::1", None),
        ("2001:db8::1]:443", None),
        ("203.0.113.7;", None),
        ("for=203.0.113.7", None),
        ('""', None),
        ("\xa0", None),
        ("\xb2.0.0.1", None),
        ("1" * 60_000, None),
    ],
)
def test_d1_text_that_is_no_address_never_becomes_the_address_of_the_proxy(node: str, address: str | None) -> None:
    headers = [(b"x-forwarded-for", b"192.0.2.1"), (b"x-forwarded-for", node.encode("latin-1"))]

    found = client_address("10.0.0.1", headers, parse_networks("10.0.0.0/8"))

    assert (found and str(found)) == address


async def test_d1_what_a_trusted_proxy_writes_is_read_or_refused(make: MakeCaller, start_gateway: Any) -> None:
    caller = (await make()).at(start_gateway(trusted_proxies="127.0.0.1").url)

    async def status(node: str) -> int:
        return (await caller.chat(headers={"x-forwarded-for": node})).status

    readable = ["203.0.113.7:51234", '"203.0.113.7"', "[2001:db8::1]:443"]
    assert [await status(node) for node in [*readable, "unknown"]] == [200] * 4
    await _restrict(caller, "203.0.113.0/24", "2001:db8::/32")
    assert [await status(node) for node in [*readable, "unknown"]] == [200, 200, 200, 403]
    await _restrict(caller, "127.0.0.0/8")
    assert [await status(node) for node in [*readable, "unknown"]] == [403] * 4
