"""`litemaas prices …`"""

from typing import Annotated

import typer

from admin_api.cli.session import AsJSON, Cursor, PageSize, act, operator, show, show_page
from admin_api.operations.limits.parsing import parse_decimal
from admin_api.operations.models import models
from admin_api.operations.models.price_tiers import parse_tier
from admin_api.schemas.models import PriceView
from admin_api.schemas.shapes import PageView
from gateway.domain.prices import PRICE_UNITS

app = typer.Typer(no_args_is_help=True, help="Prices of models.")
ModelOption = Annotated[str, typer.Option("--model", help="Name of the model.")]
USD = Annotated[str | None, typer.Option(help="USD per unit, e.g. 0.0000025.")]


@app.command("set")
def set_(
    model: ModelOption,
    input: USD = None,
    output: USD = None,
    cached_input: USD = None,
    cache_write: USD = None,
    reasoning: USD = None,
    per_request: USD = None,
    image: USD = None,
    second: USD = None,
    character: USD = None,
    query: USD = None,
    cache_write_1h: USD = None,
    audio_input: USD = None,
    audio_output: USD = None,
    web_search: USD = None,
    file_search: USD = None,
    code_session: USD = None,
    tier: Annotated[
        list[str] | None,
        typer.Option(
            help="Price above a size or of a service tier, e.g. input>200000=0.000006, output@priority=0.00002."
        ),
    ] = None,
    charge: Annotated[str, typer.Option(help="own: this price; higher: LiteLLM's figure where it is higher.")] = "own",
    as_json: AsJSON = False,
) -> None:
    """Set a model's price: a new version that is in force at once. Units left out have no price in it."""
    options = (
        input, output, cached_input, cache_write, reasoning, per_request, image, second, character, query,
        cache_write_1h, audio_input, audio_output, web_search, file_search, code_session,
    )  # fmt: skip
    given = {unit: text for unit, text in zip(PRICE_UNITS, options, strict=True) if text is not None}
    units = {unit: parse_decimal(unit, text) for unit, text in given.items()}
    tiers = [parse_tier(text) for text in tier or ()]
    version = act(lambda pool: models.set_price(pool, operator(), model, units, tiers=tiers, charge=charge))
    show(PriceView.of(version), as_json=as_json, sentence=f"Price {version.price.id} of {model} is in force.")


@app.command("list")
def list_(model: ModelOption, limit: PageSize = 100, cursor: Cursor = None, as_json: AsJSON = False) -> None:
    """List all versions of a model's price, newest first."""
    page = act(lambda pool: models.list_prices(pool, operator(), model, limit=limit, cursor=cursor))
    view = PageView[PriceView](rows=[PriceView.of(row) for row in page.rows], next_cursor=page.next_cursor)
    show_page(
        view, as_json=as_json, columns=("id", "effective_at", "source", "charge", "input", "output", "cached_input")
    )
