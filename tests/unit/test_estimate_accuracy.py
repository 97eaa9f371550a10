"""Estimates of prompts against a real tokenizer's counts, which `make estimates` keeps in loadtests/texts."""

import json
from pathlib import Path

import pytest

from gateway.domain.estimates import PromptRatio, estimate_text

TEXTS = Path(__file__).parents[2] / "loadtests" / "texts"
COUNTED: dict[str, int] = json.loads((TEXTS / "counted.json").read_text())


def estimate(name: str) -> float:
    return estimate_text((TEXTS / f"{name}.txt").read_bytes())


def test_every_sample_text_has_a_real_token_count() -> None:
    assert sorted(COUNTED) == sorted(path.stem for path in TEXTS.glob("*.txt"))


@pytest.mark.parametrize("name", COUNTED)
def test_first_estimates_are_within_the_error_the_closed_loop_assumes(name: str) -> None:
    # The estimates in tests/limits/closed_loop.py stay within these.
    assert 0.4 <= estimate(name) / COUNTED[name] <= 1.5


@pytest.mark.parametrize("name", COUNTED)
def test_the_ratio_is_learned_from_a_few_similar_calls(name: str) -> None:
    ratio = PromptRatio()
    for _ in range(30):
        ratio.learn(estimate(name), COUNTED[name])

    assert ratio.value * estimate(name) == pytest.approx(COUNTED[name], rel=0.1)
