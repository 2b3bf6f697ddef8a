"""Files, and batches of requests that the gateway itself works through, for any provider.

``records`` is what is kept and how clients see it, ``database`` where (a SQLite file and a folder in ``data_dir`` that
all workers of a machine share), ``store`` how a worker reaches it without waiting in its event loop. ``uploading``
takes a file to disk as it arrives, ``lines`` is the form of what is in it. One worker of a machine has the ``runner``:
for each batch it has a ``run``, which has every line asked (``asking``) as a request of the batch's credential, and
``finishing`` writes the answers to files. See ``docs/batches.md``.
"""
