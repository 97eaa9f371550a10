"""A20: tables of commands fit their line, and show every value whole."""

import os
import re
import subprocess
import sys
import termios
from datetime import UTC, datetime
from random import Random
from zoneinfo import ZoneInfo

import pytest

from admin_api.cli.cells import NOTHING, cell_text, key_text, owner_text, target_text, time_text, width_of, with_units
from admin_api.cli.columns import Column, Kind, columns
from admin_api.cli.tables import INDENT, LEAST_WIDTH, WIDTH, details, table

CHARACTERS = "abc é漢字🎈\n\t-_.@\x1b\u202e"
KINDS = tuple(Kind)


def without_spaces(text: str) -> str:
    return re.sub(r"\s", "", text)


@pytest.mark.parametrize("width", [LEAST_WIDTH, 80, WIDTH, 200])
def test_a20_every_table_fits_lines_up_and_has_every_value(width: int) -> None:
    pick = Random(width)
    for _ in range(150):
        named = [Column(f"column_{n}", pick.choice(KINDS)) for n in range(pick.randint(1, 16))]
        rows = [
            {one.name: "".join(pick.choices(CHARACTERS, k=pick.choice((0, 1, 5, 40, 254)))) for one in named}
            for _ in range(pick.randint(1, 5))
        ]
        text = table(rows, named, width=width)
        lines = text.split("\n")
        assert max(map(width_of, lines)) <= width, lines
        assert all(one.isprintable() for one in lines)
        # Line breaks may be anywhere in what is longer than a line.
        for row in rows:
            for value in row.values():
                assert without_spaces(cell_text(value)) in without_spaces(text), (value, text)
        heading = [line for line in lines if line.strip()][:2]
        assert "column" in heading[0], heading


def test_a20_cells_stand_under_their_heading() -> None:
    rows = [{"id": 7, "email": "ana@example.org", "calls": 12}, {"id": 12, "email": "漢字@example.org", "calls": 3}]
    assert table(rows, columns("id", "email", "calls")).split("\n") == [
        "id  email             calls",
        "7   ana@example.org      12",
        "12  漢字@example.org      3",
    ]


def test_a20_what_does_not_fit_stands_below_its_row_and_is_whole() -> None:
    named = columns("id", "email", "reason", "expires_at", "enabled")
    one = {"id": 7, "email": "ana@example.org", "reason": "why " * 30, "expires_at": "2026-11-29T14:20:07.123456Z"}
    two = {"id": 8, "email": "ben@example.org", "reason": None, "expires_at": None}

    lines = table([one | {"enabled": True}, two | {"enabled": False}], named).split("\n")

    assert lines == [
        "id  email            expires_at         enabled",
        "7   ana@example.org  2026-11-29 14:20Z  true",
        INDENT + "reason: " + "why " * 21 + "why",
        INDENT + "why " * 7 + "why",
        "8   ben@example.org  -                  false",
    ]


@pytest.mark.parametrize("long", ["name", "model", "email", "request_id", "at"])
def test_a20_names_are_never_cut(long: str) -> None:
    """At any width, in one piece as long as a line has room for it."""
    named = columns("id", "status", "name", "model", "email", "request_id", "at", "amount")
    row = {column.name: "x" for column in named} | {long: "y" * (LEAST_WIDTH - len(INDENT))}
    for width in range(LEAST_WIDTH, 2 * WIDTH):
        assert row[long] in table([row], named, width=width)


@pytest.mark.parametrize(
    ("lengths", "below"),
    [
        ({"name": 30, "reason": 20, "model": 20, "email": 30}, "reason"),
        ({"name": 30, "reason": 1, "model": 40, "email": 30}, "model"),
        ({"name": 30, "provider": 20, "model": 20, "email": 30}, "email"),
    ],
    ids=["a text", "what is very long", "else the last column"],
)
def test_a20_what_goes_below_is(lengths: dict[str, int], below: str) -> None:
    row = {name: name[0] * length for name, length in lengths.items()} | {"reason": "r" * lengths.get("reason", 0)}
    heading = table([row | {"id": 1}], columns("id", *lengths)).split("\n")[0].split()
    text_too = {"reason"} if "reason" in lengths else set()
    assert set(lengths) - set(heading) == {below} | text_too


def test_a20_columns_without_a_value_make_room_before_others() -> None:
    named = columns("id", "name", "expires_at", "model")
    wide = {"id": 1, "name": "n" * 50, "expires_at": None, "model": "m" * 35}
    narrow = wide | {"model": "small"}

    assert table([wide], named).split("\n")[0].split() == ["id", "name", "model"]
    assert table([narrow], named).split("\n")[0].split() == ["id", "name", "expires_at", "model"]


