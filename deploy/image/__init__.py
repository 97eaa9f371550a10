"""Builds the container image on this machine, and tries it beside real components."""
