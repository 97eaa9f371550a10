"""docs/sdks.md says what the tests of this folder count."""

from sdk.calls import SDKS
from sdk.refusals import REFUSALS
from sdk.table import cell, table, table_on_the_page


def test_the_page_shows_these_tries_and_these_versions() -> None:
    cells = {
        (refusal.row, sdk.title): cell(refusal.tries, None if refusal.is_answered else sdk.errors[refusal.status])
        for sdk in SDKS
        for refusal in REFUSALS
    }

    # `python -m tests.sdk.table` writes it anew.
    assert table_on_the_page() == table(cells)
