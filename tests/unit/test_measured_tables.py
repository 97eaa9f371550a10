"""Tables of measurements: a run of some lines replaces those and keeps the others."""

from contract.tables import with_rows

PAGE = """Before.
<!-- faults -->
| fault | lost |
|---|---|
| disk full (tmpfs) | 1 |
| no longer tried | 2 |
| Redis stopped | 3 |
<!-- /faults -->
After.
"""


def test_measured_rows_replace_those_of_the_page_and_the_others_stay_in_order() -> None:
    names = ("Redis stopped", "disk full", "never tried")

    found = with_rows(PAGE, "faults", ("| fault | lost |", "|---|---|"), names, ["| disk full (a file) | 0 |"])

    assert found == PAGE.replace(
        "| disk full (tmpfs) | 1 |\n| no longer tried | 2 |\n| Redis stopped | 3 |",
        "| Redis stopped | 3 |\n| disk full (a file) | 0 |",
    )
