"""`litemaas system …`"""

import typer

from admin_api import settings as environment
from admin_api.cli.options import time_zone
from admin_api.cli.session import AsJSON, act, operator, show_details
from admin_api.operations.maintenance.system import show_system
from admin_api.operations.models.sync import LiteLLM
from admin_api.schemas.system import SystemView

app = typer.Typer(no_args_is_help=True, help="The state of the whole system.")


@app.command("show")
def show_(as_json: AsJSON = False) -> None:
    """Show what waits for an admin, what is used today and now, and whether LiteLLM answers."""
    settings = environment.LiteLLMSettings.from_env()
    litellm = LiteLLM(urls=settings.litellm_urls, api_key=settings.litellm_api_key, ca_file=settings.litellm_ca_file)
    state = act(lambda pool: show_system(pool, operator(), litellm, None, time_zone=time_zone()), settings)
    show_details(SystemView.of(state), as_json=as_json)
