"""`/api/v1/admin/provider-keys`. A key is stored, and no route shows it or sends it anywhere."""

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
ProviderKeyPath = Annotated[str, Path(pattern=NAME, description="Name, for example OPENAI")]
MADE: Final[dict[int | str, dict[str, Any]]] = {201: {"model": ProviderKeyView, "description": "Created"}}


class ProviderKeyValue(Body):
    """The secret, and the provider it is for."""

    provider: Annotated[
        str, Field(min_length=1, max_length=MAX_PROVIDER, description="For example openai; shown to people only")
    ]
    value: Annotated[SecretStr, Field(min_length=MIN_VALUE, max_length=MAX_VALUE, description="One line of ASCII")]


@router.get("")
async def list_provider_keys(
    actor: Reader, pool: AppPool, limit: PageSize = 100, cursor: Cursor = None
) -> PageView[ProviderKeyView]:
    """Oldest first, without the secrets."""
    page = await provider_keys.list_provider_keys(pool, actor, limit=limit, cursor=cursor)
    return PageView[ProviderKeyView].of(page, ProviderKeyView.of)


@router.get("/{provider_key}", responses=TAGGED)
async def show_provider_key(
    actor: Reader, pool: AppPool, response: Response, provider_key: ProviderKeyPath
) -> ProviderKeyView:
    """One key, without the secret."""
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
    """Stores a key or replaces its secret. LiteLLM uses it from its next start on. The same again changes nothing."""
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
    """Deletes a key. LiteLLM uses it until its next start, and it stays valid at the provider."""
    await provider_keys.delete_provider_key(pool, actor, provider_key, as_of=as_of)
