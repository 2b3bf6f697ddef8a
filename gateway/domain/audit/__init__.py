"""The audit log: every change of identity, key, limit or money, chained so that tampering shows."""
