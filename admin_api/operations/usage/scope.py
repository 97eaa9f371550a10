"""Which usage an actor may see, and which calls a filter selects. The only place where usage is authorized.

Admins and read-only admins see everything. Users see their own calls in all accounts. Members of a team see the usage
of the whole team; only its owners see it by person and by key, and each member their own.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Final
from zoneinfo import ZoneInfo

from admin_api.operations.access import viewer_of
from admin_api.operations.actors import Actor
from admin_api.operations.dates import read_moment, read_period
from admin_api.operations.lookups import get_key, get_team, get_user
from admin_api.operations.validation import check_moment, check_text, check_time_zone, check_word, invalid
from admin_api.storage import accounts
from admin_api.storage import users as user_rows
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
    """The requested filter: a call must match all given fields. Users, teams and models are names or ids. Dates as
    text, and a period instead of both, are read in the time zone."""

    since: datetime | str | None = None
    until: datetime | str | None = None
    period: str | None = None
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
    """The calls that the actor may see. `sees_people`: also by person and by key."""

    selection: Selection
    zone: ZoneInfo
    sees_people: bool


@dataclass(frozen=True, slots=True)
class _Owners:
    account_ids: Sequence[int] | None
    user_id: int | None
    zone: str
    sees_people: bool = True
    # Of the one named account.
    sees_all_keys: bool = False


async def resolve(executor: "Executor", actor: Actor, query: UsageFilter, *, now: datetime) -> Scope:
    """Raises GatewayError `validation_failed`, `forbidden`, or `not_found` also for what the actor may not see."""
    owners = await _owners(executor, actor, query)
    if query.key is not None:
        owners = await _of_key(executor, actor, owners, query.key)
    zone = ZoneInfo(check_time_zone(query.time_zone) if query.time_zone else await _zone_of(executor, query, owners))
    start, end = _range(query, now, zone)
    endings: list[Ending] = [check_word("ending", e, ENDINGS) for e in query.endings]  # type: ignore[misc]  # checked
    classes: list[ErrorClass] = [check_word("error_class", c, ERROR_CLASSES) for c in query.error_classes]  # type: ignore[misc]
    selection = Selection(
        start=start,
        end=end,
        is_open=end >= now,
        account_ids=owners.account_ids,
        user_ids=None if owners.user_id is None else [owners.user_id],
        key_ids=None if query.key is None else [query.key],
        model_ids=await _models(executor, actor, query, owners),
        endings=endings or None,
        error_classes=classes or None,
    )
    return Scope(selection=selection, zone=zone, sees_people=owners.sees_people)


def _range(query: UsageFilter, now: datetime, zone: ZoneInfo) -> tuple[datetime, datetime]:
    """The period, extended to full quarters of an hour."""
    since_given, until_given = query.since, query.until
    if query.period is not None:
        if since_given is not None or until_given is not None:
            raise invalid("period", "period takes the place of since and until.")
        since_given, until_given = read_period(query.period, zone, now)
    until = _moment("until", until_given or now, zone, now)
    if until < EARLIEST:
        raise invalid("until", f"until must not be before {EARLIEST:%Y}.")
    since = _moment("since", since_given or until - DEFAULT_RANGE, zone, now)
    if not EARLIEST <= since < until:
        raise invalid("since", f"since must be before until, and not before {EARLIEST:%Y}.")
    if until - since > MAX_RANGE or until > now + MAX_RANGE:
        raise invalid("until", f"A period may have at most {MAX_RANGE.days} days.")
    return floor(since, "quarter"), ceiling(until, "quarter")


def _moment(field: str, value: datetime | str, zone: ZoneInfo, now: datetime) -> datetime:
    return read_moment(field, value, zone, now) if isinstance(value, str) else check_moment(field, value)


async def _owners(executor: "Executor", actor: Actor, query: UsageFilter) -> _Owners:
    sees_all = actor.role in ("admin", "admin-readonly")
    if not sees_all and (actor.role != "user" or actor.user_id is None):
        raise GatewayError("forbidden", "This is for users and admins.")
    user_id = None
    if query.user is not None:
        user_id = (await get_user(executor, query.user)).id if sees_all else await _own_id(executor, actor, query.user)
    if query.team is not None:
        team = await get_team(executor, query.team) if sees_all else await _team_of(executor, actor, query.team)
        is_owner = sees_all
        if not sees_all and actor.user_id is not None:
            member = await accounts.find_member(executor, account_id=team.id, user_id=actor.user_id)
            is_owner = member is not None and member.role == "owner"
            if query.user is not None and is_owner:
                user_id = await _team_mate(executor, team, query.user)
            elif query.user is not None and user_id != actor.user_id:
                raise GatewayError("forbidden", "Only the owners of a team can see the usage of other members.")
        return _Owners([team.id], user_id, team.time_zone, is_owner or user_id is not None, is_owner)
    if user_id is None and sees_all:
        return _Owners(None, None, "UTC")
    if not sees_all:
        if query.user is not None and user_id != actor.user_id:
            raise GatewayError(
                "forbidden", "Only admins can see the usage of other users. Owners of a team can, with the filter team."
            )
        user_id = actor.user_id
    if user_id is None:
        raise RuntimeError("neither a user was named nor is the actor a user")
    account_ids = await usage_names.list_accounts_of_user(executor, user_id)
    own = await user_rows.find_user(executor, user_id=user_id)
    account = await accounts.find_account(executor, own.account_id) if own else None
    return _Owners(account_ids, user_id, account.time_zone if account else "UTC")


async def _own_id(executor: "Executor", actor: Actor, reference: str) -> int | None:
    """The actor's id if `reference` names the actor; None for everybody else, whether they exist or not."""
    own = await user_rows.find_user(executor, user_id=actor.user_id)
    is_self = own is not None and reference.strip().lower() in (str(own.id), own.email)
    return actor.user_id if is_self else None


