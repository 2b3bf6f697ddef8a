"""The router that learns: which target answers a prompt well enough, for the least money and time.

::

    features.py   a prompt → numbers of hashed features, in one pass
    panel.py      what is expected of some models: by products.py with NumPy, by summing.c where it was compiled
    model.py      the learned heads: task, probability of a good answer, length of the answer
    weights.py    the file they are kept in
    request.py    what is asked for, and under which constraints
    candidates.py what is chosen from, and what was decided
    estimates.py  what is expected of models and targets
    decision.py   filter, then score: a pure function
    online*.py    what an organization's feedback teaches, and what a router was worth; the learner needs no NumPy
    training/     from recorded outcomes to weights and a report; what it imports is not loaded to decide

NumPy (extra ``routing``) is imported by the modules, never by this package, so that a gateway without a learned route
loads none of it. A :class:`~gateway.routing.model.Model` never changes; what is learned online is state of the sidecar.
"""
