"""docs/clients.md says what the tests of this folder count."""

import pytest

from clients.table import expected_matrix, expected_tries, table_on_the_page, tables


@pytest.mark.parametrize("name", ["configuration", "matrix", "tries"])
def test_the_page_shows_these_cells_and_these_versions(name: str) -> None:
    # `make clients` writes them.
    assert table_on_the_page(name) == tables(expected_matrix(), expected_tries())[name]
