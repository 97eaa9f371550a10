"""`litemaas models …`"""

from typing import Annotated, Final, cast

import typer

from admin_api import settings as environment
from admin_api.cli.columns import columns
from admin_api.cli.options import words_option
from admin_api.cli.session import AsJSON, Cursor, PageSize, act, operator, show, show_details, show_page
from admin_api.operations.models import models
from admin_api.operations.models.litellm_health import check_litellm
from admin_api.operations.models.rename import rename_model
from admin_api.operations.models.sync import LiteLLM, list_syncs, sync_models
from admin_api.schemas.models import (
    LiteLLMHealthView,
    ModelChoicesView,
    ModelSyncView,
    ModelView,
    RenamedView,
    SyncReportView,
)
from admin_api.schemas.shapes import PageView
from admin_api.storage.offered_models import MODEL_SORTS, MODEL_STATES, CatalogueFilter, ModelSort

app = typer.Typer(no_args_is_help=True, help="Models that LiteLLM serves.")
MODELS: Final = columns("id", "name", "mode", "provider", "deployments", "restricted", "hidden", "enabled", "listed")
SYNCS: Final = columns("id", "at", "actor", "problem")


@app.command()
def sync(
    accept_missing: Annotated[
        bool, typer.Option("--accept-missing", help="Unlist missing models even if half of them are missing.")
    ] = False,
    as_json: AsJSON = False,
) -> None:
    """Read models and prices from LiteLLM. Exit code 1 if a part of it failed."""
    settings = environment.LiteLLMSettings.from_env()
    litellm = LiteLLM(urls=settings.litellm_urls, api_key=settings.litellm_api_key, tls=settings.tls("litellm"))
    report = act(lambda pool: sync_models(pool, operator(), litellm, accept_missing=accept_missing), settings)
    if report is None:
        raise RuntimeError("a sync that waits always ends with a report")
    changes = ("added", "changed", "returned", "unlisted", "priced", "without_price", "skipped")
    counts = [f"{len(getattr(report, name))} {name.replace('_', ' ')}" for name in changes if getattr(report, name)]
    view = SyncReportView.model_validate(report)
    sentence = f"{report.seen} models seen: {', '.join(counts) or 'nothing changed'}."
    if report.added_as in ("restricted", "hidden"):
        sentence += f" Those added are {report.added_as}: open them with `litemaas models update NAME --no-restricted"
        sentence += " --no-hidden`." if report.added_as == "hidden" else "`."
    show(view, as_json=as_json, sentence=sentence)
    if report.problem:
        typer.echo(f"litemaas: {report.problem}", err=True)
        raise typer.Exit(1)


@app.command("list")
def list_(
    state: Annotated[str | None, words_option(MODEL_STATES)] = None,
    sort: Annotated[str, words_option(MODEL_SORTS, help="By id, name, newest first, or price of input:")] = "id",
    limit: PageSize = 100,
    cursor: Cursor = None,
    as_json: AsJSON = False,
) -> None:
    """List models, including hidden and disabled ones."""
    only = CatalogueFilter(state=state)
    known = cast("ModelSort", sort)
    page = act(lambda pool: models.list_models(pool, operator(), only, sort=known, limit=limit, cursor=cursor))
    view = PageView[ModelView].of(page, ModelView.of)
    show_page(view, what="models", as_json=as_json, columns=MODELS)


@app.command()
def choices(as_json: AsJSON = False) -> None:
    """Show the providers, modes and capabilities that models have."""
    found = act(lambda pool: models.find_choices(pool, operator()))
    view = ModelChoicesView.model_validate(found, from_attributes=True)
    show_details(view, as_json=as_json)


@app.command()
def rename(
    model: Annotated[str, typer.Argument(help="Its name so far.")],
    to: Annotated[str, typer.Argument(help="The name that LiteLLM has it under now.")],
    confirm: Annotated[
        bool, typer.Option("--confirm", help="What the new name has already may move; that cannot be undone.")
    ] = False,
    as_json: AsJSON = False,
) -> None:
    """Let subscriptions, keys, limits, prices and usage of a model go on under another name."""
    renamed = act(lambda pool: rename_model(pool, operator(), model, to, confirmed=confirm))
    has = renamed.holdings
    sentence = f"{model} is {to} now, with {has.subscriptions} subscriptions, {has.keys} keys, {has.limits} limits and "
    sentence += f"{has.versions} versions of its price."
    if not renamed.offered.model.listed:
        sentence += " It can be called once a sync finds it at LiteLLM: `litemaas models sync`."
    show(RenamedView.of_renamed(renamed), as_json=as_json, sentence=sentence)


@app.command()
def update(
    model: Annotated[str, typer.Argument(help="Name of the model.")],
    restricted: Annotated[bool | None, typer.Option(help="Whether subscriptions need an admin's approval.")] = None,
    hidden: Annotated[bool | None, typer.Option(help="Whether users see it.")] = None,
    enabled: Annotated[bool | None, typer.Option(help="Whether it may be called at all.")] = None,
    description: Annotated[str | None, typer.Option(help="Description for users; empty removes it.")] = None,
    as_json: AsJSON = False,
) -> None:
    """Change a model's settings. Model syncs leave them as they are."""
    offered = act(
        lambda pool: models.update_model(
            pool, operator(), model, restricted=restricted, hidden=hidden, enabled=enabled, description=description
        )
    )
    flags = ", ".join(f"{name}={getattr(offered.model, name)}".lower() for name in ("restricted", "hidden", "enabled"))
    show(ModelView.of(offered), as_json=as_json, sentence=f"{model}: {flags}.")


@app.command("show")
def show_(model: Annotated[str, typer.Argument(help="Name of the model.")], as_json: AsJSON = False) -> None:
    """Show a model."""
    offered = act(lambda pool: models.find_model(pool, operator(), model))
    show_details(ModelView.of(offered), as_json=as_json)


@app.command()
def syncs(limit: PageSize = 100, cursor: Cursor = None, as_json: AsJSON = False) -> None:
    """List the model syncs of the last month, newest first."""
    page = act(lambda pool: list_syncs(pool, operator(), limit=limit, cursor=cursor))
    view = PageView[ModelSyncView].model_validate(page)
    show_page(view, what="syncs", as_json=as_json, columns=SYNCS)


@app.command("health")
def health_(as_json: AsJSON = False) -> None:
    """Show which addresses of LiteLLM answer, and when its models were read."""
    settings = environment.LiteLLMSettings.from_env()
    litellm = LiteLLM(urls=settings.litellm_urls, api_key=settings.litellm_api_key, tls=settings.tls("litellm"))
    found = act(lambda pool: check_litellm(pool, operator(), litellm), settings)
    show_details(LiteLLMHealthView.model_validate(found), as_json=as_json)
