"""`litemaas deliveries …`"""

from typing import Annotated, Any, Final

import typer

from admin_api.cli.columns import columns
from admin_api.cli.options import words_option
from admin_api.cli.session import AsJSON, Cursor, PageSize, act, operator, show, show_page
from admin_api.operations.notifications import deliveries
from admin_api.schemas.deliveries import DeliveryView
from admin_api.schemas.shapes import PageView
from admin_api.storage.delivery_reports import STATUSES

app = typer.Typer(no_args_is_help=True, help="Deliveries of notifications, by webhook and by e-mail.")
DELIVERIES: Final = columns("id", "created_at", "status", "event", "receiver", "last_outcome")


@app.command("list")
def list_(
    status: Annotated[str | None, words_option(STATUSES)] = None,
    webhook: Annotated[int | None, typer.Option(help="Id of a webhook.")] = None,
    alert: Annotated[int | None, typer.Option(help="Id of an alert.")] = None,
    limit: PageSize = 100,
    cursor: Cursor = None,
    as_json: AsJSON = False,
) -> None:
    """List deliveries, newest first."""
    page = act(
        lambda pool: deliveries.list_deliveries(
            pool, operator(), status=status, webhook=webhook, alert=alert, limit=limit, cursor=cursor
        )
    )
    view = PageView[DeliveryView].model_validate(page)
    show_page(view, what="deliveries", as_json=as_json, columns=DELIVERIES, as_row=_row)


def _row(delivery: dict[str, Any]) -> dict[str, Any]:
    """The cells of a delivery: the receiver, and what it answered or else what went wrong, are in one column each."""
    status, answer = delivery["last_status"], delivery["last_answer"] or ""
    said = delivery["last_error"] if status is None else f"{status} {answer}"
    return delivery | {"receiver": delivery["url"] or delivery["email"], "last_outcome": said}


@app.command()
def retry(
    delivery: Annotated[int, typer.Argument(metavar="ID", help="Id of the delivery.")], as_json: AsJSON = False
) -> None:
    """Retry a failed or waiting delivery now."""
    row = act(lambda pool: deliveries.retry_delivery(pool, operator(), delivery))
    show(DeliveryView.model_validate(row), as_json=as_json, sentence=f"Delivery {row.id} will be retried now.")
