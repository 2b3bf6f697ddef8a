"""Processes are killed while requests run; afterwards the ledger is held against what the provider itself counted.

::

    make kills                                          both deployments, 100 kills each
    python -m tests.faults.kills --help                 one of them, another seed, fewer kills

======================  ==========================================================================
``upstream``            a provider that keeps its own count of each request
``traffic``             clients that ask all the time, and what each was told
``tree``                one ``gateway serve`` or ``gateway proxy`` that can be killed and started again
``embedded, scaled``    the two deployments: what there is to kill, and how it comes back
``killing``             which process dies when, by a seed
``ledger``              what the ledger holds, read past the gateway
``judge``               the rules, and what breaks them
``run``                 one run from start to verdict
``table``               what is printed of it
======================  ==========================================================================
"""
