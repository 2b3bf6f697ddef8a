"""Limits set for one key, user, organisation, model or provider, or for all."""
