"""`/api/v1/models`. Names of models may hold slashes."""

from typing import Annotated

from fastapi import APIRouter, Path, Query, Response
from pydantic import Field

from admin_api.operations.models import models, rename, sync
from admin_api.operations.models.litellm_health import check_litellm
from admin_api.routes.dependencies import Admin, AppLiteLLM, AppPool, AsOf, Body, Cursor, LoggedIn, PageSize, Reader
from admin_api.routes.responses import CHANGED, ERRORS, TAGGED
from admin_api.schemas.models import (
    LiteLLMHealthView,
    ModelChoicesView,
    ModelSyncView,
    ModelView,
    RenamedView,
    SyncReportView,
)
from admin_api.schemas.shapes import PageView
from admin_api.storage.offered_models import CatalogueFilter, ModelSort, ModelState
from admin_api.web.etags import tag

router = APIRouter(prefix="/api/v1/models", tags=["models"], responses=ERRORS)
# A path below `/models` is the name of a model.
choices_router = APIRouter(prefix="/api/v1/model-choices", tags=["models"], responses=ERRORS)
admin_router = APIRouter(prefix="/api/v1/admin", tags=["models"], responses=ERRORS)
ModelPath = Annotated[str, Path(max_length=255, description="Name; may hold slashes")]


class ModelChange(Body):
    """Decisions of an admin; fields left out stay unchanged."""

    restricted: Annotated[bool | None, Field(description="Subscriptions wait for an admin")] = None
    hidden: bool | None = None
    enabled: Annotated[bool | None, Field(description="Whether it may be called at all")] = None
    description: Annotated[str | None, Field(max_length=4000, description="Empty removes it")] = None


class ModelRename(Body):
    """The name of a model, and the one that LiteLLM has it under now."""

    model: Annotated[str, Field(max_length=255)]
    to: Annotated[str, Field(min_length=1, max_length=255, description="Its name from now on, as LiteLLM has it")]
    confirm: Annotated[
        bool, Field(description="What the new name has already may move to the model; that cannot be undone")
    ] = False


class SyncInput(Body):
    """Options of a sync."""

    accept_missing: Annotated[bool, Field(description="Unlist models even if half of them are gone")] = False


@router.get("")
async def list_models(
    actor: LoggedIn,
    pool: AppPool,
    search: Annotated[str | None, Query(max_length=255, description="Part of a name or description")] = None,
    provider: Annotated[str | None, Query(max_length=100)] = None,
    mode: Annotated[str | None, Query(max_length=50, description="For example chat or embedding")] = None,
    capability: Annotated[
        str | None, Query(max_length=255, description="For example vision or function_calling")
    ] = None,
    state: Annotated[
        ModelState | None, Query(description="unpriced: offered, and without a price; the others are what admins set")
    ] = None,
    sort: Annotated[ModelSort, Query(description="price: of input, the lowest first; without one last")] = "id",
    limit: PageSize = 100,
    cursor: Cursor = None,
) -> PageView[ModelView]:
    """Models that are offered, by id unless they are sorted otherwise; admins see hidden, disabled and unlisted ones
    too."""
    only = CatalogueFilter(search=search, provider=provider, mode=mode, capability=capability, state=state)
    page = await models.list_models(pool, actor, only, sort=sort, limit=limit, cursor=cursor)
    return PageView[ModelView].of(page, ModelView.of)


@choices_router.get("")
async def show_model_choices(actor: LoggedIn, pool: AppPool) -> ModelChoicesView:
    """What the filters of the list of models can be set to; of models that are offered, for admins of all."""
    return ModelChoicesView.model_validate(await models.find_choices(pool, actor), from_attributes=True)


@router.post("/sync")
async def sync_models(
    actor: Admin, pool: AppPool, litellm: AppLiteLLM, body: SyncInput | None = None
) -> SyncReportView:
    """Reads LiteLLM's list of models. An invalid answer removes no model: see `problem`."""
    report = await sync.sync_models(pool, actor, litellm, accept_missing=body is not None and body.accept_missing)
    return SyncReportView.model_validate(report)


@router.get("/{name:path}", responses=TAGGED)
async def show_model(actor: LoggedIn, pool: AppPool, response: Response, name: ModelPath) -> ModelView:
    """One model that is offered; admins see all."""
    offered = await models.find_model(pool, actor, name)
    tag(response, offered)
    return ModelView.of(offered)


@router.patch("/{name:path}", responses=TAGGED | CHANGED)
async def update_model(
    actor: Admin, pool: AppPool, response: Response, name: ModelPath, body: ModelChange, as_of: AsOf
) -> ModelView:
    """Changes decisions about a model; no sync undoes them."""
    changed = await models.update_model(
        pool,
        actor,
        name,
        restricted=body.restricted,
        hidden=body.hidden,
        enabled=body.enabled,
        description=body.description,
        as_of=as_of,
    )
    tag(response, changed)
    return ModelView.of(changed)


@admin_router.post("/models/rename")
async def rename_model(actor: Admin, pool: AppPool, body: ModelRename) -> RenamedView:
    """Subscriptions, keys, limits, prices and usage go on under the new name, once a sync has found the old one gone.
    What the new name has already moves to the model as well, if that is confirmed."""
    return RenamedView.of_renamed(await rename.rename_model(pool, actor, body.model, body.to, confirmed=body.confirm))


@admin_router.get("/models/syncs")
async def list_model_syncs(
    actor: Reader, pool: AppPool, limit: PageSize = 100, cursor: Cursor = None
) -> PageView[ModelSyncView]:
    """Syncs of the last month, newest first; `report` is null if LiteLLM did not answer."""
    return PageView[ModelSyncView].model_validate(await sync.list_syncs(pool, actor, limit=limit, cursor=cursor))


@admin_router.get("/health/litellm")
async def show_litellm_health(actor: Reader, pool: AppPool, litellm: AppLiteLLM) -> LiteLLMHealthView:
    """Whether LiteLLM answers, with the state of each address's breaker. Calls do not depend on it."""
    return LiteLLMHealthView.model_validate(await check_litellm(pool, actor, litellm))
