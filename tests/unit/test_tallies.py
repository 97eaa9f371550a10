"""Numbers that are added up outside prometheus-client arrive in its metrics as if they had been counted there."""

from datetime import UTC, datetime
from typing import Any
from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st
from prometheus_client import CollectorRegistry, Histogram

from gateway import metrics, tallies
from gateway.domain.usage_rows import UsageRow
from gateway.tallies import OTHER, Spread, Tallies

BUCKETS = (0.01, 0.5, 2.0)
# On, below and above each bucket.
SECONDS = st.sampled_from([0.0, 0.01, 0.010001, 0.5, 0.4, 2.0, 2.1, 3e9])


def row(**about: Any) -> UsageRow:
    usual: dict[str, Any] = dict(
        request_id=UUID(int=1), started_at=datetime(2026, 11, 1, tzinfo=UTC), account_id=1, user_id=1, api_key_id=1,
        subscription_id=1, model_id=1, model_asked="m", endpoint="chat_completions", streamed=False, status=200,
        ending="completed", prompt_tokens=10, completion_tokens=3, cached_tokens=0, cache_write_tokens=0,
        reasoning_tokens=0, cost_nano_usd=70, price_id=1, counted_requests=1, counted_tokens=13, counted_nano_usd=70,
        first_byte_ms=20, total_ms=300, estimated=False,
    )  # fmt: skip
    return UsageRow(**(usual | about))


def value(name: str, **labels: str) -> float:
    return metrics.REGISTRY.get_sample_value(name, labels) or 0.0


@given(st.lists(st.lists(SECONDS, max_size=6), max_size=5))
def test_a_spread_writes_what_the_histogram_would_have_observed(batches: list[list[float]]) -> None:
    registry = CollectorRegistry()
    expected, first, second = (Histogram(name, "", buckets=BUCKETS, registry=registry) for name in ("a", "b", "c"))
    spread = Spread(BUCKETS)

    for batch in batches:
        for seconds in batch:
            spread.add(seconds)
            expected.observe(seconds)
        spread.write((first, second))
        spread.write((first, second))  # nothing is new

    found: dict[str, list[Any]] = {
        family.name: [
            (sample.name[1:], sample.labels, pytest.approx(sample.value))
            for sample in family.samples
            if not sample.name.endswith("_created")
        ]
        for family in registry.collect()
    }
    for name in ("b", "c"):
        assert [(suffix, labels) for suffix, labels, _ in found[name]] == [(s, labels) for s, labels, _ in found["a"]]
        assert [v.expected for *_, v in found[name]] == [v for *_, v in found["a"]]


def test_a_call_is_counted_by_endpoint_and_by_model() -> None:
    counted = Tallies()
    model = {"model": "unit-model", "provider": "unit-provider"}
    endpoint = {"endpoint": "chat_completions"}
    before = {
        name: value(name, **labels)
        for name, labels in (
            ("litemaas_calls_total", endpoint | {"status": "200", "ending": "completed"}),
            ("litemaas_tokens_total", {"direction": "output"}),
            ("litemaas_cost_nano_usd_total", {}),
            ("litemaas_first_byte_seconds_count", endpoint),
            ("litemaas_call_seconds_count", endpoint),
            ("litemaas_own_seconds_sum", endpoint),
        )
    }

    counted.call("chat_completions", row(), "unit-model", "unit-provider", 0.25)
    counted.call("chat_completions", row(first_byte_ms=None), "unit-model", "unit-provider", None)
    counted.write()
    counted.write()

    assert value("litemaas_model_calls_total", **model, ending="completed") == 2
    assert value("litemaas_model_tokens_total", **model, direction="input") == 20
    assert value("litemaas_model_tokens_total", **model, direction="output") == 6
    assert value("litemaas_model_cost_nano_usd_total", **model) == 140
    assert value("litemaas_model_first_byte_seconds_count", **model) == 1
    assert value("litemaas_model_call_seconds_count", **model) == 2
    assert value("litemaas_model_call_seconds_sum", **model) == pytest.approx(0.6)
    labels = endpoint | {"status": "200", "ending": "completed"}
    assert value("litemaas_calls_total", **labels) - before["litemaas_calls_total"] == 2
    assert value("litemaas_tokens_total", direction="output") - before["litemaas_tokens_total"] == 6
    assert value("litemaas_cost_nano_usd_total") - before["litemaas_cost_nano_usd_total"] == 140
    assert value("litemaas_first_byte_seconds_count", **endpoint) - before["litemaas_first_byte_seconds_count"] == 1
    assert value("litemaas_call_seconds_count", **endpoint) - before["litemaas_call_seconds_count"] == 2
    assert value("litemaas_own_seconds_sum", **endpoint) - before["litemaas_own_seconds_sum"] == pytest.approx(0.25)


def test_a18_models_that_are_renamed_again_and_again_do_not_make_series_without_end(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(tallies, "MAX_MODELS", 3)
    counted = Tallies()
    others = value("litemaas_model_calls_total", model=OTHER, provider=OTHER, ending="completed")

    for number in range(5):
        counted.call("chat_completions", row(), f"renamed-{number}", "p", 0.0)
    counted.write()

    named = {
        sample.labels["model"]
        for family in metrics.MODEL_CALLS.collect()
        for sample in family.samples
        if sample.labels["model"].startswith("renamed-")
    }
    assert named == {"renamed-0", "renamed-1", "renamed-2"}
    assert value("litemaas_model_calls_total", model=OTHER, provider=OTHER, ending="completed") - others == 2


def test_redis_scripts_have_seconds_and_failures() -> None:
    counted = Tallies()

    counted.script("unit-script", 0.002)
    counted.script("unit-script", None)
    counted.write()

    assert value("litemaas_redis_seconds_count", script="unit-script") == 1
    assert value("litemaas_redis_seconds_bucket", script="unit-script", le="0.0025") == 1
    assert value("litemaas_redis_seconds_bucket", script="unit-script", le="0.001") == 0
    assert value("litemaas_redis_failures_total", script="unit-script") == 1
