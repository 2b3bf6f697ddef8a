"""Random faults under load, for as long as one likes; afterwards nothing of it may be left in the gateway.

::

    make soak                                          ten minutes
    python -m tests.faults.soak --help                 shorter, with another seed

==============  ==========================================================================
``settings``    the gateway: a model for each fault, alone and with another target
``callers``     clients that ask, leave, send half a request, read slowly; what they were told
``census``      a plugin that counts, within the worker, what a leak would make grow
``run``         warm up, look, load, look again
``verdict``     what must be as it was
==============  ==========================================================================
"""
