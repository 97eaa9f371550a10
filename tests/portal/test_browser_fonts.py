"""Every character that a page may show is in the fonts of the pages: Chromium says what it drew each with."""

from collections.abc import Iterator
from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path
from typing import Final

from babel.messages.pofile import read_po

from admin_api import portal
from admin_api.portal.formatters import Formats
from admin_api.portal.languages import FOLDER, LANGUAGES
from portal.conftest import NewWindow

CODE: Final = Path(portal.__file__).parent
# What is written by hand, and where sentences about changes are put together.
WRITTEN: Final = (
    *CODE.rglob("templates/**/*.html"), *CODE.rglob("*.py"), *CODE.glob("own/*"),
    CODE.parent / "schemas" / "value_texts.py",
)  # fmt: skip
FONTS: Final = ("Red Hat Text", "Red Hat Display")
# A line for each font, with an element for each character.
SHOW: Final = """async ({fonts, characters}) => {
  for (const [number, font] of fonts.entries()) {
    const line = document.createElement("p");
    line.id = `font-${number}`;
    line.style.fontFamily = JSON.stringify(font);
    for (const one of characters) line.append(Object.assign(document.createElement("b"), {textContent: one}));
    document.body.append(line);
  }
  await document.fonts.ready;
}"""


async def test_every_character_is_in_the_fonts(new_window: NewWindow) -> None:
    window = await new_window(has_logged_in=False)
    await window.open("/login")
    characters = sorted(set("".join(texts())) - set(" \n\t"))
    await window.page.evaluate(SHOW, {"fonts": FONTS, "characters": characters})
    devtools = await window.page.context.new_cdp_session(window.page)
    for domain in ("DOM", "CSS"):
        await devtools.send(f"{domain}.enable")
    root = (await devtools.send("DOM.getDocument", {"depth": 0}))["root"]["nodeId"]

    for number, font in enumerate(FONTS):
        found = await devtools.send("DOM.querySelectorAll", {"nodeId": root, "selector": f"#font-{number} b"})
        drawn = [await devtools.send("CSS.getPlatformFontsForNode", {"nodeId": one}) for one in found["nodeIds"]]
        names = {one: [used["familyName"] for used in by["fonts"]] for one, by in zip(characters, drawn, strict=True)}
        assert {one: name for one, name in names.items() if name != [font]} == {}


def texts() -> Iterator[str]:
    for path in WRITTEN:
        yield path.read_text()
    for path in FOLDER.rglob("*.po"):
        with path.open("rb") as file:
            yield from (text for one in read_po(file) for text in ("".join(one.id), "".join(one.string)))
    for language in LANGUAGES:
        formats = Formats(language, "UTC", "EUR", Decimal(1))
        yield from (formats.time(datetime(2026, month, 1, tzinfo=UTC)) for month in range(1, 13))
        yield from (formats.nano_usd(-1_234_567_890_123), formats.number(1_234_567), formats.percent(Decimal("0.5")))
