"""`/api/v1/limits`."""

from typing import Annotated, Any, Literal

from fastapi import APIRouter, Query, Response
from pydantic import Field

from admin_api.operations.keys import owner_limits
from admin_api.operations.limits import boosts, bulk, explain, limits, states
from admin_api.operations.limits.parsing import AmountInput, parse_decimal
from admin_api.operations.pagination import MAX_ID
from admin_api.operations.validation import check_text
from admin_api.routes.dependencies import (
    ID,
    Admin,
    AppCounters,
    AppPool,
    AsOf,
    Body,
    Cursor,
    LoggedIn,
    Moment,
    PageSize,
    TeamQuery,
    UserQuery,
)
from admin_api.routes.responses import CHANGED, ERRORS, TAGGED
from admin_api.schemas.explanations import ExplanationView
from admin_api.schemas.limits import LimitView, LimitWithStateView, PreviewView, SetLimitView
from admin_api.schemas.shapes import PageView
from admin_api.web.etags import tag
from gateway.domain.limits import MAX_AMOUNT, Kind, Level, ReserveMode
from gateway.domain.windows import WindowKind

router = APIRouter(prefix="/api/v1/limits", tags=["limits"], responses=ERRORS)
admin_router = APIRouter(prefix="/api/v1/admin/limits", tags=["limits"], responses=ERRORS)


@router.get("/explain")
async def explain_limits(
    actor: LoggedIn,
    pool: AppPool,
    counters: AppCounters,
    key: Annotated[int, Query(ge=1, le=MAX_ID, description="Id of the key")],
    model: Annotated[str, Query(max_length=255, description="Name of the model")],
    tokens: Annotated[
        int | None,
        Query(ge=0, le=explain.MAX_TOKENS, description="Prompt and completion together; default: an ordinary call's"),
    ] = None,
    max_tokens: Annotated[
        int | None, Query(ge=0, le=explain.MAX_TOKENS, description="The call's bound on its answer; default: none")
    ] = None,
    address: Annotated[
        str | None, Query(max_length=64, description="The caller's address; default: one that the key allows")
    ] = None,
) -> ExplanationView:
    """Whether such a call would be admitted now and why, limit by limit, by the gateway's own rules. Reserves
    nothing."""
    call = explain.CallInput(model=model, tokens=tokens, max_tokens=max_tokens, address=address)
    reported = await explain.explain_limits(pool, counters, actor, key_id=key, call=call)
    return ExplanationView.model_validate(reported)


@router.get("/state")
async def list_limit_states(
    actor: LoggedIn,
    pool: AppPool,
    counters: AppCounters,
    user: UserQuery = None,
    team: TeamQuery = None,
    limit: Annotated[int, Query(ge=1, le=states.MAX_STATES, description="Maximum rows of a page")] = 100,
    cursor: Cursor = None,
) -> PageView[LimitWithStateView]:
    """The limits of one account, your own if none is named, with what remains of each now."""
    page = await states.list_limit_states(pool, counters, actor, user=user, team=team, limit=limit, cursor=cursor)
    return PageView[LimitWithStateView].of(page, LimitWithStateView.with_state)


class Amount(Body):
    """An amount: exactly one of the three. Kind cost has `amount_usd` or `amount_nano_usd`, other kinds `amount`; every
    kind may be `unlimited`. `confirm`: money may change by more than a thousandfold."""

    amount: Annotated[
        Annotated[int, Field(ge=0, le=MAX_AMOUNT)] | Literal["unlimited"] | None,
        Field(description="A count, not for kind cost; or unlimited"),
    ] = None
    amount_usd: Annotated[str | None, Field(max_length=64, description="For kind cost, for example 25.00")] = None
    amount_nano_usd: Annotated[int | None, Field(ge=0, le=MAX_AMOUNT, description="For kind cost")] = None
    confirm: bool = False

    def given(self) -> AmountInput:
        """The amount, whose unit is checked when the kind is known."""
        return AmountInput(amount=self.amount, amount_usd=self.amount_usd, amount_nano_usd=self.amount_nano_usd)


class LimitBody(Amount):
    """A limit, without its target."""

    kind: Kind
    window: Annotated[WindowKind | None, Field(description="For requests, tokens and cost")] = None
    burst: Annotated[str | int, Field(description="Kinds rpm and tpm: minutes' worth in a full bucket")] = "1"
    reserve: ReserveMode = "expected"
    reason: Annotated[str | None, Field(max_length=1000)] = None

    def input_(self, **more: Any) -> limits.LimitInput:
        """The input of the operation."""
        return limits.LimitInput(
            kind=self.kind,
            amount=self.given().of_kind(self.kind),
            window=self.window,
            burst=parse_decimal("burst", str(self.burst)),
            reserve=self.reserve,
            reason=self.reason,
            confirmed=self.confirm,
            **more,
        )


