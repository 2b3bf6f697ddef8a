"""Learned routes: which target is likely to answer a prompt well enough, for the least money, soon enough.

::

    decider.py    what one model chooses by; loads the router's weights when they are first needed
    auto.py       the model ``auto``: a route over the targets of other models
    wishes.py     constraints of a request, by header or in its body
    prompts.py    the text that is judged
    ordering.py   a request's targets in the order of the decision, which is noted
    engine.py     targets as candidates of :mod:`gateway.routing`, and the decision among them (NumPy)
    exploring.py  whether another target is taken than the best, with which probability
    observed.py   what is seen of targets: times, lengths, cached shares
    taught.py     what organizations' feedback has taught, asked for in the background
    noting.py     what an answer tells of its target
    telling.py    the headers that tell the client

NumPy is imported by ``engine.py`` alone, which nothing imports before a learned route is used.
"""
