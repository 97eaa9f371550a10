"""The states of a subscription, and who may move it from one to another. The table is that of docs/admin.md."""

from typing import Final, Literal, get_args

from gateway.domain.errors import GatewayError

Status = Literal["pending", "active", "denied", "suspended", "cancelled", "expired"]
Action = Literal["approve", "deny", "request_review", "suspend", "reactivate", "cancel", "expire", "renew"]
# The owner is the user of a personal account, or an owner of the team. An admin may also do what an owner may do, for
# them; `system` is the program itself.
Party = Literal["owner", "admin", "system"]
STATUSES: Final = get_args(Status)
ACTIONS: Final = get_args(Action)
PARTIES: Final = get_args(Party)

_OWNER: Final[tuple[Party, ...]] = ("owner", "admin")
_ADMIN: Final[tuple[Party, ...]] = ("admin",)
_SYSTEM: Final[tuple[Party, ...]] = ("system",)
# Not while suspended: cancelling and coming back would be a way around it.
_CANCELLABLE: Final[tuple[Status, ...]] = ("active", "pending", "denied")
# Action -> (from, to, parties). `renew` may also end in pending: see `target_of`.
MOVES: Final[dict[Action, tuple[tuple[Status, ...], Status, tuple[Party, ...]]]] = {
    "approve": (("pending",), "active", _ADMIN),
    "deny": (("pending",), "denied", _ADMIN),
    "request_review": (("denied",), "pending", _OWNER),
    "suspend": (("active",), "suspended", _ADMIN),
    "reactivate": (("suspended",), "active", _ADMIN),
    "cancel": (_CANCELLABLE, "cancelled", _OWNER),
    "expire": (("active", "suspended"), "expired", _SYSTEM),
    "renew": (("cancelled", "expired"), "active", _OWNER),
}
# An admin who takes something from a user gives a reason.
NEEDS_REASON: Final[tuple[Action, ...]] = ("deny", "suspend")


def first_status(*, is_restricted: bool) -> Status:
    """Where a new subscription starts: active, or waiting for an admin if the model is restricted."""
    return "pending" if is_restricted else "active"


def allowed_actions(status: Status, party: Party) -> tuple[Action, ...]:
    """What `party` may do with a subscription in `status`."""
    return tuple(action for action, (sources, _, parties) in MOVES.items() if status in sources and party in parties)


def target_of(
    status: Status, action: Action, party: Party, *, is_restricted: bool = False, cancelled_active: bool = False
) -> Status:
    """The status that `action` by `party` leads to.

    `is_restricted` is the model's flag; `cancelled_active` says that the owner had cancelled it while active, and is
    the only way back without an approval. Raises GatewayError `conflict`, naming the state and the moves allowed
    from it, or `forbidden` where the move exists but is not this party's.
    """
    sources, target, parties = MOVES[action]
    if status not in sources:
        allowed = allowed_actions(status, party)
        offer = (
            f"Allowed now: {', '.join(one.replace('_', '-') for one in allowed)}."
            if allowed
            else "Nothing is allowed from there."
        )
        raise GatewayError(
            "conflict",
            f"A subscription that is {status} does not allow '{action}'. {offer}",
            details={"status": status, "action": action, "allowed": list(allowed)},
        )
    if party not in parties:
        raise GatewayError("forbidden", f"'{action}' is not for the {party} of a subscription to do.")
    if action == "renew" and (is_restricted or not (status == "cancelled" and cancelled_active)):
        return "pending"
    return target
