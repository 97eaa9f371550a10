"""A channel that is added to admin_api/storage/deliveries.py has all that it takes to be sent on."""

import re
from typing import get_args

import asyncpg
from conftest import Database

from admin_api.operations.notifications.channels import SENDERS
from admin_api.schemas.deliveries import DeliveryView
from admin_api.storage import deliveries
from admin_api.storage.deliveries import RECEIVERS, Channel
from admin_api.storage.delivery_reports import DeliveryReport
from tests.contract.places import Places, read_checks, read_columns, words_of


async def test_every_channel_is_named_in_all_its_places(database: Database) -> None:
    places = Places("channels")
    connection = await asyncpg.connect(database.owner_url)
    checks, columns = await read_checks(connection, "deliveries"), await read_columns(connection, "deliveries")
    await connection.close()
    places.need_same(get_args(Channel), RECEIVERS, "admin_api/storage/deliveries.py, Channel")
    places.need_same(SENDERS, RECEIVERS, "admin_api/operations/notifications/channels.py, SENDERS")
    places.need_same(words_of(checks, "channel"), RECEIVERS, "a migration: CHECK of deliveries.channel")
    statements = [value for name, value in vars(deliveries).items() if name.isupper() and isinstance(value, str)]
    inserts = [sql for sql in statements if sql.lstrip().startswith("INSERT INTO deliveries")]
    takes = [sql for sql in statements if "UPDATE deliveries d SET tries" in sql]
    for channel, receiver in RECEIVERS.items():
        places.need(receiver in columns, f"a migration: deliveries.{receiver}", channel)
        for path, shown in (
            ("admin_api/storage/delivery_reports.py, DeliveryReport", DeliveryReport.__dataclass_fields__),
            ("admin_api/schemas/deliveries.py, DeliveryView", DeliveryView.model_fields),
        ):
            places.need(receiver in shown, f"{path}.{receiver}", channel)
        is_checked = any(f"'{channel}'" in check and f"({receiver} IS NOT NULL)" in check for check in checks)
        places.need(is_checked, f"a migration: CHECK of deliveries.channel with {receiver}", channel)
        is_inserted = any(f"SELECT '{channel}'" in sql and receiver in sql for sql in inserts)
        places.need(is_inserted, "admin_api/storage/deliveries.py, an INSERT", channel)
        # Webhooks are taken by the webhook, others by the channel.
        is_taken = any(re.search(rf"channel = '{channel}'|WHERE {channel}_id = w\.id", sql) for sql in takes)
        places.need(is_taken, "admin_api/storage/deliveries.py, a statement that takes what is due", channel)
        places.need_words("docs/alerts.md", channel, f"(?i){channel.replace('email', 'e-mail')}")
        places.need_words("admin_api/operations/notifications/outbox.py", channel, rf"(?i)IN_FLIGHT\w*{channel}")
    places.report()
