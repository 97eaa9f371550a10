"""API keys, as shown: the key itself only once."""

from datetime import datetime
from typing import TYPE_CHECKING, Self

from admin_api.schemas.shapes import View

if TYPE_CHECKING:
    from admin_api.operations.keys.keys import NewKey


class KeyView(View):
    """All but the key itself. The key before a rotation works until `previous_ends_at`."""

    id: int
    account_id: int
    account_name: str
    user_id: int | None
    user_email: str | None
    name: str
    last_four: str
    models: list[str]
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


class NewKeyView(KeyView):
    """A key just made or rotated; `key` is shown this once."""

    key: str

    @classmethod
    def of(cls, made: "NewKey") -> Self:
        """With the secret."""
        return cls(**KeyView.model_validate(made.row).model_dump(), key=made.secret)
