"""`litemaas system …`"""

from typing import TYPE_CHECKING, Annotated, Final

import typer

from admin_api import settings as environment
from admin_api.cli.columns import columns
from admin_api.cli.options import time_zone
from admin_api.cli.session import AsJSON, act, operator, show_details, show_rows
from admin_api.operations.limits import explain as explanations
from admin_api.operations.maintenance import system as operations
from admin_api.operations.models import sync
from admin_api.operations.usage import lookups
from admin_api.schemas.system import MatchesView, MatchView, SystemView

if TYPE_CHECKING:
    from admin_api.operations.maintenance.system import SystemState
    from gateway.storage.postgres import Pool

app = typer.Typer(no_args_is_help=True, help="The state of the whole system, and what an id belongs to.")
MATCHES: Final = columns("at", "kind", "about", "request_id")


@app.command("show")
def show_(as_json: AsJSON = False) -> None:
    """Show what waits for an admin, what is used today and now, and whether LiteLLM answers."""
    settings = environment.SystemSettings.from_env()
    litellm = sync.LiteLLM(urls=settings.litellm_urls, api_key=settings.litellm_api_key, tls=settings.tls("litellm"))

    async def load(pool: "Pool") -> "SystemState":
        if settings.redis_url is None:
            return await operations.show_system(pool, operator(), litellm, None, time_zone=time_zone())
        url = settings.redis_url.get_secret_value()
        async with explanations.open_counters(url, tls=settings.tls("redis"), must_answer=False) as counters:
            return await operations.show_system(pool, operator(), litellm, counters, time_zone=time_zone())

    show_details(SystemView.of(act(load, settings)), as_json=as_json)


@app.command()
def lookup(
    id: Annotated[str, typer.Argument(metavar="TEXT", help="x-request-id of an answer, or an id of the caller's own.")],
    as_json: AsJSON = False,
) -> None:
    """Find the call, the refused call or the change that an id belongs to."""
    found = act(lambda pool: lookups.look_up(pool, operator(), id))
    view = MatchesView(rows=[MatchView.model_validate(one) for one in found])
    if as_json:
        typer.echo(view.model_dump_json())
    else:
        show_rows(view.model_dump(mode="json")["rows"], MATCHES, what=f"calls or changes with the id {id}")
