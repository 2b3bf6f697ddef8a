"""What is known of models: the providers' own lists, as they were fetched, and the shipped list of context windows.

:mod:`~gateway.domain.catalogue.model` is what is kept, :mod:`~gateway.domain.catalogue.file` where,
:mod:`~gateway.domain.catalogue.fetching` asks the providers, :mod:`~gateway.domain.catalogue.service` answers.
"""
