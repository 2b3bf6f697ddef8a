"""A fake provider that has OpenAI's Responses beside Chat Completions.

``app`` is where it is asked, ``answers`` what it says, ``events`` how it says that in a stream, ``heard`` what it was
asked.
"""

from tests.support.fake_responses.app import COUNTED, FAILS, FakeResponses

__all__ = ["COUNTED", "FAILS", "FakeResponses"]
