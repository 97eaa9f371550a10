"""`/api/v1/admin/provider-keys`. A key goes in, and no route gives it out or sends it anywhere."""

from typing import Annotated, Any, Final

from fastapi import APIRouter, Path, Response
from pydantic import Field, SecretStr

from admin_api.operations.models import provider_keys
from admin_api.operations.models.provider_keys import MAX_PROVIDER, MAX_VALUE, MIN_VALUE, NAME
from admin_api.routes.dependencies import Admin, AppPool, AppSettings, AsOf, Body, Cursor, PageSize, Reader
from admin_api.routes.responses import CHANGED, ERRORS, TAGGED
from admin_api.schemas.provider_keys import ProviderKeyView
from admin_api.schemas.shapes import PageView
from admin_api.web.etags import tag

router = APIRouter(prefix="/api/v1/admin/provider-keys", tags=["provider keys"], responses=ERRORS)
ProviderKeyPath = Annotated[str, Path(pattern=NAME, description="Name, as OPENAI")]
MADE: Final[dict[int | str, dict[str, Any]]] = {201: {"model": ProviderKeyView, "description": "It is new"}}


class ProviderKeyValue(Body):
    """The key itself, and whose it is."""

    provider: Annotated[str, Field(min_length=1, max_length=MAX_PROVIDER, description="As openai; for people")]
    value: Annotated[SecretStr, Field(min_length=MIN_VALUE, max_length=MAX_VALUE, description="One line of ASCII")]


@router.get("")
async def list_provider_keys(
    actor: Reader, pool: AppPool, limit: PageSize = 100, cursor: Cursor = None
) -> PageView[ProviderKeyView]:
    """By age; never the keys."""
    page = await provider_keys.list_provider_keys(pool, actor, limit=limit, cursor=cursor)
    rows = [ProviderKeyView.of(row) for row in page.rows]
    return PageView[ProviderKeyView](rows=rows, next_cursor=page.next_cursor)


@router.get("/{provider_key}", responses=TAGGED)
async def show_provider_key(
    actor: Reader, pool: AppPool, response: Response, provider_key: ProviderKeyPath
) -> ProviderKeyView:
    """One, without the key."""
    row = await provider_keys.find_provider_key(pool, actor, provider_key)
    tag(response, row)
    return ProviderKeyView.of(row)


@router.put("/{provider_key}", responses=TAGGED | MADE | CHANGED)
async def put_provider_key(
    actor: Admin,
    pool: AppPool,
    settings: AppSettings,
    response: Response,
    provider_key: ProviderKeyPath,
    body: ProviderKeyValue,
    as_of: AsOf,
) -> ProviderKeyView:
    """Keeps a key, or another value for it. LiteLLM has it from its next start on. The same again changes nothing."""
    put = await provider_keys.put_provider_key(
        pool,
        actor,
        settings.encryption_keys,
        provider_key,
        provider=body.provider,
        value=body.value.get_secret_value(),
        as_of=as_of,
    )
    response.status_code = 201 if put.is_new else 200
    tag(response, put.row)
    return ProviderKeyView.of(put.row)


@router.delete("/{provider_key}", status_code=204, responses=CHANGED)
async def delete_provider_key(actor: Admin, pool: AppPool, provider_key: ProviderKeyPath, as_of: AsOf) -> None:
    """LiteLLM goes on with what it has until its next start; at the provider the key is as it was."""
    await provider_keys.delete_provider_key(pool, actor, provider_key, as_of=as_of)
