"""`make client-packages`: installs what the clients of `make test` need."""

from clients.catalogue import SHORT, TRIED

if __name__ == "__main__":
    for client in (*SHORT, *TRIED):
        client.install()
