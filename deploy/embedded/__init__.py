"""LiteMaaS with all its servers on one machine: for `make demo` and for the tests."""
