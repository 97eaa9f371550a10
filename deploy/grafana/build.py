"""`make dashboards`: writes the dashboards of Grafana, each as a file of `dashboards/`."""

import json
from pathlib import Path
from typing import Final

from deploy.grafana.calls_boards import OVERVIEW, UPSTREAM
from deploy.grafana.limits_boards import LIMITS, TEAM
from deploy.grafana.panels import Dashboard
from deploy.grafana.state_boards import ADMIN, LEDGER

FOLDER: Final = Path(__file__).with_name("dashboards")
DASHBOARDS: Final = (OVERVIEW, TEAM, LIMITS, LEDGER, UPSTREAM, ADMIN)


def text_of(dashboard: Dashboard) -> str:
    """The file."""
    return json.dumps(dashboard.model(), indent=1, ensure_ascii=False) + "\n"


def main() -> None:
    for path in FOLDER.glob("*.json"):
        path.unlink()
    for dashboard in DASHBOARDS:
        (FOLDER / f"{dashboard.uid}.json").write_text(text_of(dashboard))


if __name__ == "__main__":
    main()
