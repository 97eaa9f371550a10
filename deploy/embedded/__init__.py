"""Every real part of LiteMaaS on one machine: for `make demo` and for the tests."""
