"""Usage as rows of FOCUS 1.2, the FinOps Open Cost and Usage Specification (focus.finops.org).

It has all mandatory columns, and the conditional ones that apply: the account is the billing account, the user the sub
account, the key the resource, the model the SKU. There is no invoice, so all four costs are the cost in the ledger.
Unit prices are left out: the cost of a call has several. Custom columns begin with `x_`, as the specification requires.
Charge periods are days, and billing periods months, of the time zone of the export; FOCUS writes all times in UTC.
"""

import json
from datetime import UTC, date, datetime, time, timedelta
from decimal import Decimal
from typing import Any, Final
from zoneinfo import ZoneInfo

from gateway.domain.money import usd_text
from gateway.domain.usage_rows import LEDGER_COLUMNS

ISSUER: Final = "LiteMaaS"
_OF_LEDGER: Final = {name: facts.focus for name, facts in LEDGER_COLUMNS.items() if facts.focus}
FOCUS_COLUMNS: Final = (
    "BilledCost", "BillingAccountId", "BillingAccountName", "BillingCurrency", "BillingPeriodEnd",
    "BillingPeriodStart", "ChargeCategory", "ChargeClass", "ChargeDescription", "ChargeFrequency", "ChargePeriodEnd",
    "ChargePeriodStart", "ConsumedQuantity", "ConsumedUnit", "ContractedCost", "EffectiveCost", "InvoiceIssuerName",
    "ListCost", "PricingCategory", "PricingQuantity", "PricingUnit", "ProviderName", "PublisherName", "ResourceId",
    "ResourceName", "ResourceType", "ServiceCategory", "ServiceName", "ServiceSubcategory", "SkuId", "SubAccountId",
    "SubAccountName", "Tags", "x_Calls", *_OF_LEDGER.values(), "x_EstimatedCalls", "x_UnpricedCalls",
)  # fmt: skip


def focus_line(line: dict[str, Any]) -> dict[str, Any]:
    """The row of FOCUS for one line of `operations.usage.exports` by day."""
    month, zone = line["day"].replace(day=1), ZoneInfo(line["time_zone"])
    cost = Decimal(usd_text(line["cost_nano_usd"]))
    tokens = line["prompt_tokens"] + line["completion_tokens"]
    model = line["model"] or f"model {line['model_id']}"
    tags = {"ending": line["ending"], "error_class": line["error_class"]}
    return {
        **dict.fromkeys(("BilledCost", "ContractedCost", "EffectiveCost", "ListCost"), cost),
        "BillingAccountId": str(line["account_id"]),
        "BillingAccountName": line["account"],
        "BillingCurrency": "USD",
        "BillingPeriodStart": _begin(month, zone),
        "BillingPeriodEnd": _begin((month + timedelta(days=32)).replace(day=1), zone),
        "ChargeCategory": "Usage",
        "ChargeClass": None,
        "ChargeDescription": f"{model}: {line['calls']} calls ({line['ending']})",
        "ChargeFrequency": "Usage-Based",
        "ChargePeriodStart": line["day_start"],
        "ChargePeriodEnd": line["day_end"],
        "ConsumedQuantity": tokens,
        "ConsumedUnit": "Tokens",
        "InvoiceIssuerName": ISSUER,
        "PricingCategory": "Standard",
        "PricingQuantity": tokens,
        "PricingUnit": "Tokens",
        "ProviderName": ISSUER,
        "PublisherName": line["provider"] or ISSUER,
        "ResourceId": str(line["api_key_id"]),
        "ResourceName": line["api_key"],
        "ResourceType": "API key",
        "ServiceCategory": "AI and Machine Learning",
        "ServiceName": ISSUER,
        "ServiceSubcategory": "Generative AI",
        "SkuId": model,
        "SubAccountId": None if line["user_id"] is None else str(line["user_id"]),
        "SubAccountName": line["user"],
        "Tags": json.dumps(tags, separators=(",", ":")),
        "x_Calls": line["calls"],
        **{column: line[name] for name, column in _OF_LEDGER.items()},
        "x_EstimatedCalls": line["estimated_calls"],
        "x_UnpricedCalls": line["unpriced_calls"],
    }


def _begin(day: date, zone: ZoneInfo) -> datetime:
    return datetime.combine(day, time(), zone).astimezone(UTC)
