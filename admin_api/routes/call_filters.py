"""Query parameters that select calls, of usage and of refusals."""

from datetime import datetime
from typing import Any

from pydantic import BaseModel, ConfigDict, Field

from admin_api.operations.dates import PERIODS
from admin_api.operations.pagination import MAX_ID
from admin_api.operations.usage.scope import MAX_WORDS, UsageFilter


class CallFilters(BaseModel):
    """Calls must match all filters that are given."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    since: datetime | None = Field(None, description="From this time on; default: 30 days before until")
    until: datetime | None = Field(None, description="Before this time; default: now")
    period: str | None = Field(None, max_length=30, description=f"Instead of since and until: {PERIODS}")
    time_zone: str | None = Field(None, max_length=64, description="IANA name; default: the account's")
    user: str | None = Field(None, max_length=254, description="E-mail address or id of a user")
    team: str | None = Field(None, max_length=254, description="Name or id of a team")
    key: int | None = Field(None, ge=1, le=MAX_ID, description="Id of a key")
    model: list[str] = Field([], max_length=MAX_WORDS, description="Name of a model; may be repeated")

    def as_filter(self) -> UsageFilter:
        """The filter of the operations."""
        fields = self.model_dump(include={"since", "until", "period", "time_zone", "user", "team", "key"})
        return UsageFilter(models=self.model, **fields, **self.more_fields())

    def more_fields(self) -> dict[str, Any]:
        """Of the operations' filter, what a kind of calls has beside the common fields."""
        return {}
