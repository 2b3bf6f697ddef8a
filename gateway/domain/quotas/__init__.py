"""Quotas: what an organisation may use in all, and how much of it is used."""
