"""Accounts as their holders see them: opened at once, with their money and their plan."""
