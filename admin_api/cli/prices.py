"""`litemaas prices …`"""

from typing import Annotated, Final

import typer

from admin_api.cli.columns import columns
from admin_api.cli.options import moment_option, words_option
from admin_api.cli.price_texts import change_text
from admin_api.cli.session import AsJSON, Cursor, PageSize, act, operator, parse_moment, show, show_page
from admin_api.operations.models import prices
from admin_api.operations.models.price_fields import PRICE_FIELDS, parse_price, parse_tier, tiers_of
from admin_api.operations.models.price_input import PriceInput
from admin_api.schemas.prices import PriceChangeView, PriceView
from admin_api.schemas.shapes import PageView
from gateway.domain.prices import CHARGES

app = typer.Typer(no_args_is_help=True, help="Prices of models.")
PRICES: Final = columns(
    "id", "effective_at", "source", "charge", "input_per_million_usd", "output_per_million_usd", "ordinary_call_usd"
)
ModelOption = Annotated[str, typer.Option("--model", help="Name of the model.")]
PerMillion = Annotated[str | None, typer.Option(help="USD per million, e.g. 2.50; unknown takes it away.")]
Each = Annotated[str | None, typer.Option(help="USD each, e.g. 0.04; unknown takes it away.")]
Reason = Annotated[str | None, typer.Option(help="Why; needed if calls are priced again.")]
Confirm = Annotated[
    bool, typer.Option("--confirm", help="The unit is right although it is far off; calls are to be priced again.")
]


@app.command("set")
def set_(
    model: ModelOption,
    input_per_million_usd: PerMillion = None,
    output_per_million_usd: PerMillion = None,
    cached_input_per_million_usd: PerMillion = None,
    cache_write_per_million_usd: PerMillion = None,
    reasoning_per_million_usd: PerMillion = None,
    per_request_usd: Each = None,
    image_usd: Each = None,
    second_usd: Each = None,
    character_per_million_usd: PerMillion = None,
    query_usd: Each = None,
    cache_write_1h_per_million_usd: PerMillion = None,
    audio_input_per_million_usd: PerMillion = None,
    audio_output_per_million_usd: PerMillion = None,
    web_search_usd: Each = None,
    file_search_usd: Each = None,
    code_session_usd: Each = None,
    tier: Annotated[
        list[str] | None,
        typer.Option(
            help="Price above a size or of a service tier, e.g. 'input_per_million_usd>200000=6', "
            "'output_per_million_usd@priority=20'."
        ),
    ] = None,
    charge: Annotated[
        str | None, words_option(CHARGES, hint="own: this price; higher: LiteLLM's figure where it is. At first own.")
    ] = None,
    replace: Annotated[bool, typer.Option("--replace", help="What is left out becomes unknown.")] = False,
    effective_at: Annotated[str | None, moment_option(help="From when it counts.")] = None,
    corrects: Annotated[
        int | None, typer.Option(min=1, help="Id of a wrong version: this one counts from when it did.")
    ] = None,
    reason: Reason = None,
    preview: Annotated[bool, typer.Option("--preview", help="Only show what would change.")] = False,
    confirm: Confirm = False,
    as_json: AsJSON = False,
) -> None:
    """Set a model's price: a new version, in force at once if no time is given. What is left out keeps its value."""
    options = (
        input_per_million_usd, output_per_million_usd, cached_input_per_million_usd, cache_write_per_million_usd,
        reasoning_per_million_usd, per_request_usd, image_usd, second_usd, character_per_million_usd, query_usd,
        cache_write_1h_per_million_usd, audio_input_per_million_usd, audio_output_per_million_usd, web_search_usd,
        file_search_usd, code_session_usd,
    )  # fmt: skip
    given = {unit: text for unit, text in zip(PRICE_FIELDS, options, strict=True) if text is not None}
    input_ = PriceInput(
        units={unit: parse_price(unit, text) for unit, text in given.items()},
        tiers=tiers_of(parse_tier(text) for text in tier or ()),
        charge=charge,
        replace=replace,
        effective_at=parse_moment("effective_at", effective_at),
        corrects=corrects,
        reason=reason,
        confirmed=confirm,
    )
    change = act(lambda pool: prices.set_price(pool, operator(), model, input_, is_preview=preview))
    view = PriceChangeView.of_change(change)
    show(view, as_json=as_json, sentence=change_text(view, model, is_preview=preview))


@app.command()
def undo(
    model: ModelOption,
    from_start: Annotated[
        bool, typer.Option("--from-start", help="From when it was in force; calls since are priced again.")
    ] = False,
    reason: Reason = None,
    confirm: Confirm = False,
    as_json: AsJSON = False,
) -> None:
    """Take back the version that was added last. Undone twice, it is back."""
    change = act(
        lambda pool: prices.undo_price(pool, operator(), model, from_start=from_start, reason=reason, confirmed=confirm)
    )
    view = PriceChangeView.of_change(change)
    show(view, as_json=as_json, sentence=change_text(view, model))


@app.command("list")
def list_(model: ModelOption, limit: PageSize = 100, cursor: Cursor = None, as_json: AsJSON = False) -> None:
    """List all versions of a model's price, those added last first. They may be of times to come."""
    page = act(lambda pool: prices.list_prices(pool, operator(), model, limit=limit, cursor=cursor))
    view = PageView[PriceView].of(page, PriceView.of)
    show_page(view, what="prices", as_json=as_json, columns=PRICES)
