"""Synchronizes models and prices with LiteLLM. An invalid or incomplete response is reported and removes nothing."""

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from datetime import UTC, datetime, timedelta
from time import monotonic
from typing import TYPE_CHECKING, Final

from admin_api.operations.actors import Actor, note, require_reader
from admin_api.operations.models.litellm_info import Catalogue, ModelInfoError, SeenModel, parse_model_info
from admin_api.operations.pagination import MAX_ID, Page, check_limit, page, parse_id_cursor
from admin_api.operations.runtime_settings import ModelAccess, read_settings
from admin_api.storage import model_syncs, models
from admin_api.storage import prices as price_rows
from admin_api.storage.model_syncs import ModelSync
from admin_api.storage.models import Model
from admin_api.storage.prices import PriceVersion
from gateway.domain.breaker import Breaker
from gateway.domain.errors import GatewayError
from gateway.domain.prices import Price
from gateway.tls import NO_FILES, TlsFiles, cure_tls

if TYPE_CHECKING:
    from pydantic import SecretStr

    from gateway.storage.postgres import Executor, Pool

TIMEOUT_S: Final = 30.0
KEPT: Final = timedelta(days=30)
SYNC: Final = Actor(name="model sync", role="program", via="model sync")


@dataclass(frozen=True, slots=True, kw_only=True)
class LiteLLM:
    """The addresses of LiteLLM, which are tried one after the other."""

    urls: Sequence[str]
    api_key: "SecretStr"
    tls: TlsFiles = NO_FILES
    # By address, for the lifetime of the process: an address that fails is not tried for a while.
    breakers: Mapping[str, Breaker] = field(default_factory=lambda: defaultdict(Breaker), repr=False)


@dataclass(slots=True, kw_only=True)
class SyncReport:
    """The result of a sync, by model name; `unused_prices` as `model: field, …`.

    `problem` describes what was not done and why; None without problems."""

    seen: int = 0
    added: list[str] = field(default_factory=list)
    added_as: ModelAccess | None = None
    changed: list[str] = field(default_factory=list)
    returned: list[str] = field(default_factory=list)
    unlisted: list[str] = field(default_factory=list)
    priced: list[str] = field(default_factory=list)
    kept_admin_prices: list[str] = field(default_factory=list)
    without_price: list[str] = field(default_factory=list)
    differing_prices: list[str] = field(default_factory=list)
    unused_prices: list[str] = field(default_factory=list)
    skipped: list[str] = field(default_factory=list)
    missing: list[str] = field(default_factory=list)
    problem: str | None = None


async def sync_models(
    pool: "Pool", actor: Actor, litellm: LiteLLM, *, accept_missing: bool = False, wait: bool = True
) -> SyncReport | None:
    """Reads LiteLLM's models and applies them in one transaction, one sync at a time. Returns None if `wait` is False
    and another sync is running.

    An empty list changes nothing; a list that lacks at least half of the listed models unlists none of them, unless
    `accept_missing`. Both are a `problem` in the report. Raises GatewayError `upstream_unavailable` or `upstream_error`
    without a valid response.
    """
    if actor.role not in ("admin", "program"):
        raise GatewayError("forbidden", "This is for admins only.")
    try:
        catalogue = await fetch_model_info(litellm)
    except GatewayError as exc:
        async with pool.acquire() as connection:
            await model_syncs.insert_sync(connection, actor=actor.name, problem=exc.message, report=None)
        raise
    async with pool.acquire() as connection, connection.transaction():
        if wait:
            await models.lock_sync(connection)
        elif not await models.try_lock_sync(connection):
            return None
        report = await apply_model_info(connection, actor, catalogue, accept_missing=accept_missing)
        await model_syncs.insert_sync(connection, actor=actor.name, problem=report.problem, report=asdict(report))
        return report


async def list_syncs(pool: "Pool", actor: Actor, *, limit: int = 100, cursor: str | None = None) -> Page[ModelSync]:
    """The syncs of the last month, newest first."""
    require_reader(actor)
    check_limit(limit)
    before = parse_id_cursor(cursor, first=MAX_ID)
    async with pool.acquire() as connection:
        found = await model_syncs.list_syncs(connection, before_id=before, limit=limit + 1)
    return page(found, limit, lambda row: row.id)


async def delete_old_syncs(pool: "Pool") -> None:
    """Deletes reports older than KEPT."""
    async with pool.acquire() as connection:
        await model_syncs.delete_old_syncs(connection, datetime.now(UTC) - KEPT)


