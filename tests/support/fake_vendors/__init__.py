"""Providers with APIs of their own for tests: real HTTP, answers derived from the request, everything recorded.

Each says ``You said: `` and the last text of the user in two pieces; calls the first two tools where there are any
and nothing has answered them yet; tells what the tools said once they have; and fails for a model called ``fails``.
The official SDKs of Google, AWS, Mistral and Cohere talk to it in ``tests/scenarios/vendors``.
"""

from tests.support.fake_vendors.server import ACCESS_KEY, KEY, SECRET_KEY, TOKEN, FakeVendors

__all__ = ["ACCESS_KEY", "KEY", "SECRET_KEY", "TOKEN", "FakeVendors"]
