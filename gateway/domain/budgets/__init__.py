"""Budgets: the most that may be spent in each period."""
