"""The matrix of clients, kinds of providers and what they can do; ``test_matrix`` fills it.

``asks`` is what is asked; ``chat``, ``responses`` and ``messages`` are the SDKs that ask it; ``stand`` is the providers
and the gateway, ``features`` what a cell must show, ``limits`` the footnotes; ``table`` writes what was found.
"""

import pytest

pytest.register_assert_rewrite("tests.scenarios.protocols.matrix.features", "tests.scenarios.protocols.matrix.stand")
