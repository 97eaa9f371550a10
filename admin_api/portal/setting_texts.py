"""The settings that admins change, as their form shows them: groups, texts, and what is typed in each field."""

from dataclasses import dataclass
from typing import Final, Literal

from admin_api.portal.texts import marked

# How a value is typed. `usd` is an amount of money a month; `count` may be empty, which means none or unlimited.
Input = Literal["count", "usd", "percents", "access", "line", "currency", "rate"]


@dataclass(frozen=True, slots=True)
class Setting:
    """One field: its name in the API and its texts."""

    name: str
    input: Input
    text: str
    help: str = ""


@dataclass(frozen=True, slots=True)
class Group:
    """Settings that stand together."""

    title: str
    settings: tuple[Setting, ...]


EMPTY_NONE: Final = marked("Empty: none.")
EMPTY_UNLIMITED: Final = marked("Empty: unlimited.")
EMPTY_NEVER: Final = marked("Empty: never.")
GROUPS: Final = (
    Group(
        marked("New users"),
        (
            Setting(
                "user_default_monthly_cost_nano_usd",
                "usd",
                marked("Budget a month of a new user, in US dollars"),
                marked("Of the calls of their personal account. Empty: unlimited."),
            ),
            Setting("user_maximum_keys", "count", marked("Working keys of a user, at most"), EMPTY_UNLIMITED),
            Setting("team_maximum_keys", "count", marked("Working keys of a team, at most"), EMPTY_UNLIMITED),
        ),
    ),
    Group(
        marked("New models and subscriptions"),
        (
            Setting(
                "new_models",
                "access",
                marked("What a model that LiteLLM has newly is at first"),
                marked("Models that are there already stay as they are."),
            ),
            Setting(
                "subscription_default_monthly_requests",
                "count",
                marked("Requests a month of a new subscription"),
                EMPTY_UNLIMITED,
            ),
            Setting(
                "subscription_default_monthly_tokens",
                "count",
                marked("Tokens a month of a new subscription"),
                EMPTY_UNLIMITED,
            ),
        ),
    ),
    Group(
        marked("New keys: what they have if nothing is asked for"),
        (
            Setting("key_default_rpm", "count", marked("Requests a minute"), EMPTY_NONE),
            Setting("key_default_tpm", "count", marked("Tokens a minute"), EMPTY_NONE),
            Setting("key_default_concurrency", "count", marked("Requests at the same time"), EMPTY_NONE),
            Setting("key_default_monthly_cost_nano_usd", "usd", marked("US dollars a month"), EMPTY_NONE),
            Setting("key_default_expiry_days", "count", marked("Days until a key expires"), EMPTY_NEVER),
        ),
    ),
    Group(
        marked("New keys: what their owners may ask for at most"),
        (
            Setting("key_maximum_rpm", "count", marked("Requests a minute"), EMPTY_UNLIMITED),
            Setting("key_maximum_tpm", "count", marked("Tokens a minute"), EMPTY_UNLIMITED),
            Setting("key_maximum_concurrency", "count", marked("Requests at the same time"), EMPTY_UNLIMITED),
            Setting("key_maximum_monthly_cost_nano_usd", "usd", marked("US dollars a month"), EMPTY_UNLIMITED),
            Setting("key_maximum_expiry_days", "count", marked("Days until a key expires"), EMPTY_UNLIMITED),
        ),
    ),
    Group(
        marked("Keys that nobody needs"),
        (
            Setting("key_maximum_unused_days", "count", marked("Days without a call until a key ends"), EMPTY_NEVER),
            Setting(
                "key_maximum_days_without_login",
                "count",
                marked("Days without a login of its user until a key ends"),
                EMPTY_NEVER,
            ),
            Setting("key_warning_days", "count", marked("Days before, that end is announced")),
        ),
    ),
    Group(
        marked("Alerts and requests"),
        (
            Setting(
                "alert_thresholds",
                "percents",
                marked("Thresholds of alerts, in percent of a limit"),
                marked("Separated by spaces, as 50 80 100. Empty: no alerts."),
            ),
            Setting(
                "pending_requests_email_hours",
                "count",
                marked("Hours between e-mails to admins about requests that wait"),
                marked("Empty: no e-mails."),
            ),
        ),
    ),
    Group(
        marked("What pages show"),
        (
            Setting("banner_en", "line", marked("Banner in English"), marked("A text above all pages. Empty: none.")),
            Setting("banner_es", "line", marked("Banner in Spanish"), marked("Empty: as in English.")),
            Setting("banner_fr", "line", marked("Banner in French"), marked("Empty: as in English.")),
            Setting(
                "display_currency",
                "currency",
                marked("Currency beside US dollars"),
                marked("Its three letters, as EUR. Limits and bills stay in US dollars. Empty: none."),
            ),
            Setting(
                "display_currency_rate",
                "rate",
                marked("How much of it a US dollar is"),
                marked("As 0.92. It is not looked up: change it here."),
            ),
        ),
    ),
)
SETTINGS: Final = tuple(setting for group in GROUPS for setting in group.settings)
