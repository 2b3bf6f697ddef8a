"""A provider that fails in every way a provider can: the model a request names picks the fault.

One module per family; :mod:`tests.faults.upstream.registry` lists them all. ``python -m tests.faults.upstream`` runs
one by itself.
"""
