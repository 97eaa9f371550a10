"""D3: on a real Valkey, a cost limit that reserves the maximum is never overspent, whatever LiteLLM's prices and the
answers are, and by however many calls at once; and no call is charged less than LiteLLM says."""

import asyncio
from dataclasses import dataclass
from decimal import Decimal
from itertools import count
from math import nextafter
from typing import Any

import pytest
from closed_loop import scripts_of
from hypothesis import given, settings
from hypothesis import strategies as st
from msgspec import structs

from admin_api.operations.models.litellm_prices import parse_price
from deploy.embedded.valkey import Valkey
from gateway.admit import Admission, LimitExceeded
from gateway.domain.calls import Usage
from gateway.domain.cost_bounds import CostBounds
from gateway.domain.errors import GatewayError
from gateway.domain.grants import Grant, KeyRecord
from gateway.domain.ids import RequestIds
from gateway.domain.limits import Limit
from gateway.domain.money import nano_usd_rounded_up
from gateway.domain.prices import Price, dearest_nano_usd
from gateway.domain.reservation_plan import ReservationPlan
from gateway.domain.usage_rows import UsageRow
from gateway.endpoints.paid_tools import PaidTool
from gateway.endpoints.requests import Call
from gateway.record import Outcome, make_row
from gateway.reservation import Reservation
from gateway.storage.counters.scripts import Counters, SeedEntry, Settlement
from gateway.web.background import Background
from tests.price_oracle import TIERS, litellm_usd, price_tables, usages

pytestmark = pytest.mark.timeout(300)
EXAMPLES = 300
_accounts = count(700_000)


@dataclass(frozen=True, slots=True)
class Asked:
    """A call: what its answer reports, the service tier it asks for and gets, and by how much its bounds are above."""

    usage: Usage
    tier: str | None
    served: str | None
    slack: int

    def call(self) -> Call:
        searches = self.usage.web_searches
        tools = (PaidTool("web_search_20250305", "web_search", searches),) if searches else ()
        return Call(
            model="m", body=b"", is_streamed=True, wants_usage=True, prompt_tokens=1.0,
            prompt_bytes=self.usage.prompt_tokens + self.slack, maximum=self.usage.completion_tokens + self.slack,
            choices=1, service_tier=self.tier, paid_tools=tools,
        )  # fmt: skip

    def outcome(self, info: dict[str, Any]) -> Outcome:
        tier = self.tier if self.served is None else (None if self.served == "default" else self.served)
        # As LiteLLM writes it: a sum of floats, which may be a little more.
        litellm = nano_usd_rounded_up(nextafter(float(litellm_usd(info, self.usage, tier)), 1e9))
        return Outcome(
            ending="completed", status=200, usage=structs.replace(self.usage, service_tier=self.served),
            litellm_nano_usd=litellm, model_served=None, passed_tokens=0, has_passed=True, first_byte_at=None,
        )  # fmt: skip


ASKED = st.builds(
    Asked, usages(), st.sampled_from([None, "auto", *TIERS]), st.sampled_from(["default", *TIERS]), st.integers(0, 50)
)


@dataclass(slots=True)
class Seen:
    """What all examples together came to, so that none of this holds because nothing was admitted."""

    admitted: int = 0
    refused: int = 0
    # Examples whose calls would have cost more than the limit.
    dear: int = 0


class Budget:
    """One account with one cost limit, and a worker in front of the server."""

    def __init__(self, counters: Counters, price: Price, amount: int) -> None:
        self.account = next(_accounts)
        self._counters = counters
        limit = Limit(
            id=1, level="key", scope="k1", kind="cost", window="lifetime", amount=amount, burst=Decimal(1),
            reserve="maximum", shadow=False, set_by="admin", expires_at=None, epoch=0,
        )  # fmt: skip
        self.grant = Grant(
            model_id=3, model_name="m", owned_by="x", max_output_tokens=None, subscription_id=4,
            subscription_expires_at=None, price=price, limits=(limit,), scopes="k1",
        )  # fmt: skip
        self.record = KeyRecord(
            key_id=1, account_id=self.account, user_id=5, time_zone="UTC", epoch=0, is_account_active=True,
            is_user_active=True, is_revoked=False, expires_at=None, allowed_ips=(), grants={"m": self.grant},
        )  # fmt: skip
        self.background, self.ids = Background(), RequestIds()
        self.admission = Admission(
            counters,
            self.ids,
            seed=self._seed,
            sweep_due=lambda _: None,
            free=lambda *_: None,
            background=self.background,
            bounds=CostBounds(attachment_tokens=1000),
        )

    async def _seed(self, _: KeyRecord, plan: ReservationPlan, missing: tuple[int, ...]) -> None:
        found = [plan.entries[n] for n in missing]
        await self._counters.seed(self.account, [SeedEntry(e.field, e.a, e.b, 0, e.epoch) for e in found])

    async def serve(self, asked: Asked, info: dict[str, Any], seen: Seen) -> UsageRow | None:
        """None: it was refused, by the limit, or because a fee is not known."""
        call = asked.call()
        try:
            reservation: Reservation = await self.admission.admit(
                self.ids.new(), self.record, self.grant, call, "chat_completions"
            )
        except LimitExceeded:
            seen.refused += 1
            return None
        except GatewayError as error:
            if error.code != "cost_not_bounded" or not asked.usage.web_searches:
                raise
            return None
        await asyncio.sleep(0)
        row = make_row(
            reservation, endpoint="chat_completions", call=call, outcome=asked.outcome(info), started_at=0.0,
            ended_at=1.0,
        )  # fmt: skip
        await self._counters.settle(Settlement.of(row))
        return row


async def spend(url: str, info: dict[str, Any], calls: list[Asked], amount: int, seen: Seen) -> None:
    price = parse_price(info).price
    assert price is not None
    async with scripts_of(url) as scripts:
        budget = Budget(Counters(scripts), price, amount)
        # Twice: the second time with what the first left.
        waves = [await asyncio.gather(*(budget.serve(one, info, seen) for one in calls)) for _ in range(2)]
        await budget.background.stop()
    rows = [row for wave in waves for row in wave if row is not None]
    charged = sum(row.cost_nano_usd or 0 for row in rows)

    assert charged == sum(row.counted_nano_usd for row in rows) <= amount
    for row in rows:
        assert row.cost_nano_usd is not None
        assert row.litellm_cost_nano_usd is not None
        assert row.cost_nano_usd >= row.litellm_cost_nano_usd
    seen.admitted += len(rows)
    seen.dear += 2 * sum(one.outcome(info).litellm_nano_usd or 0 for one in calls) > amount


def test_d3_a_cost_limit_that_reserves_the_maximum_is_never_overspent(valkey: Valkey) -> None:
    seen = Seen()

    @settings(max_examples=EXAMPLES, deadline=None)
    @given(price_tables(), st.lists(ASKED, min_size=2, max_size=6), st.floats(0.5, 2))
    def check(info: dict[str, Any], calls: list[Asked], times: float) -> None:
        price = parse_price(info).price
        assert price is not None
        dearest = max(dearest_nano_usd(price, one.usage) for one in calls)
        asyncio.run(spend(valkey.url(), info, calls, max(1, round(dearest * times)), seen))

    check()

    assert min(seen.admitted, seen.refused) > EXAMPLES
    assert seen.dear > EXAMPLES // 4
