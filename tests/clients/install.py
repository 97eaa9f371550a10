"""`make client-packages`: installs what the clients of `make test` need."""

from administrators import VENV

from clients import venvs
from clients.catalogue import SHORT, TRIED

if __name__ == "__main__":
    for client in (*SHORT, *TRIED):
        client.install()
    # The generator of the client that takes the administrator's tour.
    venvs.install(VENV)
