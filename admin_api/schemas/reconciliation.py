"""What ledger and LiteLLM's log say of the same calls, as shown."""

from typing import TYPE_CHECKING, Self
from uuid import UUID

from admin_api.schemas.shapes import View
from gateway.domain.money import usd_text

if TYPE_CHECKING:
    from admin_api.operations.maintenance.reconciliation import Reconciled
    from admin_api.storage.reconciliation import Finding, FindingCount


class FindingCountView(View):
    """Calls of one finding, and what both sides say of them."""

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
        return cls(
            calls=count.calls,
            tokens=count.tokens,
            litellm_tokens=count.litellm_tokens,
            cost_usd=usd_text(count.cost_nano_usd),
            cost_nano_usd=count.cost_nano_usd,
            litellm_cost_usd=usd_text(count.litellm_cost_nano_usd),
            litellm_cost_nano_usd=count.litellm_cost_nano_usd,
        )


class FindingView(View):
    """One call; null is what the other side alone knows."""

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
        reported = {name: getattr(finding, name) for name in cls.model_fields if hasattr(finding, name)}
        costs = {"cost_usd": finding.cost_nano_usd, "litellm_cost_usd": finding.litellm_cost_nano_usd}
        return cls(**reported, **{name: usd_text(nano) for name, nano in costs.items()})


class ReconciliationView(View):
    """All counted, the first ones named."""

    agrees: bool
    lines: int
    foreign: int
    unreadable: int
    repeated: int
    counts: dict[str, FindingCountView]
    findings: list[FindingView]

    @classmethod
    def of(cls, found: "Reconciled") -> Self:
        """The whole answer; a finding nothing was found of counts 0."""
        return cls(
            agrees=found.agrees,
            lines=found.lines,
            foreign=found.foreign,
            unreadable=found.unreadable,
            repeated=found.repeated,
            counts={name: FindingCountView.of(count) for name, count in sorted(found.counts.items())},
            findings=[FindingView.of(finding) for finding in found.findings],
        )
