"""`/health/live` and `/health/ready`, for orchestrators and load balancers. Both need no login."""

from typing import Literal

from fastapi import APIRouter, Request, Response
from pydantic import BaseModel

from admin_api.routes.dependencies import AppPool
from admin_api.storage.health import does_answer

router = APIRouter(prefix="/health", tags=["health"])


class LiveView(BaseModel):
    """The process runs."""

    status: Literal["alive"] = "alive"


class ReadyView(BaseModel):
    """Whether requests can be served, and which dependency is not reachable: `degraded` while they are served without
    Redis, which limits their rate and has the state of limits."""

    status: Literal["ready", "degraded", "not ready"]
    parts: dict[str, bool]


@router.get("/live")
async def check_live() -> LiveView:
    """Alive, even while Postgres or LiteLLM is not reachable."""
    return LiveView()


@router.get("/ready", responses={503: {"model": ReadyView, "description": "A dependency is not reachable"}})
async def check_ready(pool: AppPool, request: Request, response: Response) -> ReadyView:
    """Ready when Postgres answers and has the schema. LiteLLM is not needed."""
    parts = {"postgres": await does_answer(pool)}
    if (counters := request.app.state.counters) is not None:
        parts["redis"] = counters.is_connected
    if not parts["postgres"] or request.app.state.shutdown.is_stopping:
        response.status_code = 503
        return ReadyView(status="not ready", parts=parts)
    return ReadyView(status="ready" if all(parts.values()) else "degraded", parts=parts)
