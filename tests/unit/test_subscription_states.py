"""Transitions of a subscription: the table of docs/admin.md for every pair of states."""

from itertools import product

import pytest

from gateway.domain.errors import GatewayError
from gateway.domain.subscriptions import (
    ACTIONS,
    PARTIES,
    STATUSES,
    Action,
    Party,
    Status,
    allowed_actions,
    first_status,
    target_of,
)

# (from, to) -> who may do it, by which action. Written from the design's table, not from the code.
OWNERS = {"owner", "admin"}
TABLE: dict[tuple[str, str], tuple[str, set[str]]] = {
    ("pending", "active"): ("approve", {"admin"}),
    ("pending", "denied"): ("deny", {"admin"}),
    ("denied", "pending"): ("request_review", OWNERS),
    ("active", "suspended"): ("suspend", {"admin"}),
    ("suspended", "active"): ("reactivate", {"admin"}),
    ("active", "cancelled"): ("cancel", OWNERS),
    ("pending", "cancelled"): ("cancel", OWNERS),
    ("denied", "cancelled"): ("cancel", OWNERS),
    ("active", "expired"): ("expire", {"system"}),
    ("suspended", "expired"): ("expire", {"system"}),
    ("cancelled", "pending"): ("renew", OWNERS),
    ("expired", "pending"): ("renew", OWNERS),
}


def find_target(status: Status, action: Action, party: Party) -> str:
    """The target state, or the error code."""
    try:
        return target_of(status, action, party)
    except GatewayError as error:
        return error.code


@pytest.mark.parametrize(("source", "target"), list(product(STATUSES, STATUSES)))
def test_each_pair_of_states_has_the_transition_of_the_table(source: Status, target: Status) -> None:
    found = {(a, p) for a, p in product(ACTIONS, PARTIES) if find_target(source, a, p) == target}

    action, parties = TABLE.get((source, target), ("", set()))
    assert found == {(action, party) for party in parties}


@pytest.mark.parametrize(("status", "action"), list(product(STATUSES, ACTIONS)))
def test_an_invalid_transition_is_a_conflict_that_names_the_state_and_its_transitions(
    status: Status, action: Action
) -> None:
    if any(source == status and name == action for (source, _), (name, _) in TABLE.items()):
        return

    with pytest.raises(GatewayError) as caught:
        target_of(status, action, "admin")

    assert caught.value.code == "conflict"
    assert status in caught.value.message
    assert caught.value.details["allowed"] == list(allowed_actions(status, "admin"))


def test_a_transition_reserved_for_another_role_is_forbidden() -> None:
    assert find_target("pending", "approve", "owner") == "forbidden"
    assert find_target("active", "cancel", "system") == "forbidden"


def test_a_suspended_subscription_cannot_be_cancelled() -> None:
    assert find_target("suspended", "cancel", "owner") == "conflict"


@pytest.mark.parametrize(
    ("status", "is_restricted", "cancelled_active", "expected"),
    [
        ("cancelled", False, True, "active"),
        ("cancelled", False, False, "pending"),
        ("cancelled", True, True, "pending"),
        ("expired", False, False, "pending"),
        # Set by a cancellation before it expired: the scheduler ended it.
        ("expired", False, True, "pending"),
    ],
)
def test_only_a_subscription_its_owner_cancelled_while_active_returns_without_approval(
    status: Status, is_restricted: bool, cancelled_active: bool, expected: Status
) -> None:
    target = target_of(status, "renew", "owner", is_restricted=is_restricted, cancelled_active=cancelled_active)

    assert target == expected


def test_a_new_subscription_is_active_at_once_unless_the_model_is_restricted() -> None:
    assert first_status(is_restricted=False) == "active"
    assert first_status(is_restricted=True) == "pending"
