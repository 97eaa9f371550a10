"""`/health/live` and `/health/ready`, for orchestrators and load balancers. Both need no login."""

from typing import Literal

from fastapi import APIRouter, Response
from pydantic import BaseModel

from admin_api.routes.dependencies import AppPool
from admin_api.storage.health import does_answer

router = APIRouter(prefix="/health", tags=["health"])


class LiveView(BaseModel):
    """The process runs."""

    status: Literal["alive"] = "alive"


class ReadyView(BaseModel):
    """Whether requests can be served, and which dependency is not reachable."""

    status: Literal["ready", "not ready"]
    parts: dict[str, bool]


@router.get("/live")
async def check_live() -> LiveView:
    """Alive, even while Postgres or LiteLLM is not reachable."""
    return LiveView()


@router.get("/ready", responses={503: {"model": ReadyView, "description": "A dependency is not reachable"}})
async def check_ready(pool: AppPool, response: Response) -> ReadyView:
    """Ready when Postgres answers and has the schema. LiteLLM is not needed."""
    parts = {"postgres": await does_answer(pool)}
    is_ready = all(parts.values())
    response.status_code = 200 if is_ready else 503
    return ReadyView(status="ready" if is_ready else "not ready", parts=parts)
