"""How LiteLLM is, as seen from here: whether each address answers, its breaker, and when models were last synced."""

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
from admin_api.tls import trusted

if TYPE_CHECKING:
    from gateway.domain.breaker import Breaker
    from gateway.storage.postgres import Pool

TIMEOUT_S: Final = 5.0
MAX_VERSION: Final = 50
BreakerState = Literal["closed", "open", "half_open"]


@dataclass(frozen=True, slots=True, kw_only=True)
class AddressHealth:
    """One address. `version` None: it does not tell, as LiteLLM without a database."""

    address: str
    reachable: bool
    version: str | None
    breaker: BreakerState


@dataclass(frozen=True, slots=True, kw_only=True)
class LiteLLMHealth:
    """`synced_at`: when its list of models was last read, `sync_tried_at`: when that was last tried."""

    reachable: bool
    addresses: Sequence[AddressHealth]
    synced_at: datetime | None
    sync_tried_at: datetime | None
    models: int


async def look_at_litellm(pool: "Pool", actor: Actor, litellm: LiteLLM) -> LiteLLMHealth:
    """Asks every address at once; one whose breaker is open is not asked."""
    require_reader(actor)
    addresses = await asyncio.gather(*(_ask(litellm, url) for url in litellm.urls))
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


async def _ask(litellm: LiteLLM, url: str) -> AddressHealth:
    # Here and not above: it takes longer to load than all the rest of a command.
    import httpx2

    breaker, reachable, version = litellm.breakers[url], False, None
    if breaker.admits(monotonic()):
        breaker.sent(monotonic())
        verify = trusted(litellm.ca_file)
        try:
            async with httpx2.AsyncClient(timeout=TIMEOUT_S, verify=verify, trust_env=False) as client:
                answer = await client.get(f"{url}/health/readiness")
        except (httpx2.HTTPError, httpx2.InvalidURL):
            breaker.failed(monotonic())
        else:
            # It may say that it is not ready: that is an answer.
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
    """Without a password that somebody may have put into it."""
    parts = urlsplit(url)
    return f"{parts.scheme}://{parts.netloc.rpartition('@')[2]}{parts.path}"
