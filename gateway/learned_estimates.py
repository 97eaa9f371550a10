"""What a worker learns from calls that ended, for the estimates of the next ones.

Nothing that one account's calls teach changes what another account is admitted for or charged.
"""

from typing import Final, TypeVar

from gateway.domain.calls import Usage
from gateway.domain.estimates import CompletionHistory, OutputMean, PromptRatio
from gateway.domain.grants import Grant, KeyRecord
from gateway.reservation import Reservation

# Of each kind; the one that was made first goes first.
MAX_HISTORIES: Final = 50_000
_Learned = TypeVar("_Learned")


class LearnedEstimates:
    """Prompt ratios and mean lengths of answers by account and model, completion histories by key and model."""

    def __init__(self) -> None:
        self._ratios: dict[tuple[int, int], PromptRatio] = {}
        self._histories: dict[tuple[int, int], CompletionHistory] = {}
        self._means: dict[tuple[int, int], OutputMean] = {}

    def prompt_ratio(self, record: KeyRecord, grant: Grant) -> float:
        """The model's own count of a prompt by our estimate; 1 for an account whose calls have taught nothing."""
        ratio = self._ratios.get((record.account_id, grant.model_id))
        return ratio.value if ratio else 1.0

    def history(self, record: KeyRecord, grant: Grant) -> CompletionHistory | None:
        """Of the key's answers of this model."""
        return self._histories.get((record.key_id, grant.model_id))

    def output_mean(self, record: KeyRecord, grant: Grant) -> OutputMean | None:
        """Of the account's answers of this model."""
        return self._means.get((record.account_id, grant.model_id))

    def learn(self, reservation: Reservation, usage: Usage) -> None:
        """Takes what a completed call used into the next estimates."""
        record, model_id = reservation.record, reservation.grant.model_id
        if reservation.raw_prompt_tokens:
            ratio = _entry(self._ratios, (record.account_id, model_id), PromptRatio)
            ratio.learn(reservation.raw_prompt_tokens, usage.prompt_tokens)
        history = _entry(self._histories, (record.key_id, model_id), CompletionHistory)
        tokens = -(-usage.completion_tokens // reservation.choices)
        history.learn(tokens)
        _entry(self._means, (record.account_id, model_id), OutputMean).learn(tokens, usage.reasoning_tokens)


def _entry(entries: dict[tuple[int, int], _Learned], key: tuple[int, int], new: type[_Learned]) -> _Learned:
    entry = entries.get(key)
    if entry is None:
        if len(entries) >= MAX_HISTORIES:
            entries.pop(next(iter(entries)))
        entry = entries[key] = new()
    return entry
