"""Titles of operations, for the OpenAPI document, where the name of the function does not say enough."""

from collections.abc import Mapping
from typing import Final

SUMMARIES: Final[Mapping[str, str]] = {
    "list_providers": "List identity providers",
    "log_in": "Begin a login",
    "finish_login": "Finish a login",
    "log_out": "End this session",
    "show_own_user": "Show yourself",
    "update_own_user": "Change your name or language",
    "list_own_activity": "List changes you made",
    "list_user_tokens": "List tokens of a user",
    "create_user_token": "Create token for a user",
    "revoke_user_token": "Revoke token of a user",
    "list_user_sessions": "List sessions of a user",
    "end_user_sessions": "End all sessions of a user",
    "end_user_session": "End session of a user",
    "unlink_identity": "Unlink a user from an identity",
    "list_identities": "List identities of a user",
    "list_members": "List members of a team",
    "invite_to_team": "Invite a user to a team",
    "update_member": "Change the role of a member",
    "list_invitations": "List invitations of a team",
    "sync_models": "Read LiteLLM's list of models",
    "list_model_syncs": "List syncs of models",
    "show_litellm_health": "Show whether LiteLLM answers",
    "list_prices": "List versions of a price",
    "set_price": "Set the price of a model",
    "preview_price": "Preview a price",
    "undo_price": "Undo the last price",
    "verify_ledger": "Compare the ledger's rows with their sums",
    "verify_closed_days": "Check the seals of the ledger",
    "reprice_call": "Change what a call is charged",
    "preview_repricing": "Preview new prices of past calls",
    "reprice_calls": "Price past calls again",
    "create_subscription": "Subscribe to a model",
    "change_subscription": "Approve, deny, suspend, reactivate or cancel a subscription",
    "decide_subscriptions": "Approve or deny many subscriptions",
    "explain_limits": "Explain whether a call would be admitted",
    "list_limit_states": "List limits with what remains of each",
    "set_limit": "Set or remove a limit",
    "preview_limits": "Preview a change of many limits",
    "apply_limits": "Apply a previewed change of many limits",
    "boost_limit": "Replace a limit for a time",
    "put_provider_key": "Store provider key",
    "summarize_usage": "Usage in sum",
    "read_usage_series": "Usage over time",
    "break_down_usage": "Usage by model, key, user, team and more",
    "measure_latencies": "Latency of calls",
    "export_usage": "Usage as a file",
    "list_audit": "List changes by anyone",
    "export_audit": "Changes as a file",
    "list_all_alerts": "List alerts of all accounts",
    "check_live": "Check that the process runs",
    "check_ready": "Check that requests can be served",
}


def summary_of(operation: str) -> str:
    """The title: "Create user" for `create_user`, "List your keys" for `list_own_keys`."""
    return SUMMARIES.get(operation) or operation.replace("_own_", "_your_").replace("_", " ").capitalize()