async def _team_of(executor: "Executor", actor: Actor, reference: str) -> accounts.Account:
    """A team of the actor. Raises GatewayError `not_found`, also for other teams."""
    team = await get_team(executor, reference)
    member = await accounts.find_member(executor, account_id=team.id, user_id=actor.user_id or 0)
    if member is None:
        raise GatewayError("not_found", f"There is no team '{reference}'.", param="team")
    return team


async def _team_mate(executor: "Executor", team: accounts.Account, reference: str) -> int:
    """The id of a present or past member of the team. Raises GatewayError `not_found`, also for other users: an owner
    must not learn who has an account."""
    user = await get_user(executor, reference)
    is_in = await accounts.find_member(executor, account_id=team.id, user_id=user.id) is not None
    # Past members who made calls have a key in the team, as keys are never deleted.
    if not is_in and team.id not in await usage_names.list_accounts_of_user(executor, user.id):
        raise GatewayError("not_found", f"There is no user '{reference}'.", param="user")
    return user.id


async def _zone_of(executor: "Executor", query: UsageFilter, owners: _Owners) -> str:
    """The time zone of the named account, or of the key's account if only a key is named."""
    if query.key is None or query.team is not None or query.user is not None:
        return owners.zone
    account = await accounts.find_account(executor, (await get_key(executor, query.key)).account_id)
    return account.time_zone if account else owners.zone


async def _of_key(executor: "Executor", actor: Actor, owners: _Owners, key_id: int) -> _Owners:
    key = await get_key(executor, key_id)
    sees_all = actor.role in ("admin", "admin-readonly")
    is_own = key.user_id is not None and key.user_id == actor.user_id
    owns_team = owners.sees_all_keys and owners.account_ids is not None and key.account_id in owners.account_ids
    if not (sees_all or is_own or owns_team):
        raise GatewayError("not_found", f"There is no key {key_id}.")
    account_ids = [key.account_id] if owners.account_ids is None else owners.account_ids
    return _Owners(account_ids, owners.user_id, owners.zone, owners.sees_people or is_own, owners.sees_all_keys)


async def _models(executor: "Executor", actor: Actor, query: UsageFilter, owners: _Owners) -> list[int] | None:
    if not query.models and query.provider is None:
        return None
    if len(query.models) > MAX_WORDS:
        raise invalid("model", f"model may have at most {MAX_WORDS} values.")
    ids = None
    if query.models:
        names = [check_text("model", name, maximum=255) for name in query.models]
        viewer, seen = viewer_of(actor), None
        if viewer is not None:
            # A hidden model is visible only to accounts that may have calls of it.
            seen = [*(owners.account_ids or ()), *await usage_names.list_accounts_of_user(executor, viewer)]
        found = await usage_names.find_models(executor, names, account_ids=seen)
        for name in names:
            if name not in found:
                raise GatewayError("not_found", f"There is no model '{name}'.", param="model")
        ids = list(found.values())
    if query.provider is None:
        return ids
    provided = await usage_names.list_models_of_provider(executor, check_text("provider", query.provider, maximum=100))
    return provided if ids is None else [one for one in ids if one in provided]
