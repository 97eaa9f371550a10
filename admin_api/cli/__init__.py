"""`litemaas …`: everything an operator does at a terminal, straight on Postgres."""

from admin_api.cli.app import main

__all__ = ["main"]
