"""Every fault of the table in docs/ledger.md with real processes under load; three counts are compared."""
