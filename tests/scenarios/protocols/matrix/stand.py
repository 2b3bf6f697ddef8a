"""Every kind of provider, and what one cell of the matrix has to do with them."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Final, NamedTuple

import anthropic
import openai
import pytest

from tests.scenarios.protocols.matrix.asks import Ask, Client
from tests.scenarios.protocols.matrix.limits import LIMITS, limits_of
from tests.support.fake_anthropic import KEY as ANTHROPIC_KEY
from tests.support.fake_anthropic import FakeAnthropic
from tests.support.fake_anthropic.heard import heard as heard_by_anthropic
from tests.support.fake_openai import KEY as OPENAI_KEY
from tests.support.fake_openai import FakeOpenAI, Recorded
from tests.support.fake_responses import FakeResponses
from tests.support.fake_responses.heard import heard as heard_by_responses
from tests.support.fake_vendors import ACCESS_KEY, KEY, SECRET_KEY, FakeVendors, bedrock, cohere, gemini, openai_like
from tests.support.fake_vendors.heard import Heard
from tests.support.fake_vendors.server import BREAKS, ENDLESS, FAILS
from tests.support.local_engine import MODEL
from tests.support.overheard import Overheard

GATEWAY_KEY: Final = "gw_live_matrix_0123456789"


class Kind(NamedTuple):
    """``heard`` reads what its requests say; ``model`` is its name of one that does all it can. ``fails``, ``breaks``
    and ``endless`` are models that refuse, whose streams end in an error, and whose streams do not end. ``signs`` says
    what carries a signature that must come back: ``thoughts``, or ``calls``.
    """

    heard: Callable[[dict[str, Any]], Heard]
    model: str
    fails: str = FAILS
    breaks: str = BREAKS
    endless: str = ENDLESS
    signs: str = ""


KINDS: Final = {
    "openai": Kind(openai_like.heard, "fake-chat", "error-429", "error-event", "endless"),
    "openai-responses": Kind(heard_by_responses, "fake-chat", "error-429", "error-event", "endless", signs="thoughts"),
    "azure": Kind(openai_like.heard, "a-deployment"),
    "anthropic": Kind(heard_by_anthropic, "claude-opus-4-5", "error-429", "error-event", "endless", signs="thoughts"),
    "gemini": Kind(gemini.heard, "gemini-3-pro-preview", signs="calls"),
    "vertex": Kind(gemini.heard, "gemini-2.5-pro", signs="calls"),
    "bedrock": Kind(bedrock.heard, "eu.anthropic.claude-opus-4-5-20251101-v1:0", signs="thoughts"),
    "cohere": Kind(cohere.heard, "command-a-reasoning-08-2025"),
    "mistral": Kind(openai_like.heard, "magistral-medium-latest"),
    "llama_cpp": Kind(openai_like.heard, MODEL, MODEL, MODEL, MODEL),
}

_VERSIONS: Final = {"cohere": "/v2", "mistral": "/v1"}
"""What the base URLs of some end in."""


@dataclass
class Providers:
    """What every kind's requests arrive at."""

    gpt: FakeOpenAI
    native: FakeResponses
    claude: FakeAnthropic
    vendors: FakeVendors

    def of(self, kind: str) -> FakeOpenAI:
        """Where a kind's do, but for that of the models on this machine."""
        own = {"openai": self.gpt, "openai-responses": self.native, "anthropic": self.claude}
        return own.get(kind, self.vendors)


def config(fakes: Providers, account: dict[str, str]) -> dict[str, Any]:
    """A model of each kind under its name, and its failing ones. ``account`` is Google's service account."""
    options: dict[str, Any] = {
        "vertex": {"project": "p", "service_account": json.dumps(account)},
        "bedrock": {"access_key_id": ACCESS_KEY, "secret_access_key": SECRET_KEY, "region": "us-east-1"},
    }
    provider: dict[str, Any] = {
        "openai": {"base_url": fakes.gpt.base_url, "api_key": OPENAI_KEY},
        "openai-responses": {
            "kind": "openai",
            "base_url": fakes.native.base_url,
            "api_key": OPENAI_KEY,
            "responses": True,
        },
        "anthropic": {"base_url": fakes.claude.base_url, "api_key": ANTHROPIC_KEY},
        "llama_cpp": {"model": MODEL, "llama_cpp": {"threads": 1, "context_length": 1024, "embeddings": False}},
        **{
            name: {
                "base_url": f"{fakes.vendors.root}/{name}{_VERSIONS.get(name, '')}",
                **({"options": options[name]} if name in options else key),
            }
            for name in ("azure", "gemini", "vertex", "bedrock", "cohere", "mistral")
            for key in ({"api_key": KEY},)
        },
    }
    quick = {"retry": {"attempts": 1}, "breaker": {"failures": 1000}}
    return {
        "server": {"host": "127.0.0.1", "port": 0, "drain": 5.0},
        "data_dir": "data",
        "providers": [{"name": name, "kind": name, **quick, **provider[name]} for name in KINDS],
        "models": [
            {"name": name + suffix, "targets": [{"provider": name, "model": model}]}
            for name, kind in KINDS.items()
            for suffix, model in (
                ("", kind.model),
                ("-fails", kind.fails),
                ("-breaks", kind.breaks),
                ("-endless", kind.endless),
            )
        ],
        "keys": [{"key": GATEWAY_KEY, "name": "matrix", "organization": "tests"}],
    }


@dataclass
class Cell:
    """One client before one kind of provider. ``fake`` is where that kind's requests arrive."""

    client: Client
    kind: str
    fake: FakeOpenAI | Overheard

    @property
    def about(self) -> Kind:
        """The kind."""
        return KINDS[self.kind]

    def has(self, limit: str) -> bool:
        """Whether a limit holds for it: see :mod:`tests.scenarios.protocols.matrix.limits`."""
        return limit in limits_of(self.client.name, self.kind, LIMITS[limit].feature)

    def request(self, text: str) -> Recorded:
        """The last request that held a text."""
        return self.fake.recording.wait_request(text, timeout=30)

    def heard(self, text: str) -> Heard:
        """What it said."""
        return self.about.heard(self.request(text).json)

    def refuses(self, ask: Ask, *params: str) -> None:
        """The gateway refuses the request by itself, and names one of the parameters."""
        mark = self.fake.recording.mark()
        with pytest.raises((openai.BadRequestError, anthropic.BadRequestError)) as refused:
            self.client.ask(self.kind, ask)
        error: Any = refused.value
        told = error.body
        told = told["error"]["details"] if self.client.name == "messages" else told
        assert told["param"] in params, told
        assert self.fake.recording.since(mark) == []
