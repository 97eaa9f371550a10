"""`/api/v1/limits`"""

from decimal import Decimal
from typing import Annotated, Literal

from fastapi import APIRouter, Query, Response
from pydantic import AwareDatetime, Field

from admin_api.operations import explanations, limits
from admin_api.operations.checks import invalid
from admin_api.operations.limit_words import parse_decimal, parse_usd
from admin_api.operations.pages import MOST_ID
from admin_api.routes.requests import (
    ERRORS,
    ID,
    MOST_AMOUNT,
    Admin,
    AppCounters,
    AppPool,
    Body,
    Cursor,
    PageSize,
    TeamQuery,
    UserQuery,
)
from admin_api.views.explanations import ExplanationView
from admin_api.views.limits import LimitView
from admin_api.views.shapes import PageView
from gateway.domain.limits import Kind, Level, ReserveMode
from gateway.domain.windows import WindowKind

router = APIRouter(prefix="/api/v1/limits", tags=["limits"], responses=ERRORS)


@router.get("/explain")
async def explain_limits(
    actor: Admin,
    pool: AppPool,
    counters: AppCounters,
    key: Annotated[int, Query(ge=1, le=MOST_ID, description="Id of the key")],
    model: Annotated[str, Query(max_length=255, description="Name of the model")],
    tokens: Annotated[int, Query(ge=0, le=explanations.MOST_TOKENS, description="Prompt and completion together")] = 0,
) -> ExplanationView:
    """What would happen to such a call now and why, limit by limit; takes nothing."""
    told = await explanations.explain_limits(pool, counters, actor, key_id=key, model=model, tokens=tokens)
    return ExplanationView.model_validate(told)


class LimitSetting(Body):
    """A limit as it shall be. For kind cost `amount` is in nano-USD, or give `amount_usd`."""

    level: Level
    id: Annotated[str | int, Field(description="Of the key, subscription, user or team")]
    model: Annotated[str | None, Field(max_length=255, description="Level key_model")] = None
    team: Annotated[str | None, Field(max_length=254, description="Level user: the user inside this team")] = None
    kind: Kind
    window: Annotated[WindowKind | None, Field(description="For requests, tokens and cost")] = None
    amount: Annotated[int, Field(ge=0, le=MOST_AMOUNT)] | Literal["unlimited"] | None = None
    amount_usd: Annotated[str | None, Field(max_length=64, description="Kind cost, as 0.45")] = None
    burst: Annotated[str | int, Field(description="Kinds rpm and tpm: minutes' worth in a full bucket")] = "1"
    reserve: ReserveMode = "expected"
    shadow: Annotated[bool, Field(description="Only counts and reports, refuses nothing")] = False
    expires_at: AwareDatetime | None = None
    reason: Annotated[str | None, Field(max_length=1000)] = None

    def amount_or_unlimited(self) -> int | None:
        """In whole units, nano-USD for kind cost; None is unlimited."""
        if (self.amount is None) == (self.amount_usd is None):
            raise invalid("amount", "Give amount (a number or 'unlimited') or, for kind cost, amount_usd.")
        if self.amount_usd is not None:
            if self.kind != "cost":
                raise invalid("amount_usd", "amount_usd is for kind cost.")
            return parse_usd("amount_usd", self.amount_usd)
        return None if self.amount == "unlimited" else self.amount

    def burst_factor(self) -> Decimal:
        """As an exact number."""
        return parse_decimal("burst", str(self.burst))


@router.get("")
async def list_limits(
    actor: Admin,
    pool: AppPool,
    level: Annotated[Level | None, Query()] = None,
    id: Annotated[str | None, Query(max_length=254, description="Of the key, subscription, user or team")] = None,
    user: UserQuery = None,
    team: TeamQuery = None,
    limit: PageSize = 100,
    cursor: Cursor = None,
) -> PageView[LimitView]:
    """By id; all, or those of one account, level or target."""
    page = await limits.list_limits(
        pool, actor, level=level, target=id, user=user, team=team, limit=limit, cursor=cursor
    )
    return PageView[LimitView](rows=[LimitView.of(row) for row in page.rows], next_cursor=page.next_cursor)


@router.put("", response_model=LimitView, responses={204: {"description": "Unlimited: there is no such limit now"}})
async def set_limit(actor: Admin, pool: AppPool, body: LimitSetting) -> LimitView | Response:
    """Makes the limit, changes the one of its kind, or removes it where the amount is `unlimited`."""
    wish = limits.LimitWish(
        kind=body.kind,
        amount=body.amount_or_unlimited(),
        window=body.window,
        burst=body.burst_factor(),
        reserve=body.reserve,
        shadow=body.shadow,
        expires_at=body.expires_at,
        reason=body.reason,
    )
    row = await limits.set_limit(
        pool, actor, wish, level=body.level, target=str(body.id), model=body.model, team=body.team
    )
    return Response(status_code=204) if row is None else LimitView.of(row)


@router.delete("/{limit_id:int}", status_code=204)
async def delete_limit(actor: Admin, pool: AppPool, limit_id: ID) -> None:
    """Removes a limit."""
    await limits.delete_limit(pool, actor, limit_id)
