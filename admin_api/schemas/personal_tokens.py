"""JSON of personal access tokens; only a new token has its secret."""

from datetime import datetime
from typing import TYPE_CHECKING, Self

from admin_api.schemas.shapes import View
from gateway.domain.roles import Role

if TYPE_CHECKING:
    from admin_api.operations.people.personal_tokens import NewToken


class PersonalTokenView(View):
    """A token without its secret. `last_used_at` is accurate to the minute."""

    id: int
    user_id: int
    user_email: str
    name: str
    role: Role
    last_four: str
    expires_at: datetime
    revoked_at: datetime | None
    last_used_at: datetime | None
    created_by: str
    created_at: datetime


class NewPersonalTokenView(PersonalTokenView):
    """A token just created; `token` is the secret, shown this once."""

    token: str

    @classmethod
    def of(cls, made: "NewToken") -> Self:
        """With the secret."""
        return cls(**PersonalTokenView.model_validate(made.row).model_dump(), token=made.secret)
