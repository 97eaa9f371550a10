"""Sets one limit on many targets: a preview, then exactly the previewed change or none."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from hashlib import sha256
from hmac import compare_digest
from typing import TYPE_CHECKING, Any, Final

from admin_api.operations.actors import Actor, require_admin
from admin_api.operations.audit_rows import Change, write_rows
from admin_api.operations.limits.limits import LimitInput, ValidLimitInput, audited_amount, validate_limit
from admin_api.operations.limits.parsing import check_level, doubt, is_doubtful
from admin_api.operations.lookups import get_model, get_team, get_user
from admin_api.operations.validation import check_word, invalid, invalid_now
from admin_api.storage import accounts
from admin_api.storage import bulk_limits as rows
from admin_api.storage import limits as limit_rows
from admin_api.storage.bulk_limits import BulkTarget
from admin_api.storage.limits import Target
from gateway.domain.errors import GatewayError
from gateway.domain.limits import Kind, Level

if TYPE_CHECKING:
    from gateway.storage.postgres import Executor, Pool

MAX_TARGETS: Final = 10_000
MAX_USERS: Final = 1000
# For the audit log: the id of a limit, its old fields and its new ones.
BULK_LEVELS: Final = ("user", "team", "subscription", "key")


@dataclass(frozen=True, slots=True, kw_only=True)
class Filter:
    """Which targets of a level; all given conditions must match. `model` is for subscriptions and keys; `team` at level
    user means the members within the team."""

    level: str
    users: Sequence[str] | None = None
    team: str | None = None
    model: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Preview:
    """`targets` are those that would change, with their present limits. `token` identifies this change of these
    targets. `doubtful` of them change money by more than a thousandfold, which must be confirmed."""

    kind: Kind
    amount: int | None
    targets: Sequence[BulkTarget]
    unchanged: int
    doubtful: int
    token: str


async def preview_limits(pool: "Pool", actor: Actor, filter_: Filter, input_: LimitInput) -> Preview:
    """Changes nothing. Raises GatewayError `validation_failed`, `not_found`."""
    require_admin(actor)
    async with pool.acquire() as connection:
        return (await _preview(connection, filter_, input_))[1]


async def apply_limits(pool: "Pool", actor: Actor, filter_: Filter, input_: LimitInput, token: str) -> Preview:
    """Applies the preview with this token in one transaction, with an audit row for each limit.

    Raises GatewayError `conflict` if the preview would be different now, `validation_failed` if there are doubtful
    changes without `confirmed`.
    """
    require_admin(actor)
    async with pool.acquire() as connection, connection.transaction():
        _, unlocked = await _preview(connection, filter_, input_)
        await accounts.lock_accounts(connection, sorted({target.account_id for target in unlocked.targets}))
        # Again, under the locks of all accounts concerned.
        checked, now = await _preview(connection, filter_, input_)
        if not compare_digest(now.token.encode(), token.encode()):
            message = (
                "The token is of another preview: the targets have changed since, it was applied already, or other "
                "options were given. Check a new preview."
            )
            raise GatewayError("conflict", message, details={"changes": len(now.targets)})
        if now.doubtful and not input_.confirmed:
            raise doubt("amount_usd", f"at {now.doubtful} of {len(now.targets)} targets")
        await _write(connection, actor, check_level(filter_.level), checked, now.targets)
    return now


async def _preview(executor: "Executor", filter_: Filter, input_: LimitInput) -> tuple[ValidLimitInput, Preview]:
    checked = validate_limit(input_)
    level = check_level(check_word("level", filter_.level, BULK_LEVELS))
    if checked.expires_at is not None or checked.shadow:
        raise invalid("expires_at", "A bulk change sets permanent limits without shadow.")
    if filter_.model is not None and level not in ("subscription", "key"):
        raise invalid("model", "A model is for levels subscription and key.")
    if filter_.users is not None and level == "team":
        raise invalid("users", "Level team has no users.")
    if filter_.users is not None and len(filter_.users) > MAX_USERS:
        raise invalid("users", f"users may have at most {MAX_USERS} entries.")
    team = None if filter_.team is None else await get_team(executor, filter_.team)
    model = None if filter_.model is None else await get_model(executor, filter_.model)
    users = None if filter_.users is None else [(await get_user(executor, user)).id for user in filter_.users]
    found = await rows.list_targets(
        executor,
        level=level,
        kind=checked.kind,
        window=checked.window,
        user_ids=users,
        team_id=team.id if team else None,
        model_id=model.id if model else None,
        limit=MAX_TARGETS + 1,
    )
    if len(found) > MAX_TARGETS:
        raise invalid_now("level", f"There are more than {MAX_TARGETS} targets. Narrow the filter.")
    changing = [target for target in found if not _has_limit(target, checked)]
    text = json.dumps([level, asdict(checked), [asdict(target) for target in changing]], default=str)
    token = sha256(text.encode()).hexdigest()
    return checked, Preview(
        kind=checked.kind,
        amount=checked.amount,
        targets=changing,
        unchanged=len(found) - len(changing),
        doubtful=sum(is_doubtful(checked.kind, target.amount, checked.amount) for target in changing),
        token=token,
    )


def _has_limit(target: BulkTarget, input_: ValidLimitInput) -> bool:
    if input_.amount is None:
        # A boost would still be a limit.
        return target.limit_id is None and target.boost_id is None
    return (target.amount, target.burst, target.reserve, target.reason) == (
        input_.amount,
        input_.burst,
        input_.reserve,
        input_.reason,
    )


def _audit_fields(about: Mapping[str, Any], limit: BulkTarget | ValidLimitInput) -> dict[str, Any]:
    """The fields of an audit row: `about` and all fields that a bulk change can change."""
    values = {name: getattr(limit, name) for name in ("amount", "burst", "reserve", "reason")}
    return audited_amount(about["kind"], {**about, **values})


def _removals(targets: Sequence[BulkTarget], abouts: Sequence[Mapping[str, Any]]) -> list[Change]:
    """The removals of each target's permanent limit and of its boost, which would otherwise remain as a limit."""
    changes = []
    for target, about in zip(targets, abouts, strict=True):
        if target.limit_id is not None:
            changes.append(Change(target_id=str(target.limit_id), old=_audit_fields(about, target)))
        if target.boost_id is not None:
            boost = {"amount": target.boost_amount, "expires_at": target.boost_expires_at}
            old = audited_amount(about["kind"], {**about, **boost})
            changes.append(Change(target_id=str(target.boost_id), old=old))
    return changes


