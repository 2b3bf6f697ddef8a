"""Credentials: opaque keys and the secrets of apps."""