class LimitSetting(LimitBody):
    """A limit to be set."""

    level: Level
    id: Annotated[str | int, Field(description="Of the key, subscription, user or team")]
    model: Annotated[str | None, Field(max_length=255, description="Level key_model")] = None
    team: Annotated[str | None, Field(max_length=254, description="Level user: the user inside this team")] = None
    shadow: Annotated[bool, Field(description="Only counts and reports, refuses nothing")] = False
    expires_at: Moment | None = None


@router.get("")
async def list_limits(
    actor: LoggedIn,
    pool: AppPool,
    level: Annotated[Level | None, Query()] = None,
    id: Annotated[str | None, Query(max_length=254, description="Of the key, subscription, user or team")] = None,
    user: UserQuery = None,
    team: TeamQuery = None,
    limit: PageSize = 100,
    cursor: Cursor = None,
) -> PageView[LimitView]:
    """By id; those of your account, of your teams and yours in them; for admins, all. Filters combine."""
    page = await limits.list_limits(
        pool, actor, level=level, target=id, user=user, team=team, limit=limit, cursor=cursor
    )
    return PageView[LimitView].of(page, LimitView.of)


@router.get("/{limit_id:int}", responses=TAGGED)
async def show_limit(actor: LoggedIn, pool: AppPool, response: Response, limit_id: ID) -> LimitView:
    """One limit that you may see."""
    row = await limits.find_limit(pool, actor, limit_id)
    tag(response, row)
    return LimitView.of(row)


@router.put(
    "",
    response_model=SetLimitView,
    responses=TAGGED | CHANGED | {204: {"description": "Unlimited: the limit was removed"}},
)
async def set_limit(
    actor: LoggedIn, pool: AppPool, response: Response, body: LimitSetting, as_of: AsOf
) -> SetLimitView | Response:
    """Creates the limit, changes the one of its kind, or removes it if the amount is `unlimited`. The owner of a key
    sets limits of their own on it, never above an admin's; both apply. If-Match names the limit that is replaced."""
    input_ = body.input_(shadow=body.shadow, expires_at=body.expires_at)
    target = check_text("id", str(body.id), maximum=254)
    set_limit_as = owner_limits.set_own_limit if actor.role == "user" else limits.set_limit
    done = await set_limit_as(
        pool, actor, input_, level=body.level, target=target, model=body.model, team=body.team, as_of=as_of
    )
    if done.row is None:
        return Response(status_code=204)
    tag(response, done.row)
    return SetLimitView.of_change(done.row, done.replaced)


@router.delete("/{limit_id:int}", status_code=204, responses=CHANGED)
async def delete_limit(actor: LoggedIn, pool: AppPool, limit_id: ID, as_of: AsOf) -> None:
    """Removes a limit; the owner of a key, one they set."""
    delete_limit_as = owner_limits.delete_own_limit if actor.role == "user" else limits.delete_limit
    await delete_limit_as(pool, actor, limit_id, as_of=as_of)


class BulkInput(LimitBody):
    """One limit for all targets of a level that match all filters. They become permanent limits set by an admin."""

    level: Literal["user", "team", "subscription", "key"]
    users: Annotated[
        list[Annotated[str, Field(max_length=254)]] | None, Field(max_length=1000, description="Addresses or ids")
    ] = None
    team: Annotated[str | None, Field(max_length=254, description="Name or id; at level user, its members")] = None
    model: Annotated[str | None, Field(max_length=255, description="Levels subscription and key")] = None

    def filter(self) -> bulk.Filter:
        """The targets."""
        return bulk.Filter(level=self.level, users=self.users, team=self.team, model=self.model)


class BulkApply(BulkInput):
    """The input of the preview, and its token."""

    token: Annotated[str, Field(min_length=64, max_length=64, pattern="^[0-9a-f]*$")]


class Boost(Amount):
    """A temporary amount, and the reason. `confirm`: it may be lower than the limit, or change money by more than a
    thousandfold."""

    expires_at: Moment
    reason: Annotated[str, Field(min_length=1, max_length=1000)]


@admin_router.post("/preview")
async def preview_limits(actor: Admin, pool: AppPool, body: BulkInput) -> PreviewView:
    """The limits that would change; changes nothing. Its `token` is for apply."""
    return PreviewView.of(await bulk.preview_limits(pool, actor, body.filter(), body.input_()))


@admin_router.post("/apply")
async def apply_limits(actor: Admin, pool: AppPool, body: BulkApply) -> PreviewView:
    """Applies exactly the changes that the preview with this token showed; 409 if they would differ by now."""
    done = await bulk.apply_limits(pool, actor, body.filter(), body.input_(), body.token)
    return PreviewView.of(done)


@admin_router.post("/{limit_id}/boost", status_code=201)
async def boost_limit(actor: Admin, pool: AppPool, limit_id: ID, body: Boost) -> SetLimitView:
    """A temporary limit that replaces this one until it expires; a lower one needs `confirm`."""
    done = await boosts.boost_limit(
        pool,
        actor,
        limit_id,
        amount=body.given(),
        expires_at=body.expires_at,
        reason=body.reason,
        confirmed=body.confirm,
    )
    return SetLimitView.of_change(done.limit, done.replaced)
