"""A provider with Anthropic's Messages API for tests: real HTTP, answers derived from the request, everything recorded.

What an answer says, see :mod:`tests.support.fake_anthropic.answers`; what a request must be,
:mod:`tests.support.fake_anthropic.rules`. A model's name picks how an answer is delivered, as with
:mod:`tests.support.fake_openai`. The wire forms follow the API reference, "Messages" and "Streaming Messages".
"""

from tests.support.fake_anthropic.server import KEY, FakeAnthropic

__all__ = ["KEY", "FakeAnthropic"]
