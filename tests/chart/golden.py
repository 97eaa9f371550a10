"""What each example renders to, in git: a change of the chart shows there. `make chart` writes it."""

from pathlib import Path
from typing import Final

from tests.chart.charts import EXAMPLES, Helm, running_helm, values_of

FOLDER: Final = Path(__file__).with_name("rendered")


def text_of(helm: Helm, example: str) -> str:
    """All templates of an example and its notes, in the order of their names."""
    files = helm.render(values_of(example))
    parts = (f"# {name}\n{text.strip()}\n" for name, text in sorted(files.items()) if text.strip())
    return "---\n".join(parts)


def main() -> None:
    FOLDER.mkdir(exist_ok=True)
    with running_helm() as helm:
        for example in EXAMPLES:
            (FOLDER / f"{example}.txt").write_text(text_of(helm, example))


if __name__ == "__main__":
    main()
