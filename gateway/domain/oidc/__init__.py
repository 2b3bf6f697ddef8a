"""Tokens of other issuers, by OpenID Connect discovery."""
