"""JSON of API keys; only a new key has its secret."""

from datetime import datetime
from typing import TYPE_CHECKING, Self

from pydantic import Field

from admin_api.schemas.limits import LimitView
from admin_api.schemas.shapes import View
from admin_api.schemas.usage_reports import UsageSumsView
from gateway.domain.model_status import WithheldStatus

if TYPE_CHECKING:
    from admin_api.operations.keys.keys import NewKey
    from admin_api.operations.keys.live_use import KeyUse


class UnavailableModelView(View):
    """A model that cannot be called: `unlisted`, as LiteLLM no longer has it, `disabled` by an admin, or the status of
    its subscription."""

    model: str
    status: WithheldStatus = Field(description="unlisted, disabled, or that of the subscription")


class KeyView(View):
    """A key without its secret. The key before a rotation is valid until `previous_ends_at`."""

    id: int
    account_id: int
    account_name: str
    user_id: int | None
    user_email: str | None
    name: str
    last_four: str
    models: list[str]
    unavailable: list[UnavailableModelView] = Field(description="Those of its models that cannot be called now")
    allowed_ips: list[str]
    expires_at: datetime | None
    revoked_at: datetime | None
    archived_at: datetime | None
    rotated_at: datetime | None
    previous_last_four: str | None
    previous_ends_at: datetime | None
    created_by: str
    created_at: datetime
    updated_at: datetime
    last_used_at: datetime | None = Field(
        description="Last call with it, accurate to the hour; null: none yet. Changes of it change no ETag"
    )


class NewKeyView(KeyView):
    """A key just created or rotated; `key` is the secret, shown this once."""

    key: str

    @classmethod
    def of(cls, made: "NewKey") -> Self:
        """With the secret."""
        return cls(**KeyView.model_validate(made.row).model_dump(), key=made.secret)


class CreatedKeyView(NewKeyView):
    """A key just created, with the limits that were set on it: those asked for, defaults and ceilings."""

    limits: list[LimitView]

    @classmethod
    def of(cls, made: "NewKey") -> Self:
        """With the secret and the limits."""
        limits = [LimitView.of(row) for row in made.limits]
        return cls(**KeyView.model_validate(made.row).model_dump(), key=made.secret, limits=limits)


class KeyUseView(UsageSumsView):
    """What a key is used today, which is a day of `time_zone`."""

    id: int
    account_id: int
    account_name: str
    user_id: int | None
    user_email: str | None
    name: str
    last_four: str
    time_zone: str

    @classmethod
    def of_use(cls, use: "KeyUse") -> Self:
        """Without the secret."""
        key = use.key
        return cls(
            id=key.id,
            account_id=key.account_id,
            account_name=key.account_name,
            user_id=key.user_id,
            user_email=key.user_email,
            name=key.name,
            last_four=key.last_four,
            time_zone=use.time_zone,
            **UsageSumsView.of(use.today).model_dump(),
        )
