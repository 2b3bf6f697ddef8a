"""The local model engine: a separate process that answers OpenAI's API over a Unix socket with llama.cpp.

The data plane treats it as one more upstream. ``python -m gateway.local --config FILE --socket PATH`` runs it.
"""
