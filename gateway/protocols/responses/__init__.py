"""OpenAI's Responses API, as a client speaks it.

request → ``request`` (what is asked), with ``items``, ``content``, ``thoughts`` and ``tools``; whole answer →
``response``; stream → ``stream``, whose items grow in ``growing`` and whose bytes are made in ``events``; all of it as
the data plane sees it → ``protocol``.
"""
