"""Health of LiteLLM: whether each address answers, its circuit breaker, and the last model sync."""

import asyncio
import json
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from time import monotonic
from typing import TYPE_CHECKING, Final, Literal
from urllib.parse import urlsplit

from admin_api.operations.actors import Actor, require_reader
from admin_api.operations.models.sync import LiteLLM
from admin_api.storage import model_syncs, models

if TYPE_CHECKING:
    from gateway.domain.breaker import Breaker
    from gateway.storage.postgres import Pool

TIMEOUT_S: Final = 5.0
MAX_VERSION: Final = 50
BreakerState = Literal["closed", "open", "half_open"]


@dataclass(frozen=True, slots=True, kw_only=True)
class AddressHealth:
    """Health of one address. `version` is None if LiteLLM does not report it, or refuses the key."""

    address: str
    reachable: bool
    version: str | None
    breaker: BreakerState


@dataclass(frozen=True, slots=True, kw_only=True)
class LiteLLMHealth:
    """`synced_at` is the last successful model sync, `sync_tried_at` the last attempt."""

    reachable: bool
    addresses: Sequence[AddressHealth]
    synced_at: datetime | None
    sync_tried_at: datetime | None
    models: int


async def check_litellm(pool: "Pool", actor: Actor, litellm: LiteLLM) -> LiteLLMHealth:
    """Requests the health of all addresses concurrently, except those whose circuit breaker is open."""
    require_reader(actor)
    addresses = await asyncio.gather(*(_check_address(litellm, url) for url in litellm.urls))
    async with pool.acquire() as connection:
        tried_at, answered_at = await model_syncs.find_last_syncs(connection)
        listed = await models.count_listed(connection)
    return LiteLLMHealth(
        reachable=any(address.reachable for address in addresses),
        addresses=addresses,
        synced_at=answered_at,
        sync_tried_at=tried_at,
        models=listed,
    )


async def _check_address(litellm: LiteLLM, url: str) -> AddressHealth:
    # Imported only here: it takes longer to load than the rest of a command.
    import httpx2

    breaker, reachable, version = litellm.breakers[url], False, None
    if breaker.admits(monotonic()):
        breaker.sent(monotonic())
        # The route without `details` needs no key and reports no version.
        key = {"authorization": f"Bearer {litellm.api_key.get_secret_value()}"}
        verify = litellm.tls.context()
        try:
            async with httpx2.AsyncClient(timeout=TIMEOUT_S, verify=verify, trust_env=False) as client:
                answer = await client.get(f"{url}/health/readiness/details", headers=key)
        except (httpx2.HTTPError, httpx2.InvalidURL):
            breaker.failed(monotonic())
        else:
            # Any response counts as reachable, even "not ready".
            reachable = True
            breaker.served()
            version = _version_in(answer.content)
    return AddressHealth(address=_shown(url), reachable=reachable, version=version, breaker=_state(breaker))


def _version_in(body: bytes) -> str | None:
    try:
        answer = json.loads(body)
    except ValueError:
        return None
    version = answer.get("litellm_version") if isinstance(answer, dict) else None
    return version[:MAX_VERSION] if isinstance(version, str) and version.isprintable() else None


def _state(breaker: "Breaker") -> BreakerState:
    if not breaker.is_open:
        return "closed"
    return "half_open" if breaker.admits(monotonic()) else "open"


def _shown(url: str) -> str:
    """The URL without credentials."""
    parts = urlsplit(url)
    return f"{parts.scheme}://{parts.netloc.rpartition('@')[2]}{parts.path}"
