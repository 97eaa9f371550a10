"""JSON of the choice which e-mails a user gets."""

from pydantic import Field

from admin_api.schemas.shapes import View


class EmailChoiceView(View):
    """An event, and whether the user gets e-mails about it."""

    event: str = Field(description="As webhooks name it, or requests.pending")
    email: bool = Field(description="Whether the user gets e-mails about it")


class EmailChoicesView(View):
    """Every event that the user could get an e-mail about."""

    rows: list[EmailChoiceView] = Field(description="All of them")
