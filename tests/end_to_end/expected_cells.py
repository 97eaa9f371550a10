"""The expected cells of the table: the contract, and where LiteLLM 1.106 changes an ending."""

from collections.abc import Mapping
from typing import Any, Final

from end_to_end.asking import (
    CLAUDE,
    COUNT_TOKENS,
    EMBEDDINGS,
    IMAGES,
    INPUT_TOKENS,
    MODERATIONS,
    RERANK,
    RESPONSES,
    SPEECH,
    TRANSLATIONS,
    Route,
    data_of,
    tokens,
)
from end_to_end.cells import (
    A_REQUEST,
    ASKS_NOBODY,
    COUNTED,
    ESTIMATE,
    NOTHING,
    ONE_PIECE,
    PASSED,
    RESERVED,
    UNITS,
    USAGE,
    Row,
    Seen,
)

# By ending: the cell of a whole response, of a stream, and the ending in the ledger of each.
USUAL: Final[Mapping[str, tuple[str, str, str, str]]] = {
    "complete, usage reported": (f"200 {USAGE}", f"200 {USAGE}", "completed", "completed"),
    # LiteLLM estimates the usage of such a stream and does not mark it.
    "complete, none reported": (f"200 {ESTIMATE}", f"200 {COUNTED}", "completed", "completed"),
    "caller leaves before any byte": (f"499 {RESERVED}",) * 2 + ("client_disconnected",) * 2,
    "caller leaves in the middle": (ONE_PIECE, f"200 {PASSED}", "", "client_disconnected"),
    "refused, 4xx": (f"400 {NOTHING}",) * 2 + ("refused_upstream",) * 2,
    "refused, 5xx": (f"500 {NOTHING}",) * 2 + ("refused_upstream",) * 2,
    "not reachable": (f"503 {NOTHING}",) * 2 + ("unreachable",) * 2,
    "breaker open": (f"503 {NOTHING}",) * 2 + ("unreachable",) * 2,
    "silent before any byte": (f"504 {A_REQUEST}",) * 2 + ("timeout",) * 2,
    "silent in the middle": (ONE_PIECE, f"200 {PASSED}", "", "timeout"),
    # LiteLLM buffers a whole response: one that fails is an error of its own.
    "cut in the middle": (f"500 {NOTHING}", f"200 {PASSED}", "refused_upstream", "upstream_error"),
    "error after the work": (f"500 {NOTHING}", f"200 {PASSED}", "refused_upstream", "upstream_error"),
}
COUNTING: Final = (COUNT_TOKENS, INPUT_TOKENS)
OTHERS: Final[Mapping[tuple[Route, str], str]] = {
    # LiteLLM passes Anthropic's streams unchanged.
    (CLAUDE, "complete, none reported"): f"200 {ESTIMATE}",
    # Moderations and speech report no usage.
    (MODERATIONS, "complete, usage reported"): f"200 {ESTIMATE}",
    (SPEECH, "complete, usage reported"): f"200 {UNITS}",
    (SPEECH, "complete, none reported"): f"200 {UNITS}",
    (SPEECH, "caller leaves before any byte"): f"499 {UNITS}",
    (IMAGES, "complete, none reported"): f"200 {UNITS}",
    **{(counts, "caller leaves before any byte"): f"499 {NOTHING}" for counts in COUNTING},
    **{(counts, "silent before any byte"): f"504 {NOTHING}" for counts in COUNTING},
    # If the model fails, LiteLLM counts itself.
    **{(counts, ending): f"200 {NOTHING}" for counts in COUNTING for ending in USUAL
       if ending.startswith(("c", "r", "e"))
       and ending not in ("caller leaves before any byte", "caller leaves in the middle")},
    **{(TRANSLATIONS, ending): f"404 {NOTHING}" for ending in USUAL if ending not in ASKS_NOBODY},
}  # fmt: skip
# LiteLLM's client calls a failing model three times there, whatever `max_retries` is.
ASKED_THRICE: Final = (EMBEDDINGS, MODERATIONS, IMAGES)
FAILS: Final = ("refused, 5xx", "cut in the middle", "error after the work")


def expected_cell(row: Row, ending: str) -> str:
    """The cell as in the page."""
    return OTHERS.get((row.route, ending)) or USUAL[ending][row.is_streamed]


def expected_ending(row: Row, ending: str) -> str:
    """The ending as in the ledger."""
    if row.route == TRANSLATIONS and ending not in ASKS_NOBODY:
        return "refused_upstream"
    if (row.route, ending) in OTHERS and OTHERS[row.route, ending].startswith("200"):
        return "completed"
    return USUAL[ending][2 + row.is_streamed]


def assert_agrees(row: Row, ending: str, seen: Seen) -> None:
    """Checks that ledger, Redis and model server agree on the call."""
    assert seen.cell == expected_cell(row, ending)
    if seen.row is None:
        return
    assert seen.drift == []
    ledger = seen.row
    assert (ledger["endpoint"], ledger["streamed"]) == (row.route.name, row.is_streamed)
    assert ledger["ending"] == expected_ending(row, ending)
    if seen.response is not None:
        assert (seen.response.request_id, seen.response.status) == (str(ledger["request_id"]), ledger["status"])
        assert ("retry-after" in seen.response.headers) == (ending in ASKS_NOBODY)
    if NOTHING in seen.cell or A_REQUEST in seen.cell:
        assert (ledger["counted_tokens"], ledger["counted_nano_usd"]) == (0, 0)
    assert_billed(row, ending, ledger, seen.billed)
    if (
        row.is_streamed
        and ledger["ending"] in ("upstream_error", "timeout")
        and seen.response
        and seen.response.status == 200
    ):
        data = data_of(seen.response.body)
        if row.route == RESPONSES and ledger["ending"] == "upstream_error" and data[-1] == b"[DONE]":
            # LiteLLM adds it after its `response.failed`, where it has no meaning.
            data.pop()
        assert b"error" in data[-1]
        assert not any(b"[DONE]" in one for one in data)


def assert_billed(row: Row, ending: str, ledger: dict[str, Any], billed: list[dict[str, Any]]) -> None:
    """Checks the charge against the model server's count: all reported usage, and never less than what passed."""
    calls = 3 if row.route in ASKED_THRICE and ending in FAILS else 1
    assert len(billed) == (0 if ending in ASKS_NOBODY or row.route == TRANSLATIONS else calls)
    word = expected_cell(row, ending)[4:]
    if word == USAGE:
        assert tokens(ledger) == tokens(billed[0])
        cost = ledger["cost_nano_usd"]
        # LiteLLM reports no cost in streams of messages, and a wrong one for rerank.
        tells = row.route != RERANK and not (row.route.name == "messages" and row.is_streamed)
        assert cost > 0
        assert cost == max(ledger["own_cost_nano_usd"], ledger["litellm_cost_nano_usd"] or 0)
        assert abs((ledger["litellm_cost_nano_usd"] or 0) - cost) <= 1 or not tells
    elif word in (ESTIMATE, COUNTED, RESERVED):
        # The usage of the audio, not of its text.
        assert ledger["prompt_tokens"] >= (billed[0]["audio_ms"] // 100 or billed[0]["prompt_tokens"])
        assert ledger["completion_tokens"] >= billed[0]["completion_tokens"]
    elif word == UNITS:
        assert billed[0]["characters"] or billed[0]["images"]
    elif word == PASSED:
        # Some words are several tokens, and the last ones may have been in transit.
        assert ledger["prompt_tokens"] > 0
        assert ledger["completion_tokens"] < 3 * billed[0]["completion_tokens"] + 3
        assert billed[0]["completion_tokens"] < 150
