"""The option with the budget of what a command creates."""

from typing import Annotated

import typer

from admin_api.operations.limits.parsing import parse_usd

Budget = Annotated[
    str | None, typer.Option("--monthly-cost-usd", help="US dollars per month, e.g. 25.00; the default if left out.")
]


def parse_budget(usd: str | None) -> int | None:
    """In nano-USD. Raises GatewayError `validation_failed`."""
    return None if usd is None else parse_usd("monthly_cost_usd", usd)
