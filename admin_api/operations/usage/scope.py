"""Whose usage a caller may ask for, and which calls his filters mean. The only place where usage is authorised.

Admins and admin-readonlies see everything. A user sees his own calls in every account. Of a team, its members see what
all of it used; only its owners (and each member of himself) see it person by person and key by key.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Final
from zoneinfo import ZoneInfo

from admin_api.operations.access import viewer_of
from admin_api.operations.actors import Actor
from admin_api.operations.lookups import get_key, get_team, get_user
from admin_api.operations.validation import check_moment, check_text, check_time_zone, check_word, invalid
from admin_api.storage import accounts
from admin_api.storage.usage import names as usage_names
from admin_api.storage.usage.rollup_tables import Selection
from gateway.domain.calls import ENDINGS, Ending
from gateway.domain.error_classes import ERROR_CLASSES, ErrorClass
from gateway.domain.errors import GatewayError
from gateway.domain.rollup_ranges import ceiling, floor

if TYPE_CHECKING:
    from gateway.storage.postgres import Executor

DEFAULT_RANGE: Final = timedelta(days=30)
MAX_RANGE: Final = timedelta(days=3660)
EARLIEST: Final = datetime(2020, 1, 1, tzinfo=UTC)
MAX_WORDS: Final = 100


@dataclass(frozen=True, slots=True, kw_only=True)
class UsageFilter:
    """As it was asked for: all that is given must be true of a call. Names or ids, as everywhere."""

    since: datetime | None = None
    until: datetime | None = None
    time_zone: str | None = None
    user: str | None = None
    team: str | None = None
    key: int | None = None
    models: Sequence[str] = ()
    provider: str | None = None
    endings: Sequence[str] = ()
    error_classes: Sequence[str] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Scope:
    """Calls that this caller may ask about. `sees_people`: also person by person and key by key."""

    selection: Selection
    zone: ZoneInfo
    sees_people: bool


@dataclass(frozen=True, slots=True)
class _Whose:
    account_ids: Sequence[int] | None
    user_id: int | None
    zone: str
    sees_people: bool = True
    # Of the one account that is named.
    sees_all_keys: bool = False


async def resolve(executor: "Executor", actor: Actor, query: UsageFilter, *, now: datetime) -> Scope:
    """Raises GatewayError `validation_failed`, `forbidden`, or `not_found` for what is not there or not his to see."""
    start, end = _range(query, now)
    whose = await _whose(executor, actor, query)
    if query.key is not None:
        whose = await _of_key(executor, actor, whose, query.key)
    endings: list[Ending] = [check_word("ending", e, ENDINGS) for e in query.endings]  # type: ignore[misc]  # its words
    classes: list[ErrorClass] = [check_word("error_class", c, ERROR_CLASSES) for c in query.error_classes]  # type: ignore[misc]
    selection = Selection(
        start=start,
        end=end,
        is_open=end >= now,
        account_ids=whose.account_ids,
        user_ids=None if whose.user_id is None else [whose.user_id],
        key_ids=None if query.key is None else [query.key],
        model_ids=await _models(executor, actor, query, whose),
        endings=endings or None,
        error_classes=classes or None,
    )
    zone = check_time_zone(query.time_zone) if query.time_zone else await _zone_of(executor, query, whose)
    return Scope(selection=selection, zone=ZoneInfo(zone), sees_people=whose.sees_people)


def _range(query: UsageFilter, now: datetime) -> tuple[datetime, datetime]:
    """On quarters of an hour, wider than asked rather than narrower."""
    until = check_moment("until", query.until or now)
    if until < EARLIEST:
        raise invalid("until", f"until is not before {EARLIEST:%Y}.")
    since = check_moment("since", query.since or until - DEFAULT_RANGE)
    if not EARLIEST <= since < until:
        raise invalid("since", f"since is before until, and not before {EARLIEST:%Y}.")
    if until - since > MAX_RANGE or until > now + MAX_RANGE:
        raise invalid("until", f"A range has {MAX_RANGE.days} days at most.")
    return floor(since, "quarter"), ceiling(until, "quarter")


async def _whose(executor: "Executor", actor: Actor, query: UsageFilter) -> _Whose:
    sees_all = actor.role in ("admin", "admin-readonly")
    if not sees_all and (actor.role != "user" or actor.user_id is None):
        raise GatewayError("forbidden", "This is for users and admins.")
    user_id = None
    if query.user is not None:
        user_id = (await get_user(executor, query.user)).id if sees_all else await _himself(executor, actor, query.user)
    if query.team is not None:
        team = await get_team(executor, query.team) if sees_all else await _team_of(executor, actor, query.team)
        is_owner = sees_all
        if not sees_all and actor.user_id is not None:
            member = await accounts.find_member(executor, account_id=team.id, user_id=actor.user_id)
            is_owner = member is not None and member.role == "owner"
            if query.user is not None and is_owner:
                user_id = await _team_mate(executor, team, query.user)
            elif query.user is not None and user_id != actor.user_id:
                raise GatewayError("forbidden", "What others of a team used is for its owners to see.")
        return _Whose([team.id], user_id, team.time_zone, is_owner or user_id is not None, is_owner)
    if user_id is None and sees_all:
        return _Whose(None, None, "UTC")
    if not sees_all:
        if query.user is not None and user_id != actor.user_id:
            raise GatewayError("forbidden", "What others used is for admins, or by team for its owners.")
        user_id = actor.user_id
    if user_id is None:
        raise RuntimeError("a user was named or asks himself")
    account_ids = await usage_names.list_accounts_of_user(executor, user_id)
    own = await accounts.find_user(executor, user_id=user_id)
    account = await accounts.find_account(executor, own.account_id) if own else None
    return _Whose(account_ids, user_id, account.time_zone if account else "UTC")


async def _himself(executor: "Executor", actor: Actor, reference: str) -> int | None:
    """His id if that is who he names; None for everybody else, who may exist or not."""
    own = await accounts.find_user(executor, user_id=actor.user_id)
    is_he = own is not None and reference.strip().lower() in (str(own.id), own.email)
    return actor.user_id if is_he else None


async def _team_of(executor: "Executor", actor: Actor, reference: str) -> accounts.Account:
    """A team he is in. Others are as if they were not."""
    team = await get_team(executor, reference)
    member = await accounts.find_member(executor, account_id=team.id, user_id=actor.user_id or 0)
    if member is None:
        raise GatewayError("not_found", f"There is no team '{reference}'.", param="team")
    return team


async def _team_mate(executor: "Executor", team: accounts.Account, reference: str) -> int:
    """Id of one who is in the team, or was: others are as if they were not, or an owner could find out who has an
    account."""
    user = await get_user(executor, reference)
    is_in = await accounts.find_member(executor, account_id=team.id, user_id=user.id) is not None
    # Whoever made calls in it had a key of it, and keys stay.
    if not is_in and team.id not in await usage_names.list_accounts_of_user(executor, user.id):
        raise GatewayError("not_found", f"There is no user '{reference}'.", param="user")
    return user.id


async def _zone_of(executor: "Executor", query: UsageFilter, whose: _Whose) -> str:
    """Of the account: where nobody else is named, of the key's."""
    if query.key is None or query.team is not None or query.user is not None:
        return whose.zone
    account = await accounts.find_account(executor, (await get_key(executor, query.key)).account_id)
    return account.time_zone if account else whose.zone


