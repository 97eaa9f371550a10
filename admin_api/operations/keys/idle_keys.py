"""Ends keys that nobody uses, and keys of users who do not log in, as the settings say: announced, then revoked."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any, Final

from admin_api.operations.actors import Actor, note
from admin_api.operations.lookups import get_key
from admin_api.operations.notifications.events import notify
from admin_api.operations.runtime_settings import read_settings
from admin_api.storage import accounts, api_key_changes, key_uses
from admin_api.storage.key_uses import IdleKey, Reason

if TYPE_CHECKING:
    from admin_api.operations.runtime_settings import RuntimeSettings
    from admin_api.storage.api_keys import APIKey
    from gateway.storage.postgres import Executor, Pool

SYSTEM: Final = Actor(name="system", role="program", via="ages of idle keys")
SETTING_OF: Final[Mapping[Reason, str]] = {
    "unused": "key_maximum_unused_days",
    "no_login": "key_maximum_days_without_login",
}
# Bounds one run of the background task; the next run continues.
MAX_DUE: Final = 500


@dataclass(frozen=True, slots=True, kw_only=True)
class EndedKeys:
    """What one run did."""

    announced: int
    ended: int


@dataclass(frozen=True, slots=True, kw_only=True)
class _Rule:
    """Keys idle for `days` end, `warning` after it was announced."""

    reason: Reason
    days: int
    warning: timedelta
    now: datetime

    @property
    def idle_before(self) -> datetime:
        return self.now - timedelta(days=self.days)

    def ends_at(self, key: IdleKey) -> datetime:
        """Not before the notice is over, also when the setting is new."""
        return max(key.since + timedelta(days=self.days), self.now + self.warning)


async def end_idle_keys(pool: "Pool", now: datetime | None = None) -> EndedKeys:
    """Announces the end of keys that are idle for so long that only the notice is left, and revokes those whose notice
    is over. A call, or a login, ends the notice. Several replicas may run this at once."""
    announced = ended = 0
    async with pool.acquire() as connection:
        rules = _rules_of(await read_settings(connection), now or datetime.now(UTC))
        for rule in rules:
            ended += await _end_due(connection, rule)
            announced += await _announce_due(connection, rule)
    return EndedKeys(announced=announced, ended=ended)


def _rules_of(settings: "RuntimeSettings", now: datetime) -> list[_Rule]:
    rules = []
    for reason, name in SETTING_OF.items():
        days = getattr(settings, name)
        if days is not None:
            warning = timedelta(days=min(settings.key_warning_days, days))
            rules.append(_Rule(reason=reason, days=days, warning=warning, now=now))
    return rules


async def _announce_due(connection: "Executor", rule: _Rule) -> int:
    count = 0
    before = rule.idle_before + rule.warning
    for idle in await key_uses.list_to_announce(connection, rule.reason, idle_before=before, limit=MAX_DUE):
        async with connection.transaction():
            if await key_uses.update_announced(connection, idle, now=rule.now):
                key = await get_key(connection, idle.id)
                data = _data(key, idle, rule) | {"ends_at": rule.ends_at(idle).isoformat()}
                await notify(connection, "key.ending", data, account_id=key.account_id, user_id=key.user_id)
                count += 1
    return count


async def _end_due(connection: "Executor", rule: _Rule) -> int:
    count = 0
    due: dict[str, Any] = {"idle_before": rule.idle_before, "announced_before": rule.now - rule.warning}
    for idle in await key_uses.list_to_end(connection, rule.reason, **due, limit=MAX_DUE):
        async with connection.transaction():
            key = await get_key(connection, idle.id)
            await accounts.lock_account(connection, key.account_id)
            # It may have been used, or revoked, meanwhile.
            still = await key_uses.list_to_end(connection, rule.reason, **due, limit=1, key_id=idle.id)
            if not still or not await api_key_changes.update_revoked(connection, idle.id):
                continue
            key = await get_key(connection, idle.id)
            new = {"revoked_at": key.revoked_at, "idle_since": idle.since, "cause": _cause(rule)}
            await note(connection, SYSTEM, "key.revoke", "key", key.id, old={"revoked_at": None}, new=new)
            data = _data(key, idle, rule)
            await notify(connection, "key.ended", data, account_id=key.account_id, user_id=key.user_id)
            count += 1
    return count


def _cause(rule: _Rule) -> str:
    what = "not used" if rule.reason == "unused" else "no login of its user"
    return f"{what} for {rule.days} days ({SETTING_OF[rule.reason]})"


def _data(key: "APIKey", idle: IdleKey, rule: _Rule) -> dict[str, object]:
    return {
        "key_id": key.id,
        "key": key.name,
        "key_last_four": key.last_four,
        "account_id": key.account_id,
        "account": key.account_name,
        "user": key.user_email,
        "reason": rule.reason,
        "days": rule.days,
        "idle_since": idle.since.isoformat(),
    }
