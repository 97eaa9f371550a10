"""A durable cluster: the next start in its folder has its data, and another folder is not taken for it."""

import tempfile
from collections.abc import Iterator
from pathlib import Path

import asyncpg
import pytest

from deploy.embedded.postgres import APP, OWNER, Postgres
from deploy.embedded.postgres_binaries import unprivileged_account
from deploy.embedded.processes import NotStarted


@pytest.fixture
def open_folder() -> Iterator[Path]:
    """One that every account can enter; pytest's own folders are closed to others."""
    with tempfile.TemporaryDirectory(prefix="litemaas-kept-") as name:
        folder = Path(name)
        folder.chmod(0o755)
        yield folder


async def test_a_durable_cluster_has_its_rows_at_the_next_start(open_folder: Path) -> None:
    first = Postgres(open_folder / "postgres", durable=False, keep=True).start()
    owner = await asyncpg.connect(first.url(OWNER))
    await owner.execute("CREATE TABLE things AS SELECT 7 AS id; GRANT SELECT ON things TO " + APP)
    await owner.close()
    first.stop()

    with Postgres(open_folder / "postgres", durable=False, keep=True) as second:
        app = await asyncpg.connect(second.url(APP))
        found = await app.fetchval("SELECT id FROM things")
        await app.close()

    assert found == 7
    assert second.url(APP) != first.url(APP)


def test_a_cluster_is_not_kept_in_an_inaccessible_folder(open_folder: Path) -> None:
    closed = open_folder / "closed"
    closed.mkdir(mode=0o700)
    postgres = Postgres(closed / "postgres", durable=False, keep=True)
    if unprivileged_account() is None:
        # It runs as ourselves, who can.
        with postgres:
            assert postgres.is_ready()
        return

    with pytest.raises(NotStarted, match="keep Postgres's data in another folder"):
        postgres.launch()
