"""Estimates of prompts against a real tokenizer's counts, which `make estimates` keeps in loadtests/texts."""

import json
from pathlib import Path

import pytest

from gateway.domain.estimates import PromptRatio, estimate_text

TEXTS = Path(__file__).parents[2] / "loadtests" / "texts"
COUNTED: dict[str, int] = json.loads((TEXTS / "counted.json").read_text())


def estimate(name: str) -> float:
    return estimate_text((TEXTS / f"{name}.txt").read_bytes())


def test_every_text_was_counted() -> None:
    assert sorted(COUNTED) == sorted(path.stem for path in TEXTS.glob("*.txt"))


@pytest.mark.parametrize("name", COUNTED)
def test_a_first_estimate_is_as_near_as_the_closed_loop_takes_it_to_be(name: str) -> None:
    # tests/limits/closed_loop.py guesses within these.
    assert 0.4 <= estimate(name) / COUNTED[name] <= 1.5


@pytest.mark.parametrize("name", COUNTED)
def test_calls_of_one_kind_soon_teach_their_ratio(name: str) -> None:
    ratio = PromptRatio()
    for _ in range(30):
        ratio.learn(estimate(name), COUNTED[name])

    assert ratio.value * estimate(name) == pytest.approx(COUNTED[name], rel=0.1)
