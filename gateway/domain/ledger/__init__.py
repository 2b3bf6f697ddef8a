"""The ledger: one entry per request, never changed, and the sums over its hours and days."""
