"""Responses that are kept, so that a client can read them again and go on from them.

``records`` is what is kept, ``database`` where (a SQLite file in ``data_dir`` that all workers of a machine share),
``store`` how a worker reaches it without waiting in its event loop.
"""