def test_a20_headings_have_two_lines_only_if_the_table_does_not_fit_otherwise() -> None:
    named = columns("model", "calls", "prompt_tokens", "completion_tokens", "cost_usd", "mean_total_ms")
    row = dict.fromkeys([column.name for column in named], 1)

    assert len(table([row | {"model": "m" * 20}], named).split("\n")) == 2
    first, second, _ = table([row | {"model": "m" * 40}], named).split("\n")
    # One more is not needed.
    assert (first.split(), second.split()[-2:]) == (["prompt_"], ["cost_usd", "mean_total_ms"])


def test_a20_in_a_very_narrow_terminal_rows_are_blocks() -> None:
    row = {"name": "n" * 60, "model": "small"}
    block = ["name:", "n" * 40, "n" * 20, "model: small"]
    assert table([row, row], columns("name", "model"), width=LEAST_WIDTH).split("\n") == [*block, "", *block]


@pytest.mark.parametrize(("columns_of_terminal", "width"), [(173, 173), (10, LEAST_WIDTH), (0, WIDTH)])
def test_a20_the_line_is_that_of_the_terminal(columns_of_terminal: int, width: int) -> None:
    ours, theirs = os.openpty()
    termios.tcsetwinsize(theirs, (24, columns_of_terminal))
    script = "from admin_api.cli.tables import line_width; print(line_width())"
    subprocess.run([sys.executable, "-c", script], stdout=theirs, env={}, check=True)
    assert int(os.read(ours, 100)) == width
    os.close(ours)
    os.close(theirs)
    piped = subprocess.run([sys.executable, "-c", script], stdout=subprocess.PIPE, env={}, check=True)
    assert int(piped.stdout) == WIDTH


def test_a20_a_time_names_its_zone() -> None:
    moment = datetime(2026, 10, 25, 1, 30, 7, tzinfo=UTC)
    assert time_text(moment) == "2026-10-25 01:30Z"
    assert time_text(moment, seconds=True) == "2026-10-25 01:30:07Z"
    # The hour that there is twice, when summer time ends.
    assert time_text(moment, ZoneInfo("Europe/Madrid")) == "2026-10-25 02:30+01"
    assert time_text(moment.replace(hour=0), ZoneInfo("Europe/Madrid")) == "2026-10-25 02:30+02"
    assert time_text(moment, ZoneInfo("Asia/Kathmandu")) == "2026-10-25 07:15+05:45"
    assert time_text(datetime.max.replace(tzinfo=UTC), ZoneInfo("Asia/Tokyo")) == "9999-12-31 23:59Z"
    shown = cell_text("2026-10-25T01:30:07.5Z", Kind.INSTANT, ZoneInfo("Europe/Madrid"))
    assert datetime.fromisoformat(shown) == moment


def test_a20_nothing_in_a_cell_is_taken_for_a_command_of_the_terminal() -> None:
    assert cell_text("\x1b[2Jred\u202e\n team") == "�[2Jred� team"


def test_a20_names_in_place_of_ids() -> None:
    assert owner_text("ana@example.org", "ana@example.org") == "ana@example.org"
    assert (owner_text("red", "ana@example.org"), owner_text("red", None)) == ("ana@example.org in red", "red")
    assert (key_text("ci", "x7Qw"), key_text("", "x7Qw"), key_text(None, None)) == ("ci …x7Qw", "…x7Qw", None)
    assert target_text("red", "ci …x7Qw") == "ci …x7Qw of red"
    assert target_text("red", None) == "red"
    assert with_units({"amount": None, "amount_usd": "25", "used_usd": None, "used": 3}) == {
        "amount": "25 USD", "amount_usd": "25", "used_usd": None, "used": 3,
    }  # fmt: skip


def test_a20_objects_among_details_are_no_json() -> None:
    tiers = [{"unit": "input", "above": 200_000, "service_tier": "", "each_usd": None, "per_million_usd": "6"}]
    price = {"id": 3, "input_per_million_usd": "1", "image_usd": None, "unusable": [], "tiers": tiers}
    fields = {
        "name": "small",
        "capabilities": ["vision", "tools"],
        "price": price,
        "created_at": "2026-11-29T14:20:07Z",
    }

    assert details(fields).split("\n") == [
        "name          small",
        "capabilities  vision, tools",
        "created_at    2026-11-29 14:20Z",
        "price:",
        "    id                     3",
        "    input_per_million_usd  1",
        "    tiers:",
        "    unit    above  service_tier  each_usd  per_million_usd",
        f"    input  200000  {NOTHING}                    {NOTHING}                6",
    ]
