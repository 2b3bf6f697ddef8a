"""Client protocols beside OpenAI's Chat Completions: each a pure translation to and from the internal form.

The internal form is told in ``docs/protocols.md``; what a protocol must have is in :mod:`gateway.protocols.base`.
"""
