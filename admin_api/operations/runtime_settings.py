"""Settings that admins change at run time: defaults and ceilings of keys, alerts, new models, what pages show."""

from collections.abc import Mapping
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Annotated, Any, Final, Literal

from pydantic import AfterValidator, BaseModel, ConfigDict, Field

from admin_api.operations.actors import Actor, note, require_admin, require_reader
from admin_api.operations.limits.parsing import doubt, parse_decimal, parse_usd
from admin_api.operations.preconditions import check_version, version_of
from admin_api.operations.validation import InvalidInput, invalid, invalid_now
from admin_api.storage import runtime_settings as rows
from gateway.domain.limits import MAX_AMOUNT, MAX_BUCKET_CAPACITY
from gateway.domain.money import Money, decimal_text

if TYPE_CHECKING:
    from gateway.storage.postgres import Executor, Pool

MAX_DAYS: Final = 3650
MAX_KEYS: Final = 100_000
MAX_HOURS: Final = 720
# As in the CHECK constraint of the database.
MAX_THRESHOLD: Final = 1000
MAX_THRESHOLDS: Final = 10
MAX_RATE: Final = 1_000_000
# When each threshold was added. Stored with the settings, but not a setting itself.
THRESHOLDS_SINCE: Final = "alert_thresholds_since"
NANO_USD_END: Final = "_nano_usd"
# Those whose value is text, also where it looks like a number.
TEXTS: Final = ("banner_en", "banner_es", "banner_fr", "display_currency", "display_currency_rate")
Rate = Annotated[int | None, Field(ge=0, le=MAX_BUCKET_CAPACITY)]
Count = Annotated[int | None, Field(ge=0, le=MAX_AMOUNT)]
Days = Annotated[int | None, Field(ge=1, le=MAX_DAYS)]
Keys = Annotated[int | None, Field(ge=0, le=MAX_KEYS)]
Threshold = Annotated[int, Field(ge=1, le=MAX_THRESHOLD)]
Thresholds = Annotated[
    list[Threshold],
    Field(
        max_length=MAX_THRESHOLDS,
        description="Percentages of a window's limit at which alerts are raised; none if empty",
    ),
    AfterValidator(lambda values: sorted(set(values))),
]


UnusedDays = Annotated[
    int | None, Field(ge=1, le=MAX_DAYS, description="A key ends when it was not used for so long; null: never")
]
DaysWithoutLogin = Annotated[
    int | None,
    Field(ge=1, le=MAX_DAYS, description="A key ends when its user did not log in for so long; null: never"),
]
WarningDays = Annotated[int, Field(ge=1, le=MAX_DAYS, description="For how long that end is announced before")]
# Who may use a model that LiteLLM has newly: all users; those whom an admin approves; those whom an admin subscribes.
ModelAccess = Literal["open", "restricted", "hidden"]
NewModels = Annotated[
    ModelAccess,
    Field(
        description="What a sync makes of models it has not seen before: open to all users, restricted (an admin "
        "approves each subscription), or hidden as well"
    ),
]


Hours = Annotated[
    int | None,
    Field(
        ge=1,
        le=MAX_HOURS,
        description="Admins get an e-mail about requests that wait for them, at most one in so many hours; null: none",
    ),
]


def _check_banner(text: str | None) -> str | None:
    """Raises ValueError."""
    shown = " ".join((text or "").split())
    if not shown.isprintable():
        raise ValueError("characters that cannot be displayed")
    return shown or None


def _check_rate(text: str | None) -> str | None:
    """As it is stored: without an exponent. Raises ValueError."""
    if text is None:
        return None
    try:
        rate = parse_decimal("display_currency_rate", text)
    except InvalidInput:
        raise ValueError("a decimal number above 0, for example 0.92") from None
    if not 0 < rate <= MAX_RATE:
        raise ValueError(f"a decimal number above 0, up to {MAX_RATE}")
    return decimal_text(rate)


Banner = Annotated[
    str | None,
    Field(max_length=500, description="Shown on all pages in this language, else in English; null: none"),
    AfterValidator(_check_banner),
]
Currency = Annotated[
    str | None,
    Field(
        pattern=r"^[A-Z]{3}$",
        description="ISO 4217. Pages show amounts in it as well; all that is stored and limited stays US dollars",
    ),
]
CurrencyRate = Annotated[
    str | None,
    Field(max_length=40, description="How much of that currency a US dollar is"),
    AfterValidator(_check_rate),
]


class RuntimeSettings(BaseModel):
    """All settings. None means no default, no ceiling, or unlimited.

    Ceilings (`maximum`) apply to owners, not to admins; defaults apply to values left out. Costs are in nano-USD per
    month.
    """

    model_config = ConfigDict(frozen=True, extra="ignore")

    key_default_rpm: Rate = None
    key_default_tpm: Rate = None
    key_default_concurrency: Count = None
    key_default_monthly_cost_nano_usd: Count = None
    key_default_expiry_days: Days = None
    key_maximum_rpm: Rate = None
    key_maximum_tpm: Rate = None
    key_maximum_concurrency: Count = None
    key_maximum_monthly_cost_nano_usd: Count = None
    key_maximum_expiry_days: Days = None
    user_default_monthly_cost_nano_usd: Count = None
    # A key ends when it was not used, or its user did not log in, for so long; announced before.
    key_maximum_unused_days: UnusedDays = None
    key_maximum_days_without_login: DaysWithoutLogin = None
    key_warning_days: WarningDays = 14
    # Active keys of a personal account and of a team.
    user_maximum_keys: Keys = 10
    team_maximum_keys: Keys = 100
    subscription_default_monthly_requests: Count = 10_000
    subscription_default_monthly_tokens: Count = 1_000_000
    alert_thresholds: Thresholds = [50, 80, 100]
    new_models: NewModels = "restricted"
    pending_requests_email_hours: Hours = 4
    # What pages show.
    banner_en: Banner = None
    banner_es: Banner = None
    banner_fr: Banner = None
    display_currency: Currency = None
    display_currency_rate: CurrencyRate = None


