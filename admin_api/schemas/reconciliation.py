"""JSON of the reconciliation of the ledger with LiteLLM's log."""

from typing import TYPE_CHECKING, Any, Self
from uuid import UUID

from admin_api.schemas.shapes import View
from gateway.domain.money import usd_text

if TYPE_CHECKING:
    from admin_api.operations.maintenance.reconciliation import Reconciled
    from admin_api.storage.reconciliation import Finding, FindingCount, ModelCosts


def _shown(view: type[View], row: "Finding | FindingCount | ModelCosts") -> dict[str, Any]:
    """The fields of the view: those of the row, and its costs in USD."""
    shown = {name: getattr(row, name) for name in view.model_fields if hasattr(row, name)}
    costs = {"cost_usd": row.cost_nano_usd, "litellm_cost_usd": row.litellm_cost_nano_usd}
    return shown | {name: usd_text(nano) for name, nano in costs.items()}


class FindingCountView(View):
    """Calls of one finding, with the sums of both sides."""

    calls: int
    tokens: int
    litellm_tokens: int
    cost_usd: str
    cost_nano_usd: int
    litellm_cost_usd: str
    litellm_cost_nano_usd: int

    @classmethod
    def of(cls, count: "FindingCount") -> Self:
        """With the costs in USD."""
        return cls(**_shown(cls, count))


class FindingView(View):
    """One call; null: this side does not have the call."""

    finding: str
    request_id: UUID
    model: str | None
    ending: str | None
    estimated_why: str | None
    prompt_tokens: int | None
    litellm_prompt_tokens: int | None
    completion_tokens: int | None
    litellm_completion_tokens: int | None
    cost_usd: str
    cost_nano_usd: int
    litellm_cost_usd: str
    litellm_cost_nano_usd: int

    @classmethod
    def of(cls, finding: "Finding") -> Self:
        """With the costs in USD."""
        return cls(**_shown(cls, finding))


class ModelCostsView(View):
    """What calls of a model cost that both sides have: as charged, by the model's price (`own`), and by LiteLLM. Of
    `dearer_calls`, LiteLLM's figure is above that of the price."""

    model: str | None
    calls: int
    dearer_calls: int
    cost_usd: str
    cost_nano_usd: int
    own_cost_usd: str
    own_cost_nano_usd: int
    litellm_cost_usd: str
    litellm_cost_nano_usd: int

    @classmethod
    def of(cls, costs: "ModelCosts") -> Self:
        """With the costs in USD."""
        return cls(**_shown(cls, costs), own_cost_usd=usd_text(costs.own_cost_nano_usd))


class ReconciliationView(View):
    """Counts of all findings, the first ones in detail, and the models whose costs differ."""

    agrees: bool
    lines: int
    foreign: int
    unreadable: int
    repeated: int
    counts: dict[str, FindingCountView]
    findings: list[FindingView]
    models: list[ModelCostsView]

    @classmethod
    def of(cls, found: "Reconciled") -> Self:
        """The whole answer; kinds of findings without a call count 0."""
        return cls(
            agrees=found.agrees,
            lines=found.lines,
            foreign=found.foreign,
            unreadable=found.unreadable,
            repeated=found.repeated,
            counts={name: FindingCountView.of(count) for name, count in sorted(found.counts.items())},
            findings=[FindingView.of(finding) for finding in found.findings],
            models=[ModelCostsView.of(costs) for costs in found.models],
        )
