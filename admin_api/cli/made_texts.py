"""Sentences about what a command made or set: a limit, a subscription."""

from typing import TYPE_CHECKING

from admin_api.cli.cells import key_text, time_text
from gateway.domain.limits import amount_text

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from admin_api.operations.limits.limits import LimitChange
    from admin_api.storage.limits import LimitRow
    from admin_api.storage.subscriptions import Subscription


def holder_text(row: "LimitRow") -> str:
    """What a limit is set on: `ana@example.org in team red` is another one than their personal account."""
    whose = row.user_email or ""
    if row.account_kind == "team":
        team = f"team {row.account_name}"
        whose = f"{whose} in {team}" if whose else team
    whose = whose or row.account_name
    if row.level in ("user", "team"):
        return whose
    if row.level == "subscription":
        return f"the subscription of {whose} to {row.model_name}"
    calls = f"calls of {row.model_name} by " if row.level == "key_model" else ""
    return f"{calls}key {row.api_key_id} ({key_text(row.key_name, row.key_last_four)}) of {whose}"


def limit_text(row: "LimitRow") -> str:
    """`Limit 7: cost 25 USD per month for team red`."""
    per = f" per {row.window}" if row.window else ""
    shadow = ", in shadow" if row.shadow else ""
    until = f" until {time_text(row.expires_at)}" if row.expires_at else ""
    return f"Limit {row.id}: {row.kind} {amount_text(row.kind, row.amount)}{per} for {holder_text(row)}{until}{shadow}"


def change_text(change: "LimitChange", kind: str) -> str:
    """A limit that was set or removed, and the amount before."""
    old = change.replaced
    was = "" if old is None else f"; it was {amount_text(old.kind, old.amount)}"
    if change.row is not None:
        return f"{limit_text(change.row)}{was}."
    return f"{kind} is unlimited{f' for {holder_text(old)}' if old else ''} now{was or ', as it was'}."


def subscription_text(row: "Subscription") -> str:
    """Its state, and what is to be done about it."""
    text = f"Subscription {row.id}: {row.account_name} to {row.model_name}, {row.status}."
    return f"{text} An admin approves it: litemaas subscriptions approve {row.id}" if row.status == "pending" else text


def made_lines(subscriptions: "Sequence[Subscription]", limits: "Sequence[LimitRow]") -> "Iterator[str]":
    """A line for each."""
    yield from map(subscription_text, subscriptions)
    yield from (f"{limit_text(row)}." for row in limits)