async def _write(
    executor: "Executor", actor: Actor, level: Level, input_: ValidLimitInput, targets: Sequence[BulkTarget]
) -> None:
    common: dict[str, Any] = {"level": level, "kind": input_.kind, "window": input_.window}
    abouts = [{**common, "account_id": target.account_id, "target": target.label} for target in targets]
    if input_.amount is None:
        changes = _removals(targets, abouts)
        await limit_rows.delete_limits(executor, [int(change.target_id) for change in changes])
    else:
        wanted = [
            Target(
                account_id=target.account_id,
                level=level,
                api_key_id=target.api_key_id,
                subscription_id=target.subscription_id,
                user_id=target.user_id,
            )
            for target in targets
        ]
        limit_ids = await limit_rows.upsert_limits(
            executor,
            wanted,
            kind=input_.kind,
            window=input_.window,
            amount=input_.amount,
            burst=input_.burst,
            reserve=input_.reserve,
            reason=input_.reason,
        )
        changes = [
            Change(
                target_id=str(limit_id),
                old=None if target.limit_id is None else _audit_fields(about, target),
                new=_audit_fields(about, input_),
            )
            for target, about, limit_id in zip(targets, abouts, limit_ids, strict=True)
        ]
    await write_rows(executor, actor, "limit.delete" if input_.amount is None else "limit.set", "limit", changes)
