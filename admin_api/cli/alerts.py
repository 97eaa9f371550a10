"""`litemaas alerts …`"""

from typing import Annotated, Any, Final

import typer

from admin_api.cli.cells import key_text, owner_text, target_text, with_units
from admin_api.cli.columns import columns
from admin_api.cli.session import AsJSON, Cursor, PageSize, act, operator, show, show_page
from admin_api.operations.notifications import alerts
from admin_api.schemas.alerts import AlertView
from admin_api.schemas.shapes import PageView

app = typer.Typer(no_args_is_help=True, help="Alerts: windows whose use has reached a threshold of their limit.")
ALERTS: Final = columns(
    "id", "created_at", "status", "applies_to", "model", "level", "kind", "window", "threshold_percent", "used", "limit"
)


@app.command("list")
def list_(
    acknowledged: Annotated[
        bool | None, typer.Option("--acknowledged/--open", help="Only acknowledged alerts, or only open ones.")
    ] = None,
    limit: PageSize = 100,
    cursor: Cursor = None,
    as_json: AsJSON = False,
) -> None:
    """List the alerts of all accounts, newest first."""
    page = act(
        lambda pool: alerts.list_alerts(
            pool, operator(), everybody=True, acknowledged=acknowledged, limit=limit, cursor=cursor
        )
    )
    view = PageView[AlertView].of(page, AlertView.of)
    show_page(view, what="alerts", as_json=as_json, columns=ALERTS, as_row=_row)


def _row(alert: dict[str, Any]) -> dict[str, Any]:
    """The cells of an alert: names as they were when it was raised, money as `25 USD`."""
    about = alert["about"]
    owner = owner_text(about.get("account"), about.get("user"))
    key = key_text(about.get("key"), about.get("key_last_four"))
    status = "cleared" if alert["cleared_at"] else "acknowledged" if alert["acknowledged_at"] else "open"
    return with_units(alert) | {"status": status, "applies_to": target_text(owner, key), "model": about.get("model")}


@app.command()
def acknowledge(
    alert: Annotated[int, typer.Argument(metavar="ID", help="Id of the alert.")], as_json: AsJSON = False
) -> None:
    """Acknowledge an alert."""
    view = AlertView.of(act(lambda pool: alerts.acknowledge_alert(pool, operator(), alert)))
    sentence = f"Alert {view.id} was acknowledged by {view.acknowledged_by}."
    show(view, as_json=as_json, sentence=sentence)
