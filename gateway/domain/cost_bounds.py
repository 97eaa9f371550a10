"""What a call may cost at most, and the calls that have no such bound: a cost limit that reserves the maximum refuses
them, so that it is never overspent."""

from dataclasses import dataclass
from typing import Final

from gateway.domain.call_shapes import CallShape
from gateway.domain.errors import GatewayError
from gateway.domain.estimates import TOKENS_PER_ATTACHMENT
from gateway.domain.grants import Grant
from gateway.domain.paid_tools import fee_of, reserved_uses
from gateway.domain.prices import Price
from gateway.domain.reservation_plan import ReservationPlan

# What a model may answer at most where nobody says.
UNKNOWN_MAXIMUM: Final = 4096
SWITCH_OFF: Final = (
    'Leave the tool out; Codex does with `web_search = "disabled"` in its config.toml, Claude Code if its permissions '
    "deny WebSearch."
)


@dataclass(frozen=True, slots=True, kw_only=True)
class CostBounds:
    """What a deployment sets: how often a tool is run where the caller sets no bound, and the most tokens of an
    attachment, or of what one use of a tool finds; None: nobody knows."""

    tool_uses: int = 10
    attachment_tokens: int | None = None


NO_BOUNDS: Final = CostBounds()


def longest(grant: Grant, call: CallShape, bounds: CostBounds) -> tuple[int, int]:
    """The most tokens of a call's prompt and of its answer. A provider's tool has the model read the whole conversation
    again for each use, with what was found and said before."""
    one = grant.max_output_tokens or UNKNOWN_MAXIMUM if call.maximum is None else call.maximum
    answer, each = one * call.choices, bounds.attachment_tokens or 0
    prompt = call.prompt_bound + call.attachments * max(0, each - TOKENS_PER_ATTACHMENT)
    if call.paid_tools:
        uses = sum(reserved_uses(call.paid_tools, bounds.tool_uses).values())
        uses += sum(bounds.tool_uses if tool.uses is None else tool.uses for tool in call.paid_tools if not tool.unit)
        prompt = (uses + 1) * (prompt + uses * each + answer)
    return prompt, answer


def check_fees(price: Price, call: CallShape) -> None:
    """Under a cost limit, fees have to be known. Raises GatewayError `cost_not_bounded`."""
    for tool in call.paid_tools:
        if fee_of(price, tool) is None:
            message = (
                f"The provider runs the tool '{tool.name}' for a fee that the model's price does not have, so it "
                f"cannot be used under a cost limit. {SWITCH_OFF}"
            )
            raise GatewayError("cost_not_bounded", message, param="tools")


def check_is_bounded(
    grant: Grant, call: CallShape, plan: ReservationPlan, bounds: CostBounds, *, is_estimate: bool
) -> None:
    """Raises GatewayError `cost_not_bounded` for a call that has no bound, where a cost limit reserves the maximum."""
    if not plan.bounds_cost or call.is_free or grant.price is None:
        return
    if (reason := _unbounded(grant, grant.price, call, bounds, is_estimate=is_estimate)) is not None:
        param, why = reason
        message = f"A cost limit here reserves the most that a call may cost, and this one has no such bound: {why}"
        raise GatewayError("cost_not_bounded", message, param=param)


def _unbounded(
    grant: Grant, price: Price, call: CallShape, bounds: CostBounds, *, is_estimate: bool
) -> tuple[str | None, str] | None:
    """The parameter, if it is the caller's to change, and the reason."""
    if price.unusable and price.charge == "higher":
        why = f"the price of '{grant.model_name}' has {price.unusable[0]}, by which nothing can be reserved. "
        return "model", f"{why}An operator may charge by the price alone (litemaas prices set --charge own)."
    if is_estimate or call.is_unbounded:
        return None, "what it takes is known only at its end."
    if call.maximum is None and grant.max_output_tokens is None:
        return "max_tokens", "the answer may have any length. Set the maximum of its tokens."
    if call.attachments and bounds.attachment_tokens is None:
        message = "nobody knows the tokens of an attachment. An operator sets LITEMAAS_ATTACHMENT_TOKENS."
        return "messages", message
    for tool in call.paid_tools:
        if tool.uses is None:
            return "tools", f"the tool '{tool.name}' may be run any number of times. Set its maximum, or leave it out."
        if bounds.attachment_tokens is None:
            message = f"nobody knows what the tool '{tool.name}' finds. An operator sets LITEMAAS_ATTACHMENT_TOKENS."
            return "tools", message
    return None
