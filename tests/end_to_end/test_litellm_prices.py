"""D3: our prices of tokens, and the oracle of tests/price_oracle.py, against what the installed LiteLLM calculates."""

import json
import subprocess
from decimal import Decimal
from typing import Any

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from admin_api.operations.models.litellm_prices import parse_price
from deploy.embedded.litellm_venv import FOLDER
from gateway.domain.calls import Usage
from gateway.domain.money import NANO_USD
from gateway.domain.prices import cost_nano_usd
from tests.price_oracle import SEARCH, TIERS, litellm_usd, price_tables, usages

EXAMPLES = 400
SCRIPT = """
import gc, json, sys
gc.disable()
from litellm.litellm_core_utils.llm_cost_calc.utils import generic_cost_per_token
from litellm.types.utils import Usage
costs = []
for one in json.load(sys.stdin):
    info = {"key": "m"} | one["info"]
    costs.append(sum(generic_cost_per_token(
        model="m", usage=Usage(**one["usage"]), service_tier=one["tier"], model_info=info,
        custom_llm_provider=info.get("litellm_provider", "openai"))))
json.dump(costs, sys.stdout)
"""
Example = tuple[dict[str, Any], Usage, str | None]


def some_examples() -> list[Example]:
    """Tables of prices, and answers, without the fees of tools."""
    made: list[Example] = []

    @settings(max_examples=EXAMPLES, database=None, deadline=None, suppress_health_check=list(HealthCheck))
    @given(price_tables(), usages(), st.sampled_from([None, *TIERS]))
    def collect(info: dict[str, Any], usage: Usage, tier: str | None) -> None:
        made.append(({name: usd for name, usd in info.items() if name != SEARCH}, usage, tier))

    collect()
    return made


def as_litellm_reads(usage: Usage) -> dict[str, Any]:
    short = usage.cache_write_tokens - usage.cache_write_1h_tokens
    life = {"ephemeral_5m_input_tokens": short, "ephemeral_1h_input_tokens": usage.cache_write_1h_tokens}
    prompt = {
        "cached_tokens": usage.cached_tokens,
        "audio_tokens": usage.audio_prompt_tokens,
        "cache_creation_tokens": usage.cache_write_tokens,
        "cache_creation_token_details": life,
    }
    completion = {"reasoning_tokens": usage.reasoning_tokens, "audio_tokens": usage.audio_completion_tokens}
    return {
        "prompt_tokens": usage.prompt_tokens,
        "completion_tokens": usage.completion_tokens,
        "total_tokens": usage.total_tokens,
        "prompt_tokens_details": prompt,
        "completion_tokens_details": completion,
    }


def calculated(examples: list[Example]) -> list[float]:
    """By LiteLLM, in USD."""
    asked = [
        {
            "info": {name: float(usd) if isinstance(usd, Decimal) else usd for name, usd in info.items()},
            "usage": as_litellm_reads(usage),
            "tier": tier,
        }
        for info, usage, tier in examples
    ]
    python = str(FOLDER / "bin" / "python")
    environment = {"LITELLM_LOCAL_MODEL_COST_MAP": "True", "LITELLM_LOG": "ERROR"}
    run = subprocess.run(
        [python, "-c", SCRIPT], input=json.dumps(asked), capture_output=True, text=True, env=environment, check=True
    )
    costs: list[float] = json.loads(run.stdout)
    return costs


def test_d3_prices_of_sizes_tiers_and_cache_lives_are_those_that_litellm_calculates() -> None:
    examples = some_examples()
    assert len(examples) >= 300

    for (info, usage, tier), usd in zip(examples, calculated(examples), strict=True):
        exact = litellm_usd(info, structless(usage), tier)
        assert abs(exact - Decimal(usd)) <= Decimal("1E-12"), (info, usage, tier, usd)
        price = parse_price(info).price
        assert price is not None
        own = cost_nano_usd(price, structless(usage), tier)
        assert 0 <= own - exact * NANO_USD < 1, (info, usage, tier, usd)


def structless(usage: Usage) -> Usage:
    """Without the fees, which are not of tokens."""
    return Usage(**{name: getattr(usage, name) for name in Usage.__struct_fields__ if name != "web_searches"})
