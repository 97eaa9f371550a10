"""Token estimates before the upstream reports usage: of prompts, attachments and completions."""

import base64
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.domain.estimates import (
    FIRST_COMPLETION,
    HISTORY,
    LEAST_HISTORY,
    TOKENS_PER_ATTACHMENT,
    CompletionHistory,
    PromptRatio,
    estimate_text,
    expected_completion,
)
from gateway.endpoints.chat import parse_chat
from gateway.endpoints.messages import parse_messages
from gateway.endpoints.prompts import (
    Attachments,
    Content,
    Messages,
    estimate_content,
    estimate_messages,
    take_out_attachments,
)
from gateway.endpoints.responses import parse_responses
from gateway.endpoints.text import parse_embedding, parse_moderation

MEGABYTE = base64.b64encode(bytes(range(256)) * 4096).decode()
DATA_URL = f"data:image/png;base64,{MEGABYTE}"


def messages(*content: dict[str, Any] | str) -> Messages:
    return msgspec.json.decode(msgspec.json.encode([{"role": "user", "content": content}]), type=Messages)


# --- Texts. ---


def test_character_classes_have_different_weights() -> None:
    assert estimate_text(b"a" * 1000) == pytest.approx(244)
    assert estimate_text(b"7" * 1000) == pytest.approx(536)
    assert estimate_text(b"," * 1000) == pytest.approx(795)
    assert estimate_text("é".encode() * 500) == pytest.approx(186)
    assert estimate_text(b" \n\t" * 1000) == 0


def test_plain_english_is_about_four_letters_a_token() -> None:
    text = b"The quick brown fox jumps over the lazy dog, and then it sleeps for a while in the warm sun. " * 100

    assert 0.7 < estimate_text(text) / 2200 < 1.3


@given(st.text(), st.text())
def test_the_estimate_of_a_text_is_the_sum_of_its_chunks(one: str, other: str) -> None:
    whole = estimate_text((one + other).encode())

    assert whole == pytest.approx(estimate_text(one.encode()) + estimate_text(other.encode()))
    assert whole >= 0


# --- Attachments. ---

IMAGE_URL = {"type": "image_url", "image_url": {"url": DATA_URL}}
AUDIO = {"type": "input_audio", "input_audio": {"data": MEGABYTE, "format": "wav"}}
FILE = {"type": "file", "file": {"filename": "a.pdf", "file_data": f"data:application/pdf;base64,{MEGABYTE}"}}
SOURCE = {"type": "base64", "media_type": "image/png", "data": MEGABYTE}
ANTHROPIC_IMAGE = {"type": "image", "source": SOURCE}
ANTHROPIC_PDF = {"type": "document", "source": SOURCE | {"media_type": "application/pdf"}}
INPUT_IMAGE = {"type": "input_image", "image_url": DATA_URL}
INPUT_FILE = {"type": "input_file", "filename": "a.pdf", "file_data": DATA_URL}
SCREENSHOT = {
    "type": "computer_call_output",
    "call_id": "c",
    "output": {"type": "computer_screenshot", "image_url": DATA_URL},
}
TOOL_RESULT = {"type": "tool_result", "tool_use_id": "t", "content": [{"type": "text", "text": "hi"}, ANTHROPIC_IMAGE]}
ATTACHED = [
    IMAGE_URL, AUDIO, FILE, ANTHROPIC_IMAGE, ANTHROPIC_PDF, INPUT_IMAGE, INPUT_FILE, SCREENSHOT, TOOL_RESULT
]  # fmt: skip


def content(*parts: dict[str, Any]) -> Content:
    return msgspec.json.decode(msgspec.json.encode(parts), type=list[msgspec.Raw])


@pytest.mark.parametrize("part", ATTACHED, ids=lambda part: part["type"])
def test_an_attachment_counts_a_fixed_number_of_tokens_and_not_its_bytes(part: dict[str, Any]) -> None:
    assert TOKENS_PER_ATTACHMENT <= estimate_messages(messages(part), Attachments()) < TOKENS_PER_ATTACHMENT + 100
    assert TOKENS_PER_ATTACHMENT <= estimate_content(content(part), Attachments()) < TOKENS_PER_ATTACHMENT + 100


@pytest.mark.parametrize("part", ATTACHED, ids=lambda part: part["type"])
def test_with_reserve_maximum_an_attachment_does_not_count_by_its_bytes(part: dict[str, Any]) -> None:
    text = {"type": "text", "text": "a" * 1000}
    chat = {"model": "m", "messages": [{"role": "user", "content": [text, part]}]}
    response = {"model": "m", "input": [{"role": "user", "content": [text, part]}]}

    for call in (parse_chat(msgspec.json.encode(chat)), parse_responses(msgspec.json.encode(response))):
        assert TOKENS_PER_ATTACHMENT + 1000 <= call.prompt_bytes < TOKENS_PER_ATTACHMENT + 1600


@pytest.mark.parametrize("picture", [IMAGE_URL, DATA_URL], ids=["a part", "a text"])
def test_an_image_for_moderation_or_embedding_does_not_count_by_its_bytes(picture: Any) -> None:
    body = msgspec.json.encode({"model": "m", "input": [{"type": "text", "text": "a" * 1000}, picture]})

    for call in (parse_moderation(body), parse_embedding(body)):
        assert TOKENS_PER_ATTACHMENT < call.prompt_tokens < TOKENS_PER_ATTACHMENT + 300
        assert TOKENS_PER_ATTACHMENT + 1000 <= call.prompt_bytes < TOKENS_PER_ATTACHMENT + 1600


