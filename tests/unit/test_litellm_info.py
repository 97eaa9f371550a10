"""Parsing of LiteLLM's `/model/info`: what it sends today, and malformed variants."""

import json
from decimal import Decimal

import pytest

from admin_api.operations.models.litellm_info import ModelInfoError, SeenModel, parse_model_info
from gateway.domain.prices import PRICE_UNITS, Price


def entry(name: object = "small", **info: object) -> dict[str, object]:
    return {
        "model_name": name,
        "litellm_params": {"model": "openai/x", "api_base": "http://inside"},
        "model_info": info,
    }


def parse(*entries: object) -> tuple[SeenModel, ...]:
    return parse_model_info(json.dumps({"data": entries})).models


def units_of(model: SeenModel) -> dict[str, Decimal]:
    """The usual prices."""
    found = {} if model.price is None else {unit: getattr(model.price, unit) for unit in PRICE_UNITS}
    return {unit: usd for unit, usd in found.items() if usd is not None}


def test_all_fields_of_a_configured_model_are_read() -> None:
    (model,) = parse(
        entry(
            "team/small",
            litellm_provider="openai",
            mode="chat",
            max_input_tokens=8192,
            max_output_tokens=4096,
            supports_vision=True,
            supports_reasoning=False,
            supports_web_search=None,
            input_cost_per_token=1e-6,
            output_cost_per_token=2e-6,
            pricing_overrides=["input_cost_per_token", "output_cost_per_token"],
        )
    )

    assert model == SeenModel(
        name="team/small",
        provider="openai",
        mode="chat",
        max_input_tokens=8192,
        max_output_tokens=4096,
        capabilities=("vision",),
        deployments=1,
        price=Price(id=0, input=Decimal("0.000001"), output=Decimal("0.000002")),
        unused=[],
        do_prices_differ=False,
    )


def test_missing_data_stays_missing() -> None:
    (model,) = parse(entry(mode=None, max_input_tokens=None, max_output_tokens=0, input_cost_per_token=None))

    assert (model.provider, model.mode, model.max_input_tokens, model.max_output_tokens) == (None,) * 4
    assert units_of(model) == {}


def test_a_price_keeps_the_digits_of_the_text() -> None:
    text = '{"data":[{"model_name":"m","model_info":{"input_cost_per_token":4.9999999999999996e-05,"x":1}}]}'

    (model,) = parse_model_info(text).models

    assert units_of(model) == {"input": Decimal("0.000049999999999999996")}


def test_default_zeros_are_no_price() -> None:
    (model,) = parse(entry(input_cost_per_token=0.0, output_cost_per_token=0.0, pricing_overrides=[]))

    assert units_of(model) == {}


def test_configured_zeros_are_a_price() -> None:
    (model,) = parse(
        entry(input_cost_per_token=0.0, output_cost_per_token=0, pricing_overrides=["input_cost_per_token"])
    )

    assert units_of(model) == {"input": Decimal(0), "output": Decimal(0)}


def test_a_zero_beside_a_price_is_a_price() -> None:
    (model,) = parse(entry(mode="embedding", input_cost_per_token=1e-7, output_cost_per_token=0.0))

    assert units_of(model) == {"input": Decimal("1E-7"), "output": Decimal(0)}


@pytest.mark.parametrize("value", [-1, True, "much", [], {}, "NaN", "Infinity", 1e9, "1e-400"])
def test_an_invalid_price_is_left_out(value: object) -> None:
    (model,) = parse(entry(input_cost_per_token=value, output_cost_per_token=1e-6))

    assert units_of(model) == {"output": Decimal("0.000001")}


def test_other_units_are_read_from_their_fields() -> None:
    speech, transcription, image = parse(
        entry("speech", mode="audio_speech", input_cost_per_character=1.5e-05),
        entry("transcription", mode="audio_transcription", input_cost_per_second=0.0001, output_cost_per_second=0.0002),
        entry("image", mode="image_generation", output_cost_per_token=0, output_cost_per_image_token=4e-05),
    )

    assert units_of(speech) == {"character": Decimal("0.000015")}
    assert units_of(transcription) == {"second": Decimal("0.0001")}
    assert units_of(image) == {"output": Decimal("0.00004")}


def test_deployments_of_one_name_are_one_model_with_their_common_capabilities() -> None:
    (model,) = parse(
        entry(max_output_tokens=4096, supports_vision=True, supports_reasoning=True, input_cost_per_token=1e-6),
        entry(max_output_tokens=2048, supports_vision=True, mode="chat", input_cost_per_token=3e-6),
        entry(),
    )

    assert model.deployments == 3
    assert model.max_output_tokens == 2048
    assert model.capabilities == ()
    assert model.mode == "chat"
    assert units_of(model) == {"input": Decimal("0.000003")}
    assert model.do_prices_differ


@pytest.mark.parametrize("name", ["openai/*", "a,b", "", " small", "x" * 256, "a\nb", None, 7])
def test_unusable_names_are_skipped_and_reported(name: object) -> None:
    catalogue = parse_model_info(json.dumps({"data": [entry(name), entry("small")]}))

    assert [model.name for model in catalogue.models] == ["small"]
    assert catalogue.skipped == (str(name)[:255],)


def test_an_entry_without_information_is_still_a_model() -> None:
    (model,) = parse({"model_name": "bare"})

    assert model.name == "bare"


@pytest.mark.parametrize("text", ["", "null", "[]", "{}", '{"data":{}}', '{"data":null}', "<html>", '{"data":['])
def test_a_response_without_a_list_of_models_is_an_error(text: str) -> None:
    with pytest.raises(ModelInfoError):
        parse_model_info(text)


def test_an_empty_list_is_valid() -> None:
    assert parse() == ()


def test_infinite_numbers_are_no_token_limits() -> None:
    (model,) = parse_model_info('{"data":[{"model_name":"m","model_info":{"max_input_tokens":1e999999}}]}').models

    assert model.max_input_tokens is None
