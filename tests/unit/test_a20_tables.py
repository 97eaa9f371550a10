"""A20: tables of commands fit 100 columns, whatever the values."""

from random import Random

from admin_api.cli.tables import CUT, MAX_COLUMNS, WIDTH, table, width_of

CHARACTERS = "abc é漢字🎈\n\t-_.@"


def test_a20_every_table_fits_and_lines_up() -> None:
    pick = Random(1)
    for _ in range(300):
        columns = [f"column_{n}" for n in range(pick.randint(1, MAX_COLUMNS))]
        rows = [
            {name: "".join(pick.choices(CHARACTERS, k=pick.choice((0, 1, 5, 40, 254)))) for name in columns}
            for _ in range(pick.randint(0, 5))
        ]
        lines = table(rows, columns).split("\n")
        assert len(lines) - len(rows) in (1, 2)
        assert max(map(width_of, lines)) <= WIDTH, lines


def test_a20_only_what_does_not_fit_is_cut() -> None:
    row = {"id": 7, "email": "ana@example.org", "reason": "x" * 200, "at": "2026-11-29T14:20:07.123456Z", "is_on": True}
    *_, head, line = table([row], list(row)).split("\n")
    assert line.split() == ["7", "ana@example.org", line.split()[2], "2026-11-29", "14:20Z", "true"]
    assert line.split()[2].endswith(f"x{CUT}")
    assert len(line) <= WIDTH
    assert head.index("at") == line.index("2026")
