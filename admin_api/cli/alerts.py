"""`litemaas alerts …`"""

from typing import Annotated

import typer

from admin_api.cli.session import AsJSON, Cursor, PageSize, act, operator, show, show_page
from admin_api.operations.notifications import alerts
from admin_api.schemas.alerts import AlertView
from admin_api.schemas.shapes import PageView

app = typer.Typer(no_args_is_help=True, help="Alerts: windows whose use has reached a threshold of their limit.")


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
    view = PageView[AlertView](rows=[AlertView.of(row) for row in page.rows], next_cursor=page.next_cursor)
    columns = (
        "id",
        "account_id",
        "level",
        "kind",
        "window",
        "threshold_percent",
        "used",
        "used_usd",
        "limit",
        "limit_usd",
        "created_at",
    )
    show_page(view, as_json=as_json, columns=columns)


@app.command()
def acknowledge(
    alert: Annotated[int, typer.Argument(metavar="ID", help="Id of the alert.")], as_json: AsJSON = False
) -> None:
    """Acknowledge an alert."""
    view = AlertView.of(act(lambda pool: alerts.acknowledge_alert(pool, operator(), alert)))
    sentence = f"Alert {view.id} was acknowledged by {view.acknowledged_by}."
    show(view, as_json=as_json, sentence=sentence)
