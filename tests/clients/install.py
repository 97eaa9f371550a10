"""`make client-packages`: installs what the clients of `make test` need."""

import administrators

from clients import venvs
from clients.catalogue import SHORT, TRIED
from tests.chart import charts

if __name__ == "__main__":
    for client in (*SHORT, *TRIED):
        client.install()
    # The generator of the client that takes the administrator's tour.
    venvs.install(administrators.VENV)
    # Helm, for the tests of the chart.
    venvs.install(charts.VENV)