async def read_settings(executor: "Executor") -> RuntimeSettings:
    """The current settings. Entries that this version does not know are ignored."""
    return RuntimeSettings.model_validate(await rows.list_settings(executor))


async def read_thresholds(executor: "Executor") -> dict[int, datetime | None]:
    """Percent -> when the threshold was added, None if it is one of the first. It does not apply to windows that ended
    before."""
    saved = await rows.list_settings(executor)
    since = saved.get(THRESHOLDS_SINCE, {})
    return {
        threshold: datetime.fromisoformat(since[str(threshold)]) if str(threshold) in since else None
        for threshold in RuntimeSettings.model_validate(saved).alert_thresholds
    }


async def show_settings(pool: "Pool", actor: Actor) -> RuntimeSettings:
    """For admins and read-only admins. Raises GatewayError `forbidden`."""
    require_reader(actor)
    async with pool.acquire() as connection:
        return await read_settings(connection)


async def update_settings(
    pool: "Pool", actor: Actor, given: Mapping[str, Any], *, as_of: str | None = None, confirmed: bool = False
) -> RuntimeSettings:
    """Changes the given entries, all or none; None means unlimited. Money is given as `…_usd` or `…_nano_usd`. Existing
    keys and subscriptions stay as they are.

    Raises GatewayError `forbidden`, `precondition_failed` if `as_of` does not match, `validation_failed` for an unknown
    entry, a default above its ceiling, or money that changes by more than a thousandfold without `confirmed`.
    """
    require_admin(actor)
    values = in_nano_usd(given)
    for name in values:
        if name not in RuntimeSettings.model_fields:
            raise invalid(name[:100], f"There is no setting '{name[:100]}'.")
    async with pool.acquire() as connection, connection.transaction():
        await rows.lock_settings(connection)
        old = await read_settings(connection)
        check_version(version_of(old.model_dump()), as_of)
        new = _check(old.model_dump() | dict(values))
        changed = [name for name in values if getattr(old, name) != getattr(new, name)]
        if not confirmed:
            _check_changes(old, new, changed)
        if not changed:
            return new
        written = {name: getattr(new, name) for name in changed}
        if "alert_thresholds" in changed:
            written[THRESHOLDS_SINCE] = await _thresholds_since(connection, new.alert_thresholds)
        await rows.upsert_settings(connection, written)
        await note(
            connection,
            actor,
            "settings.update",
            "settings",
            "settings",
            old={name: getattr(old, name) for name in changed},
            new={name: getattr(new, name) for name in changed},
        )
    return new


def in_nano_usd(given: Mapping[str, Any]) -> dict[str, Any]:
    """The entries as they are stored. Raises GatewayError `validation_failed` for a cost that is no text of a decimal
    number, or is given in both units with different amounts."""
    values = dict(given)
    for stored in RuntimeSettings.model_fields:
        name = stored.replace(NANO_USD_END, "_usd")
        if name == stored or name not in values:
            continue
        usd = values.pop(name)
        nano = None if usd is None else parse_usd(name, str(usd))
        if values.setdefault(stored, nano) != nano:
            raise invalid(name, f"{name} and {stored} are two amounts; give one.")
    return values


def _check_changes(old: RuntimeSettings, new: RuntimeSettings, changed: list[str]) -> None:
    """Raises GatewayError `validation_failed` for money that changes by more than a thousandfold."""
    for name in changed:
        before, after = getattr(old, name), getattr(new, name)
        if not name.endswith(NANO_USD_END) or before is None or after is None:
            continue
        if Money(before).is_far_from(Money(after)):
            raise doubt(name.replace(NANO_USD_END, "_usd"), f"from {Money(before)} to {Money(after)}")


async def _thresholds_since(executor: "Executor", thresholds: list[int]) -> dict[str, str]:
    """When each threshold was added: the stored time, or now for new ones."""
    known, now = await read_thresholds(executor), datetime.now(UTC)
    since = {threshold: known.get(threshold, now) for threshold in thresholds}
    return {str(threshold): moment.isoformat() for threshold, moment in since.items() if moment is not None}


def _check(values: Mapping[str, Any]) -> RuntimeSettings:
    try:
        # Strict: "5" and true are not accepted as numbers.
        new = RuntimeSettings.model_validate(values, strict=True)
    except ValueError as exc:
        problems: list[dict[str, Any]] = getattr(exc, "errors", list)()
        fields = [{"field": str(problem["loc"][0]), "message": str(problem["msg"])} for problem in problems]
        message = "; ".join(f"{field['field']}: {field['message']}" for field in fields)
        raise InvalidInput("validation_failed", f"{message}.", details={"fields": fields}) from None
    for name in RuntimeSettings.model_fields:
        if name.startswith("key_default_"):
            maximum, value = getattr(new, name.replace("default", "maximum")), getattr(new, name)
            if maximum is not None and value is not None and value > maximum:
                most = Money(maximum) if name.endswith(NANO_USD_END) else maximum
                raise invalid_now(name, f"{name} must not exceed {name.replace('default', 'maximum')}, {most}.")
    if (new.display_currency is None) is not (new.display_currency_rate is None):
        raise invalid_now("display_currency_rate", "display_currency and display_currency_rate are set together.")
    return new
