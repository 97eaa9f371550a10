"""Calls of the gateway that a person makes in the portal."""
