"""A call that was admitted: what was reserved for it, and what it is expected to use."""

from uuid import UUID

import msgspec

from gateway.domain.calls import Usage
from gateway.domain.grants import Grant, KeyRecord
from gateway.storage.counters.scripts import Estimate


class Reservation(msgspec.Struct, kw_only=True):
    """`expected` is what is charged where the answer reports nothing; `expected_is_estimate` says that it is not even
    known from the request. `is_leased` is false where Redis was away and the deployment lets calls pass; once Redis is
    back they get a lease too."""

    request_id: UUID
    # The caller's own.
    client_request_id: str | None = None
    record: KeyRecord
    grant: Grant
    expected: Usage
    expected_is_estimate: bool
    # The estimate before the model's ratio, for learning.
    raw_prompt_tokens: float
    choices: int
    is_leased: bool
    # It passes the bound on token counting only, and no limit counts it, nor one that is set while it runs.
    counts_tokens: bool
    estimate: Estimate
    note: bytes
    headers: list[tuple[bytes, bytes]]

    @property
    def scopes(self) -> str:
        """Of the limits that count it."""
        return "" if self.counts_tokens else self.grant.scopes

    @property
    def reserved_tokens(self) -> int:
        """Prompt and completion together."""
        return self.estimate.tokens[0] + self.estimate.tokens[1]

    @property
    def reserved_nano_usd(self) -> int:
        """Of prompt and completion together."""
        return self.estimate.cost[0] + self.estimate.cost[1]
