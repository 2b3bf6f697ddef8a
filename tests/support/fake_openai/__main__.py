"""``python -m tests.support.fake_openai``: serve until interrupted; prints base URL and key as a JSON line."""

import json
import signal

from tests.support.fake_openai import KEY, FakeOpenAI

if __name__ == "__main__":
    with FakeOpenAI() as fake:
        print(json.dumps({"base_url": fake.base_url, "key": KEY}), flush=True)
        signal.sigwait({signal.SIGINT, signal.SIGTERM})
