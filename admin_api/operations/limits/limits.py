"""Limits at any level: set, remove, list. No row means no limit."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from decimal import Decimal
from typing import TYPE_CHECKING, Any, Final

from admin_api.operations.access import get_one_account, viewer_of
from admin_api.operations.actors import Actor, note, require_admin
from admin_api.operations.limits import targets
from admin_api.operations.limits.parsing import (
    check_amount,
    check_burst,
    check_change,
    check_kind,
    check_level,
    check_window,
)
from admin_api.operations.pagination import MAX_ID, Page, check_limit, page, parse_id_cursor
from admin_api.operations.preconditions import check_version, version_of
from admin_api.operations.validation import check_future, check_reason, invalid
from admin_api.storage import accounts, limit_pages
from admin_api.storage import limits as limit_rows
from admin_api.storage.limits import LimitRow, Target
from gateway.domain.errors import GatewayError
from gateway.domain.limits import Kind, ReserveMode, ScopeIds, SetBy, is_money
from gateway.domain.windows import WindowKind

if TYPE_CHECKING:
    from gateway.storage.postgres import Executor, Pool

_SETTABLE: Final = ("amount", "burst", "reserve", "expires_at", "reason")


@dataclass(frozen=True, slots=True, kw_only=True)
class LimitInput:
    """A limit to set. `amount` None means unlimited; for kind cost it is in nano-USD. `confirmed`: money may change by
    more than a thousandfold."""

    kind: str
    amount: int | None
    window: str | None = None
    burst: Decimal = Decimal(1)
    reserve: ReserveMode = "expected"
    shadow: bool = False
    set_by: SetBy = "admin"
    expires_at: datetime | None = None
    reason: str | None = None
    confirmed: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class ValidLimitInput:
    """A validated LimitInput, with the values of the limits table."""

    kind: Kind
    amount: int | None
    window: WindowKind | None
    burst: Decimal
    reserve: ReserveMode
    shadow: bool
    set_by: SetBy
    expires_at: datetime | None
    reason: str | None


@dataclass(frozen=True, slots=True)
class LimitChange:
    """A limit that was set, None: removed; and the one in force before, None: there was none."""

    row: LimitRow | None
    replaced: LimitRow | None

    @property
    def limit(self) -> LimitRow:
        """Of an input with an amount, which is never removed."""
        if self.row is None:
            raise RuntimeError("a limit with an amount was removed")
        return self.row


async def set_limit(
    pool: "Pool",
    actor: Actor,
    input_: LimitInput,
    *,
    level: str,
    target: str,
    model: str | None,
    team: str | None,
    as_of: str | None = None,
) -> LimitChange:
    """Creates or changes a limit. An unlimited amount removes it.

    `target` is the id for the level (see `admin_api.operations.limits.targets`). Raises GatewayError
    `validation_failed`, `not_found`, or `precondition_failed` if `as_of` does not match the existing limit.
    """
    require_admin(actor)
    async with pool.acquire() as connection, connection.transaction():
        found = await targets.find_target(connection, actor, level=level, target=target, model=model, team=team)
        return await apply_limit(connection, actor, found, input_, as_of=as_of)


async def apply_limit(
    executor: "Executor",
    actor: Actor,
    target: Target,
    input_: LimitInput,
    *,
    as_of: str | None = None,
    action: str = "limit.set",
) -> LimitChange:
    """As `set_limit`, within the caller's transaction. Writes nothing if nothing changes. `action` is what the audit
    row calls it."""
    checked = validate_limit(input_)
    # One change per account at a time, so that the audit row has the values that were replaced.
    await accounts.lock_account(executor, target.account_id)
    existing = await limit_rows.find_limits_of_a_kind(
        executor, target, kind=checked.kind, window=checked.window, set_by=checked.set_by, shadow=checked.shadow
    )
    old = next((row for row in existing if (row.expires_at is None) == (checked.expires_at is None)), None)
    check_version(version_of(old) if old else None, as_of)
    # A temporary limit replaces the permanent one.
    replaced = next((row for row in existing if row.expires_at is None), old)
    if checked.amount is None:
        for row in existing:
            await remove_limit(executor, actor, row)
        return LimitChange(None, replaced or next(iter(existing), None))
    if old is not None and all(getattr(old, name) == getattr(checked, name) for name in _SETTABLE):
        return LimitChange(old, old)
    check_change(checked.kind, replaced.amount if replaced else None, checked.amount, confirmed=input_.confirmed)
    limit_id = await limit_rows.upsert_limit(
        executor,
        target,
        kind=checked.kind,
        window=checked.window,
        amount=checked.amount,
        burst=checked.burst,
        reserve=checked.reserve,
        shadow=checked.shadow,
        set_by=checked.set_by,
        expires_at=checked.expires_at,
        reason=checked.reason,
    )
    new = await limit_rows.find_limit(executor, limit_id)
    if new is None:
        raise RuntimeError("a limit written in this transaction was not found")
    await note(executor, actor, action, "limit", limit_id, old=audit_fields(old), new=audit_fields(new))
    is_over = old is not None and old.expires_at is not None and old.expires_at <= datetime.now(UTC)
    return LimitChange(new, replaced if old is None or is_over else old)


async def set_amount(
    executor: "Executor",
    actor: Actor,
    row: LimitRow,
    amount: int,
    *,
    reason: str | None,
    expires_at: datetime | None = None,
    confirmed: bool = False,
    action: str = "limit.set",
) -> LimitChange:
    """As `apply_limit`, with another amount in all else the same limit, for good or until it expires."""
    ids = {name: getattr(row, name) for name in ScopeIds.__slots__}
    target = Target(account_id=row.account_id, level=row.level, **ids)
    input_ = LimitInput(
        kind=row.kind,
        amount=amount,
        window=row.window,
        burst=row.burst,
        reserve=row.reserve,
        shadow=row.shadow,
        set_by=row.set_by,
        expires_at=expires_at,
        reason=reason,
        confirmed=confirmed,
    )
    return await apply_limit(executor, actor, target, input_, action=action)


async def find_limit(pool: "Pool", actor: Actor, limit_id: int) -> LimitRow:
    """A limit that the actor may see. Raises GatewayError `not_found`."""
    viewer = viewer_of(actor)
    async with pool.acquire() as connection:
        return await get_seen_limit(connection, limit_id, viewer_id=viewer)


async def get_seen_limit(executor: "Executor", limit_id: int, *, viewer_id: int | None) -> LimitRow:
    """One that this user may see; None: that anybody may. Raises GatewayError `not_found`."""
    rows = []
    if 0 < limit_id <= MAX_ID:
        rows = await limit_pages.list_limits(executor, after_id=limit_id - 1, limit=1, viewer_id=viewer_id)
    if not rows or rows[0].id != limit_id:
        raise GatewayError("not_found", f"There is no limit {limit_id}.")
    return rows[0]


async def delete_limit(pool: "Pool", actor: Actor, limit_id: int, *, as_of: str | None = None) -> None:
    """Raises GatewayError `not_found` or `precondition_failed`."""
    require_admin(actor)
    async with pool.acquire() as connection, connection.transaction():
        row = await lock_limit(connection, limit_id)
        check_version(version_of(row), as_of)
        await remove_limit(connection, actor, row)


async def lock_limit(executor: "Executor", limit_id: int) -> LimitRow:
    """The limit as it is after its account was locked. Raises GatewayError `not_found`."""
    row = await limit_rows.find_limit(executor, limit_id) if 0 < limit_id <= MAX_ID else None
    if row is not None:
        await accounts.lock_account(executor, row.account_id)
        row = await limit_rows.find_limit(executor, limit_id)
    if row is None:
        raise GatewayError("not_found", f"There is no limit {limit_id}.")
    return row


async def list_limits(
    pool: "Pool",
    actor: Actor,
    *,
    level: str | None = None,
    target: str | None = None,
    user: str | None = None,
    team: str | None = None,
    limit: int = 100,
    cursor: str | None = None,
) -> Page[LimitRow]:
    """By id: all limits the actor may see, or those of one account, level or target."""
    viewer = viewer_of(actor)
    check_limit(limit)
    known = None if level is None else check_level(level)
    async with pool.acquire() as connection:
        account = None
        if user is not None or team is not None:
            account = await get_one_account(connection, actor, user=user, team=team)
        target_id = None
        if target is not None:
            try:
                target_id = await targets.find_target_id(connection, actor, level=known, target=target)
            except GatewayError as exc:
                if viewer is None or exc.code != "not_found":
                    raise
                # As for a user they may not see: the actor must not learn whether somebody has an account.
                return Page([], None)
        rows = await limit_pages.list_limits(
            connection,
            after_id=parse_id_cursor(cursor),
            limit=limit + 1,
            account_id=account.id if account else None,
            level=known,
            target_id=target_id,
            viewer_id=viewer,
        )
    return page(rows, limit, lambda row: row.id)


def validate_limit(input_: LimitInput) -> ValidLimitInput:
    """Raises GatewayError `validation_failed`."""
    kind = check_kind(input_.kind)
    if input_.amount is None and input_.expires_at is not None:
        raise invalid("expires_at", "Unlimited cannot expire, as it is the absence of a limit.")
    return ValidLimitInput(
        kind=kind,
        amount=None if input_.amount is None else check_amount(kind, input_.amount, input_.burst),
        window=check_window(kind, input_.window),
        burst=check_burst(kind, input_.burst),
        reserve=input_.reserve,
        shadow=input_.shadow,
        set_by=input_.set_by,
        expires_at=check_future("expires_at", input_.expires_at),
        reason=check_reason(input_.reason),
    )


async def remove_limit(executor: "Executor", actor: Actor, row: LimitRow) -> None:
    """In the caller's transaction, with its audit row."""
    await limit_rows.delete_limit(executor, row.id)
    await note(executor, actor, "limit.delete", "limit", row.id, old=audit_fields(row))


def audit_fields(row: LimitRow | None) -> Mapping[str, Any] | None:
    """The fields of a limit in an audit row: what it applies to, and its values."""
    if row is None:
        return None
    names = ("account_id", "level", *ScopeIds.__slots__, "kind", "window", "shadow", "set_by", *_SETTABLE)
    fields = {name: getattr(row, name) for name in names}
    return audited_amount(row.kind, {name: value for name, value in fields.items() if value is not None})


def audited_amount(kind: Kind, fields: Mapping[str, Any]) -> dict[str, Any]:
    """The fields of an audit row: an amount of money names its unit."""
    return {"amount_nano_usd" if name == "amount" and is_money(kind) else name: fields[name] for name in fields}
