"""Organisations (tenants): who owns keys, plans and money."""
