"""The SQL of the release, prepared on the tables as they are now, with the app's rights."""

import asyncio
import json
import subprocess
from typing import Final

import asyncpg

from deploy.embedded.postgres import APP
from upgrade.site import Site

# Run by the release's own Python, which has its packages.
LIST: Final = """
import importlib, json, pkgutil, re, admin_api.storage, gateway.storage
found = {}
for package in (gateway.storage, admin_api.storage):
    for info in pkgutil.walk_packages(package.__path__, package.__name__ + "."):
        for name, value in vars(importlib.import_module(info.name)).items():
            if name.isupper() and isinstance(value, str) and re.match(
                r"\\s*(SELECT|INSERT|UPDATE|DELETE|WITH|MERGE|CREATE TEMPORARY)\\s", value, re.I
            ):
                found[info.name + "." + name] = value
print(json.dumps(found))
"""
# With the values they take.
MAKES_TABLES: Final = {"MAKE_TABLE": (), "MAKE_CALLS": (None, None)}


async def statements_that_fail(site: Site) -> dict[str, str]:
    """Why, by their names."""
    python = site.commands["old"].with_name("python")
    argv = [str(python), "-I", "-c", LIST]
    done = await asyncio.to_thread(subprocess.run, argv, capture_output=True, text=True, check=True)
    statements: dict[str, str] = json.loads(done.stdout)
    connection = await asyncpg.connect(site.postgres.url(APP))
    wrong = {}
    async with connection.transaction():
        # Two statements read tables that are there in their transaction only.
        for name, values in MAKES_TABLES.items():
            (text,) = (value for key, value in statements.items() if key.endswith(f".{name}"))
            await connection.execute(text, *values)
        for name, statement in statements.items():
            try:
                async with connection.transaction():
                    await connection.prepare(statement)
            except asyncpg.PostgresError as exc:
                wrong[name] = str(exc)
    await connection.close()
    return wrong
