"""An OpenAI-compatible provider for tests: real HTTP, answers derived from the request, everything recorded.

``FakeOpenAI`` runs it in a thread; ``python -m tests.support.fake_openai`` runs it in a process. The model name picks
how an answer is delivered, see :mod:`tests.support.fake_openai.behaviours`. What an answer says, see
:mod:`tests.support.fake_openai.answers`. The wire forms follow the OpenAI API reference of chat completions.
"""

from tests.support.fake_openai.behaviours import MODELS
from tests.support.fake_openai.recording import Connection, Recorded, Recording
from tests.support.fake_openai.server import KEY, FakeOpenAI

__all__ = ["KEY", "MODELS", "Connection", "FakeOpenAI", "Recorded", "Recording"]