async def _of_key(executor: "Executor", actor: Actor, whose: _Whose, key_id: int) -> _Whose:
    key = await get_key(executor, key_id)
    sees_all = actor.role in ("admin", "admin-readonly")
    is_his = key.user_id is not None and key.user_id == actor.user_id
    owns_team = whose.sees_all_keys and whose.account_ids is not None and key.account_id in whose.account_ids
    if not (sees_all or is_his or owns_team):
        raise GatewayError("not_found", f"There is no key {key_id}.")
    account_ids = [key.account_id] if whose.account_ids is None else whose.account_ids
    return _Whose(account_ids, whose.user_id, whose.zone, whose.sees_people or is_his, whose.sees_all_keys)


async def _models(executor: "Executor", actor: Actor, query: UsageFilter, whose: _Whose) -> list[int] | None:
    if not query.models and query.provider is None:
        return None
    if len(query.models) > MAX_WORDS:
        raise invalid("model", f"{MAX_WORDS} models at most.")
    ids = None
    if query.models:
        names = [check_text("model", name, maximum=255) for name in query.models]
        viewer, seen = viewer_of(actor), None
        if viewer is not None:
            # A hidden model is as if it were not, but to who may have calls of it.
            seen = [*(whose.account_ids or ()), *await usage_names.list_accounts_of_user(executor, viewer)]
        found = await usage_names.find_models(executor, names, account_ids=seen)
        for name in names:
            if name not in found:
                raise GatewayError("not_found", f"There is no model '{name}'.", param="model")
        ids = list(found.values())
    if query.provider is None:
        return ids
    provided = await usage_names.list_models_of_provider(executor, check_text("provider", query.provider, maximum=100))
    return provided if ids is None else [one for one in ids if one in provided]
