"""The ledger under fire: every fault of docs/ledger.md's table against real processes, and three counts compared."""
