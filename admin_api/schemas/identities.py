"""JSON of users' identities at identity providers."""

from datetime import datetime

from admin_api.schemas.shapes import View


class IdentityView(View):
    """The person `subject` of `issuer`, linked at `created_at`. `groups_told_at`: when the provider reported
    the current groups; null: unknown."""

    id: int
    user_id: int
    issuer: str
    subject: str
    created_at: datetime
    groups_told_at: datetime | None
