"""Examples of bodies for the OpenAPI document: all are valid as they are.

They are about one small world: Ana (ana@example.org), Ben, the team `red`, the models `small` and `large`, the first
key, subscription and limit, and a call of today. tests/integration/test_a21_examples.py makes this world and
sends each example.
"""

from collections.abc import Mapping
from typing import Any, Final

_UNTIL: Final = "2099-12-31T00:00:00Z"
_SINCE: Final = "2026-11-01T00:00:00Z"
_PRICE: Final = {"input_per_million_usd": "2.50", "output_per_million_usd": "10"}

# operation -> what the example does -> body
EXAMPLES: Final[Mapping[str, Mapping[str, Mapping[str, Any]]]] = {
    "create_user": {
        "A user": {"email": "carla@example.org", "name": "Carla Díaz", "time_zone": "Europe/Madrid", "locale": "es"},
        "An admin who changes nothing": {"email": "auditor@example.org", "role": "admin-readonly"},
    },
    "update_own_user": {"Another name and language": {"name": "Ana María", "locale": "es"}},
    "update_user": {
        "Deactivate": {"status": "deactivated"},
        "Make an admin": {"role": "admin"},
        "Correct name and time zone": {"name": "Ana García", "time_zone": "Europe/Madrid"},
    },
    "choose_own_emails": {"None before keys end": {"emails": {"key.ending": False}}},
    "choose_user_emails": {"Only about limits": {"emails": {"key.ending": False, "limit.threshold_reached": True}}},
    "create_own_token": {"For a program": {"name": "nightly report"}},
    "create_user_token": {"For a machine": {"name": "deployment", "role": "user"}},
    "create_team": {"A team": {"name": "blue", "time_zone": "Europe/Paris"}},
    "update_team": {
        "Rename": {"name": "crimson"},
        "Refuse all its calls": {"status": "suspended", "reason": "Over its budget since May"},
    },
    "add_member": {"A member": {"user": "ben@example.org"}, "An owner": {"user": "ben@example.org", "role": "owner"}},
    "update_member": {"Make an owner": {"role": "owner"}},
    "invite_to_team": {"As an owner": {"user": "ben@example.org", "role": "owner"}},
    "request_to_join": {"With a reason": {"team": "green", "reason": "I work on its chat bot."}},
    "decide_join_request": {"With a reason": {"reason": "Welcome."}},
    "sync_models": {"Also if half of the models are gone": {"accept_missing": True}},
    "rename_model": {"To the name that LiteLLM has it under": {"model": "small", "to": "large"}},
    "update_model": {
        "An admin approves each subscription": {"restricted": True},
        "Switch off": {"enabled": False},
        "Describe": {"description": "Answers in a second; for chats."},
    },
    "set_price": {
        "Per million tokens": {"model": "small", **_PRICE},
        "Cached prompts, and prompts above 200,000 tokens": {
            "model": "small",
            **_PRICE,
            "cached_input_per_million_usd": "0.25",
            "tiers": [{"unit": "input", "above": 200_000, "per_million_usd": "5"}],
        },
    },
    "preview_price": {"Per million tokens": {"model": "small", **_PRICE}},
    "undo_price": {"The version that was added last": {"model": "small"}},
    "reprice_call": {"Half of it": {"cost_usd": "0.0000115", "reason": "The provider refunded the half."}},
    "preview_repricing": {"Since a day": {"model": "small", "since": _SINCE}},
    "reprice_calls": {"Since a day": {"model": "small", "since": _SINCE, "reason": "The price was set too late."}},
    "create_subscription": {
        "For yourself": {"model": "large"},
        "For a team": {"model": "large", "team": "red"},
        "For a user, until a day": {"model": "large", "user": "ben@example.org", "expires_at": _UNTIL},
    },
    "change_subscription": {"Suspend": {"reason": "The budget of this year is spent."}},
    "decide_subscriptions": {"With a reason": {"subscription_ids": [1], "reason": "For the summer project."}},
    "create_key": {
        "Of a team": {"team": "red", "models": ["small"], "name": "chat bot"},
        "Of a user, with limits": {
            "user": "ana@example.org",
            "models": ["small"],
            "name": "laptop",
            "allowed_ips": ["192.0.2.0/24"],
            "expires_at": _UNTIL,
            "rpm": 60,
            "monthly_cost_usd": "25.00",
        },
    },
    "update_key": {
        "Other models": {"models": ["small"]},
        "Only from these addresses": {"allowed_ips": ["192.0.2.0/24", "2001:db8::/32"]},
    },
    "rotate_key": {"Both valid for an hour": {"grace_s": 3600}, "At once": {"grace_s": 0}},
    "set_limit": {
        "Monthly budget of a team": {
            "level": "team",
            "id": "red",
            "kind": "cost",
            "window": "month",
            "amount_usd": "100.00",
        },
        "Requests a minute of a user": {"level": "user", "id": "ana@example.org", "kind": "rpm", "amount": 120},
        "Tokens a day of a key, only counted": {
            "level": "key",
            "id": 1,
            "kind": "tokens",
            "window": "day",
            "amount": 1_000_000,
            "shadow": True,
        },
    },
    "preview_limits": {
        "A budget for two users": {
            "level": "user",
            "users": ["ana@example.org", "ben@example.org"],
            "kind": "cost",
            "window": "month",
            "amount_usd": "50.00",
        },
        "A rate for all keys of a team": {"level": "key", "team": "red", "kind": "rpm", "amount": 60},
    },
    "apply_limits": {
        "What the preview showed": {
            "level": "key",
            "team": "red",
            "kind": "rpm",
            "amount": 60,
            "token": "0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef",
        },
    },
    "boost_limit": {
        "A higher budget": {"amount_usd": "250.00", "expires_at": _UNTIL, "reason": "The launch."},
    },
    "request_limit": {"A higher budget": {"amount_usd": "150.00", "reason": "The launch is in May."}},
    "decide_limit_request": {
        "As asked for": {"reason": "For the launch."},
        "Another amount": {"amount_usd": "120.00", "reason": "Half of it for now."},
    },
    "update_settings": {
        "Defaults of new keys": {"key_default_rpm": 60, "key_default_monthly_cost_usd": "25.00"},
        "Alerts at other percentages": {"alert_thresholds": [75, 90, 100]},
    },
    "put_provider_key": {"A key": {"provider": "openai", "value": "sk-example-0123456789abcdef"}},
    "create_webhook": {
        "Alerts of a team": {
            "url": "https://hooks.example.com/litemaas",
            "events": ["limit.threshold_reached"],
            "team": "red",
        },
        "Requests to approve, of all accounts": {
            "url": "https://hooks.example.com/litemaas",
            "events": ["subscription.pending"],
        },
    },
    "update_webhook": {"Stop it": {"enabled": False}},
}  # fmt: skip


def example_objects(operation: str) -> dict[str, Any]:
    """The `examples` of a body's media type."""
    return {name: {"summary": name, "value": value} for name, value in EXAMPLES.get(operation, {}).items()}
