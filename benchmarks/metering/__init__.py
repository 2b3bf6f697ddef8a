"""How fast usage becomes ledger entries."""
