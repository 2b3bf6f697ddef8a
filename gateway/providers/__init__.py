"""Providers whose API is not OpenAI's: each a pure translation from and to the internal form, with no I/O.

The internal form is told in ``docs/protocols.md``; what a provider must have is in :mod:`gateway.providers.base`.
"""