@pytest.mark.parametrize("part", [ANTHROPIC_IMAGE, ANTHROPIC_PDF, TOOL_RESULT], ids=lambda part: part["type"])
def test_with_reserve_maximum_an_attachment_of_a_message_does_not_count_by_its_bytes(part: dict[str, Any]) -> None:
    message = {"role": "user", "content": [{"type": "text", "text": "a" * 1000}, part]}
    call = parse_messages(msgspec.json.encode({"model": "m", "max_tokens": 5, "messages": [message]}))

    assert TOKENS_PER_ATTACHMENT + 1000 <= call.prompt_bytes < TOKENS_PER_ATTACHMENT + 1600


def test_with_reserve_maximum_text_that_looks_like_data_counts_as_text() -> None:
    chat = {"model": "m", "messages": [{"role": "user", "content": "data:image/png;base64," + MEGABYTE}]}

    assert parse_chat(msgspec.json.encode(chat)).prompt_bytes > len(MEGABYTE)


def test_every_attachment_counts() -> None:
    assert (
        3 * TOKENS_PER_ATTACHMENT
        < estimate_messages(messages(IMAGE_URL, AUDIO, FILE), Attachments())
        < 3 * TOKENS_PER_ATTACHMENT + 100
    )


def test_text_beside_attachments_counts_by_its_characters() -> None:
    with_text = estimate_messages(messages({"type": "text", "text": "a" * 1000}, IMAGE_URL), Attachments())

    assert with_text - estimate_messages(messages(IMAGE_URL), Attachments()) == pytest.approx(244)


def test_a_content_part_of_an_unknown_type_counts_as_text() -> None:
    assert estimate_content(content({"type": "newer", "payload": "a" * 1000}), Attachments()) > 240


# --- The learned ratio. ---


def test_a_ratio_starts_at_one_and_converges_to_the_reported_tokens() -> None:
    ratio = PromptRatio()
    assert ratio.value == 1
    ratio.learn(100, 130)
    assert 1 < ratio.value < 1.1
    for _ in range(300):
        ratio.learn(100, 130)
    assert ratio.value == pytest.approx(1.3, abs=0.01)


def test_a_ratio_stays_between_a_quarter_and_four() -> None:
    high, low = PromptRatio(), PromptRatio()
    for _ in range(1000):
        high.learn(10, 10_000)
        low.learn(10_000, 10)

    assert 3.99 < high.value <= 4
    assert 0.25 <= low.value < 0.251


def test_s2_one_call_moves_a_ratio_by_a_bounded_amount_however_many_tokens_it_reports() -> None:
    ratio = PromptRatio()

    ratio.learn(100, 60_000)

    assert ratio.value < 1.7


def test_calls_without_reported_usage_do_not_change_the_ratio() -> None:
    ratio = PromptRatio()
    ratio.learn(0, 100)
    ratio.learn(100, 0)

    assert ratio.value == 1


# --- Completions. ---


def history_of(*tokens: int) -> CompletionHistory:
    history = CompletionHistory()
    for count in tokens:
        history.learn(count)
    return history


def test_fewer_than_thirty_calls_give_no_history() -> None:
    assert history_of(*[50] * (LEAST_HISTORY - 1)).expected is None
    assert history_of(*[50] * LEAST_HISTORY).expected == 50


def test_the_expected_completion_is_the_mean_plus_two_standard_deviations() -> None:
    assert history_of(*[100, 300] * 20).expected == 200 + 2 * 100


def test_only_the_last_hundred_completions_count() -> None:
    assert history_of(*[5000] * 200, *[40] * HISTORY).expected == 40


def test_without_history_the_default_completion_is_expected_up_to_max_tokens() -> None:
    assert expected_completion(None, None, 1) == FIRST_COMPLETION
    assert expected_completion(None, 200, 1) == 200
    assert expected_completion(None, 5000, 1) == FIRST_COMPLETION
    assert expected_completion(history_of(10), None, 1) == FIRST_COMPLETION


def test_the_expected_completion_of_each_choice_is_at_most_max_tokens() -> None:
    long = history_of(*[3000] * 50)

    assert expected_completion(long, None, 1) == 3000
    assert expected_completion(long, 500, 1) == 500
    assert expected_completion(long, 500, 3) == 1500


@given(st.lists(st.integers(0, 10**6), min_size=LEAST_HISTORY, max_size=250))
def test_the_expected_completion_lies_between_the_mean_and_a_bound_above_it(tokens: list[int]) -> None:
    last = tokens[-HISTORY:]
    expected = history_of(*tokens).expected

    assert expected is not None
    assert sum(last) / len(last) <= expected + 1e-6
    assert expected <= 3 * max(last) + 1


@pytest.mark.parametrize("source", [
    {"type": "text", "media_type": "text/plain", "data": "hello world " * 1000},
    {"type": "content", "content": [{"type": "text", "text": "hello world " * 1000}]},
])  # fmt: skip
def test_a_document_that_is_text_counts_as_text(source: dict[str, Any]) -> None:
    found = Attachments()

    tokens = estimate_content(content({"type": "document", "source": source}), found)

    assert tokens > 2000
    assert (found.count, found.size) == (0, 0)


@pytest.mark.parametrize("kind", [[], {}, 7, None])
def test_a_part_whose_type_is_no_text_is_no_attachment(kind: Any) -> None:
    assert take_out_attachments({"type": kind, "text": "x"})[1] == 0
