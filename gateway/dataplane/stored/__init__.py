"""Responses and conversations that are kept, so that a client can read them again and go on from them.

``records`` and ``conversations`` are what is kept, ``database`` where (a SQLite file in ``data_dir`` that all workers
of a machine share), ``store`` how a worker reaches it without waiting in its event loop. A request's way: ``beginning``
looks up what it goes on from, ``session`` is what it asked and how it ended, ``keeping`` writes that; ``background`` is
for those whose client does not wait.
"""
