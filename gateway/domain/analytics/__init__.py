"""Reading the ledger: sums by group and time, and entries by page. Nothing here writes."""
