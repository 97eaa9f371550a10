"""Audit rows: written with the account and everything they are about, read with names."""

from collections.abc import Iterator, Mapping, Sequence, Set
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from admin_api.storage.audit_targets import find_targets
from gateway.storage import audit
from gateway.storage.audit import AuditRow, NewAuditRow

if TYPE_CHECKING:
    from admin_api.operations.actors import Actor
    from admin_api.storage.audit_targets import Target
    from gateway.storage.postgres import Executor

# Fields of old and new values that hold an id, and of what kind.
MENTIONS: Final = {
    "user_id": "user",
    "account_id": "account",
    "api_key_id": "key",
    "subscription_id": "subscription",
    "model_id": "model",
    "revoked_keys": "key",
}
# Fields in which a reason is stated, the first that is there.
REASONS: Final = ("reason", "cause")
MAX_CAUSE: Final = 1000


@dataclass(frozen=True, slots=True, kw_only=True)
class Change:
    """One target that was changed: its id, and the changed values before and after."""

    target_id: str
    old: Mapping[str, Any] | None = None
    new: Mapping[str, Any] | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class AuditEntry:
    """An audit row with names: of its target and of the account it concerns, None where there is none; and of what its
    values mention, by kind and id."""

    row: AuditRow
    target_name: str | None
    account_name: str | None
    mentioned: Mapping[tuple[str, str], str]


async def write_rows(
    executor: "Executor", actor: "Actor", action: str, target_kind: str, changes: Sequence[Change]
) -> None:
    """The rows of one act, in its transaction."""
    targets = await find_targets(executor, target_kind, [change.target_id for change in changes])
    mentioned = {id(change): set(_mentioned(change)) for change in changes}
    accounts = {target.account_id for target in targets.values() if target.account_id is not None}
    accounts |= {int(one) for ids in mentioned.values() for kind, one in ids if kind == "account"}
    owners = await find_targets(executor, "account", accounts)
    rows = []
    for change in changes:
        target = targets.get(change.target_id)
        account_id = _account_of(target, mentioned[id(change)])
        about = {(target_kind, change.target_id), *_belongings(target), *mentioned[id(change)]}
        rows.append(
            NewAuditRow(
                actor=actor.name,
                action=action,
                target_kind=target_kind,
                target_id=change.target_id,
                old=change.old,
                new=change.new,
                request_id=actor.request_id,
                ip=actor.ip,
                actor_user_id=actor.user_id,
                account_id=account_id,
                about=sorted({f"{kind}:{one}" for kind, one in _owned(about, owners)}),
                cause=_stated(change)[:MAX_CAUSE] or actor.via,
            )
        )
    await audit.insert(executor, rows)


async def name_rows(executor: "Executor", rows: Sequence[AuditRow]) -> list[AuditEntry]:
    """The rows with the names of today. Of a target that is deleted, the name is read from the row's values."""
    accounts = await find_targets(executor, "account", [row.account_id for row in rows if row.account_id])
    targets: dict[tuple[str, str], Target] = {}
    for kind in {row.target_kind for row in rows}:
        found = await find_targets(executor, kind, [row.target_id for row in rows if row.target_kind == kind])
        targets |= {(kind, one): target for one, target in found.items()}
    mentions = {row.id: set(_mentioned(row)) for row in rows}
    names = await _name_all(executor, {mention for found in mentions.values() for mention in found})
    named = []
    for row in rows:
        target, account = targets.get((row.target_kind, row.target_id)), accounts.get(str(row.account_id))
        name = target.name if target else _name_in(row)
        mentioned = {mention: names[mention] for mention in mentions[row.id] if mention in names}
        named.append(
            AuditEntry(row=row, target_name=name, account_name=account.name if account else None, mentioned=mentioned)
        )
    return named


async def _name_all(executor: "Executor", mentions: Set[tuple[str, str]]) -> dict[tuple[str, str], str]:
    names: dict[tuple[str, str], str] = {}
    for kind in {kind for kind, _ in mentions}:
        found = await find_targets(executor, kind, [one for of, one in mentions if of == kind])
        names |= {(kind, one): target.name for one, target in found.items()}
    return names


def _mentioned(change: Change | AuditRow) -> Iterator[tuple[str, str]]:
    for values in (change.old or {}, change.new or {}):
        for field, kind in MENTIONS.items():
            found = values.get(field)
            for one in found if isinstance(found, list) else [found]:
                if isinstance(one, int):
                    yield kind, str(one)


def _account_of(target: "Target | None", mentioned: set[tuple[str, str]]) -> int | None:
    if target is not None and target.account_id is not None:
        return target.account_id
    return next((int(one) for kind, one in mentioned if kind == "account"), None)


def _belongings(target: "Target | None") -> Iterator[tuple[str, str]]:
    if target is None:
        return
    for field, kind in MENTIONS.items():
        value = getattr(target, field, None)
        if value is not None:
            yield kind, str(value)


def _owned(about: set[tuple[str, str]], owners: "Mapping[str, Target]") -> Iterator[tuple[str, str]]:
    """An account is named by its team or its user."""
    for kind, one in about:
        owner = owners.get(one) if kind == "account" else None
        if owner is None:
            yield kind, one
        elif owner.user_id is None:
            yield "team", one
        else:
            yield "user", str(owner.user_id)


def _stated(change: Change) -> str:
    for field in REASONS:
        for values in (change.new or {}, change.old or {}):
            if values.get(field):
                return str(values[field])
    return ""


def _name_in(row: AuditRow) -> str | None:
    values = dict(row.old or {}) | dict(row.new or {})
    if row.target_kind == "limit" and "kind" in values:
        per = f" per {values['window']}" if values.get("window") else ""
        return f"{values['kind']}{per} at level {values.get('level')}"
    for field in ("name", "email", "url"):
        if values.get(field):
            return str(values[field])
    return None
