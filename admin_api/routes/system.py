"""`/api/v1/admin/system`."""

from typing import Annotated

from fastapi import APIRouter, Query, Request

from admin_api.operations.maintenance.system import show_system as load_system
from admin_api.operations.usage import lookups
from admin_api.routes.dependencies import AppLiteLLM, AppPool, Reader
from admin_api.routes.responses import ERRORS
from admin_api.schemas.system import MatchesView, MatchView, SystemView

router = APIRouter(prefix="/api/v1/admin/system", tags=["system"], responses=ERRORS)


@router.get("")
async def show_system(
    actor: Reader,
    request: Request,
    pool: AppPool,
    litellm: AppLiteLLM,
    time_zone: Annotated[str, Query(max_length=64, description="IANA name, of the day that today is")] = "UTC",
) -> SystemView:
    """What waits for an admin, what is used today and now, and whether LiteLLM and Redis answer."""
    state = await load_system(pool, actor, litellm, request.app.state.counters, time_zone=time_zone)
    return SystemView.of(state)


@router.get("/lookup")
async def look_up_id(
    actor: Reader,
    pool: AppPool,
    id: Annotated[
        str, Query(min_length=1, max_length=200, description="x-request-id of an answer, or the caller's own")
    ],
) -> MatchesView:
    """What an id belongs to: calls, refused calls or a change, newest first; nothing if nothing that is kept has it."""
    found = await lookups.look_up(pool, actor, id)
    return MatchesView(rows=[MatchView.model_validate(one) for one in found])
