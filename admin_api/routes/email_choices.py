"""`/api/v1/users/me/emails`, and for admins those of other users."""

from typing import Annotated

from fastapi import APIRouter
from pydantic import Field

from admin_api.operations.notifications import email_choices
from admin_api.routes.dependencies import Admin, AppPool, Body, LoggedIn, Reader, UserPath
from admin_api.routes.responses import ERRORS
from admin_api.schemas.email_choices import EmailChoicesView, EmailChoiceView

router = APIRouter(prefix="/api/v1/users", tags=["users"], responses=ERRORS)


class EmailChoices(Body):
    """Events that are left out stay as they are."""

    emails: Annotated[
        dict[str, bool],
        Field(max_length=100, description="By event, whether the user gets e-mails about it"),
    ]


@router.get("/me/emails")
async def list_own_emails(actor: LoggedIn, pool: AppPool) -> EmailChoicesView:
    """The events, and whether the caller gets e-mails about them."""
    return _view(await email_choices.list_choices(pool, actor))


@router.patch("/me/emails")
async def choose_own_emails(actor: LoggedIn, pool: AppPool, body: EmailChoices) -> EmailChoicesView:
    """Which e-mails the caller gets. What waits already and is not wanted any more is not sent."""
    return _view(await email_choices.update_choices(pool, actor, body.emails))


@router.get("/{user}/emails")
async def list_user_emails(actor: Reader, pool: AppPool, user: UserPath) -> EmailChoicesView:
    """The events, and whether the user gets e-mails about them."""
    return _view(await email_choices.list_choices(pool, actor, user=user))


@router.patch("/{user}/emails")
async def choose_user_emails(actor: Admin, pool: AppPool, user: UserPath, body: EmailChoices) -> EmailChoicesView:
    """Which e-mails the user gets, as for one who is not a person."""
    return _view(await email_choices.update_choices(pool, actor, body.emails, user=user))


def _view(rows: list[email_choices.EmailChoice]) -> EmailChoicesView:
    return EmailChoicesView(rows=[EmailChoiceView.model_validate(row) for row in rows])
