"""Whose credential is this: every kind of secret, answered in one place."""
