"""Migrations are never changed once a release had them: an installation of that release could not be upgraded."""

from admin_api.storage.migrate import EQUIVALENT, migrations_folder, read_migrations
from tests.contract.released_migrations import FILE, released, released_text, versions
from tests.upgrade.release import VERSION


def test_no_migration_of_a_release_was_changed() -> None:
    hashes = {migration.name: migration.sha256 for migration in read_migrations(migrations_folder())}

    assert {one.name: one.sha256 for one in released()} == {one.name: hashes.get(one.name) for one in released()}


def test_all_migrations_of_each_release_are_listed() -> None:
    assert FILE.read_text() == released_text(), "run `make tables`"
    assert {one.version for one in released()} <= set(versions())


def test_equivalent_texts_are_of_other_hashes() -> None:
    hashes = {migration.name: migration.sha256 for migration in read_migrations(migrations_folder())}

    assert all(hashes[name] != sha256 for name, sha256 in EQUIVALENT.items())


def test_make_upgrade_starts_from_the_last_release() -> None:
    """Or from the one before, until the commit of the last one is known."""
    assert VERSION in versions()[:2]
