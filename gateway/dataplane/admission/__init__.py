"""Limits and money: what a request may use, counted here, kept over a restart, shared through Redis where there is one.

============  ==========================================================================================
counters      the count of one limit in its window
limiter       sets of counters: all are checked, then all are taken or none; reserve, then settle
registry      every counter once, and the limits of a credential as sets for its models
policies      the limits that gateway.yaml sets
books         counters kept in ``limits.db``
leases        slices of limits that several processes share
refusals      how a refusal reads
============  ==========================================================================================
"""