async def fetch_model_info(litellm: LiteLLM) -> Catalogue:
    """The models of the first address with a valid response. Raises GatewayError without one."""
    # Imported only here: it takes longer to load than the rest of a command.
    import httpx2

    problems = []
    headers = {"authorization": f"Bearer {litellm.api_key.get_secret_value()}"}
    verify = litellm.tls.context()
    async with httpx2.AsyncClient(timeout=TIMEOUT_S, verify=verify, headers=headers, trust_env=False) as client:
        for url in litellm.urls:
            breaker = litellm.breakers[url]
            if not breaker.admits(monotonic()):
                problems.append(("upstream_unavailable", f"{url}: circuit breaker is open after repeated failures"))
                continue
            breaker.sent(monotonic())
            try:
                answer = await client.get(f"{url}/model/info")
            except (httpx2.HTTPError, httpx2.InvalidURL) as exc:
                breaker.failed(monotonic())
                cure = cure_tls(exc, "LITEMAAS_LITELLM")
                said = f"{exc or type(exc).__name__}{f': {cure}' if cure else ''}"
                problems.append(("upstream_unavailable", f"{url}: {said}"))
                continue
            # A client error does not count as a failure of the address.
            if answer.status_code >= 500:
                breaker.failed(monotonic())
            else:
                breaker.served()
            if answer.status_code != 200:
                problems.append(("upstream_error", f"{url}: status {answer.status_code}"))
                continue
            try:
                return parse_model_info(answer.content)
            except ModelInfoError as exc:
                problems.append(("upstream_error", f"{url}: {exc}"))
    reasons = "; ".join(reason for _, reason in problems)
    raise GatewayError(problems[-1][0], f"LiteLLM returned no list of models, so nothing was changed ({reasons}).")


async def apply_model_info(
    executor: "Executor", actor: Actor, catalogue: Catalogue, *, accept_missing: bool = False
) -> SyncReport:
    """Within the caller's transaction; see `sync_models`."""
    report = SyncReport(seen=len(catalogue.models), skipped=list(catalogue.skipped))
    known = {model.name: model for model in await models.list_all_models(executor)}
    if not catalogue.models:
        report.problem = "LiteLLM's list of models is empty, so nothing was changed."
        return report
    prices = await price_rows.current_prices(executor)
    access = (await read_settings(executor)).new_models
    for seen in catalogue.models:
        model_id = await _apply_model(executor, seen, known.get(seen.name), access, report)
        await _apply_price(executor, seen, model_id, prices.get(model_id), report)
    report.added_as = access if report.added else None
    await _unlist_missing(executor, catalogue, known, report, accept_missing=accept_missing)
    # A sync that changes nothing writes no audit row, as syncs run every few minutes.
    audited = ("added", "added_as", "changed", "returned", "unlisted", "priced")
    new = {name: getattr(report, name) for name in audited if getattr(report, name)}
    if new:
        await note(executor, actor, "models.sync", "models", "all", new=new)
    return report


async def _apply_model(
    executor: "Executor", seen: SeenModel, known: Model | None, access: ModelAccess, report: SyncReport
) -> int:
    if known is None:
        report.added.append(seen.name)
        # A hidden model is restricted as well: showing it later opens it to nobody.
        restricted, hidden = access != "open", access == "hidden"
        return await models.insert_model(executor, seen.name, seen, restricted=restricted, hidden=hidden)
    names = ("provider", "mode", "max_input_tokens", "max_output_tokens", "deployments")
    is_same = all(getattr(seen, name) == getattr(known, name) for name in names)
    if is_same and list(seen.capabilities) == known.capabilities and known.listed:
        return known.id
    (report.changed if known.listed else report.returned).append(seen.name)
    await models.update_seen_model(executor, known.id, seen)
    return known.id


async def _apply_price(
    executor: "Executor", seen: SeenModel, model_id: int, current: PriceVersion | None, report: SyncReport
) -> None:
    if seen.do_prices_differ:
        report.differing_prices.append(seen.name)
    if seen.unused:
        report.unused_prices.append(f"{seen.name}: {', '.join(seen.unused)}")
    if seen.price is None:
        # LiteLLM reports no price: an older price stays, as it may still be right.
        if current is None:
            report.without_price.append(seen.name)
        return
    if current is not None and _is_same_price(current, seen.price):
        return
    if current is None or current.source != "admin":
        # Read again under the lock: an admin may have set a price since the sync began.
        await models.lock_model(executor, model_id)
        current = (await price_rows.current_prices(executor, [model_id])).get(model_id)
    if current is not None and current.source == "admin":
        # A sync never changes an admin's price.
        report.kept_admin_prices.append(seen.name)
        return
    await price_rows.insert_price(executor, model_id, source="litellm", price=seen.price)
    report.priced.append(seen.name)


async def _unlist_missing(
    executor: "Executor",
    catalogue: Catalogue,
    known: Mapping[str, Model],
    report: SyncReport,
    *,
    accept_missing: bool,
) -> None:
    names = {seen.name for seen in catalogue.models}
    listed = [model for model in known.values() if model.listed]
    missing = [model for model in listed if model.name not in names]
    if not missing:
        return
    if len(missing) * 2 >= len(listed) and not accept_missing:
        report.missing = [model.name for model in missing]
        report.problem = (
            f"{len(missing)} of {len(listed)} models are missing from LiteLLM's list, so none was unlisted. "
            "If this is intended, sync again and accept missing models."
        )
        return
    await models.update_unlisted_models(executor, [model.id for model in missing])
    report.unlisted = [model.name for model in missing]


def _is_same_price(current: PriceVersion, price: Price) -> bool:
    # An admin's price that says the same stays an admin's.
    charge = current.price.charge if current.source == "admin" else price.charge
    return replace(price, id=current.price.id, charge=charge) == current.price
