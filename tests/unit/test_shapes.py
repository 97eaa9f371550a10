"""Numbers and fields in responses: exact, readable, and without internal details."""

from decimal import Decimal

import pytest

from admin_api.schemas.models import ModelView
from gateway.domain.money import decimal_text, usd_text


@pytest.mark.parametrize(
    ("number", "text"),
    [
        ("1E-6", "0.000001"),
        ("10", "10"),
        ("1.500", "1.5"),
        ("0", "0"),
        ("0.0", "0"),
        ("1E+3", "1000"),
        ("100.0", "100"),
    ],
)
def test_a_decimal_has_no_exponent_and_no_trailing_zeros(number: str, text: str) -> None:
    assert decimal_text(Decimal(number)) == text


@pytest.mark.parametrize(
    ("nano_usd", "text"),
    [(0, "0"), (1, "0.000000001"), (450_000_000, "0.45"), (2**53 - 1, "9007199.254740991"), (-5, "-0.000000005")],
)
def test_nano_usd_are_converted_to_usd_exactly(nano_usd: int, text: str) -> None:
    assert usd_text(nano_usd) == text


def test_a_model_is_shown_without_its_deployment() -> None:
    assert not {"api_base", "litellm_params", "backend", "key", "url"} & set(ModelView.model_fields)
