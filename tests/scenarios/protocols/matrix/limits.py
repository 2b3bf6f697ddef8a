"""What an API can't say: the footnotes of the matrix. Each is held by the tests of the cells that it stands in."""

from __future__ import annotations

from typing import Final, NamedTuple

CLIENTS: Final = ("chat", "responses", "messages")


class Limit(NamedTuple):
    """Of which ``kinds`` and ``clients`` it is so, and what a reader is told of it. ``lacks``: the whole feature."""

    feature: str
    kinds: tuple[str, ...]
    about: str
    clients: tuple[str, ...] = CLIENTS
    lacks: bool = False


LIMITS: Final = {
    "single": Limit(
        "parallel tools",
        ("gemini", "vertex", "bedrock", "cohere"),
        "Calls are made in parallel, and their results go back together. That there be one at a time can't be asked of"
        " this API: `parallel_tool_calls: false` and `disable_parallel_tool_use` are refused by name.",
    ),
    "image url": Limit(
        "vision",
        ("bedrock",),
        "Images as data. Converse takes them as bytes or from S3, so one by a web address is refused by name.",
    ),
    "hidden": Limit(
        "reasoning",
        ("openai", "azure"),
        "Effort is passed on and the tokens of thoughts are told. Their text is not: OpenAI's Chat Completions has no"
        " field for it.",
    ),
    "hidden from others": Limit(
        "reasoning",
        ("openai-responses",),
        "Only a request of Responses goes to the provider's `/responses`, which shows thoughts. Any other goes to its"
        " Chat Completions, for which the note before holds.",
        ("chat", "messages"),
    ),
    "text unsigned": Limit(
        "reasoning",
        ("gemini", "vertex"),
        "Thoughts are shown, and what is signed of calls comes back with them, as Google demands. The signature of a"
        " text, which Google does not check, has no place in this client's protocol.",
        ("responses", "messages"),
    ),
    "unsigned": Limit(
        "reasoning",
        ("cohere", "mistral"),
        "Thoughts are shown. This API signs none, so there is nothing that would have to come back unchanged.",
    ),
    "blind": Limit(
        "vision",
        ("llama_cpp",),
        "The engine runs llama.cpp's language models without projectors of images. A request with one goes to another"
        " target, or is refused by name before the engine is asked.",
        lacks=True,
    ),
    "thoughtless": Limit(
        "reasoning",
        ("llama_cpp",),
        "llama.cpp has no setting for how much a model thinks: `reasoning_effort`, `reasoning.effort` and a budget of"
        " `thinking` are refused by name, or left out where `drop_params` says so.",
        lacks=True,
    ),
}


def limits_of(client: str, kind: str, feature: str) -> tuple[str, ...]:
    """The keys of the limits that a cell has."""
    return tuple(
        key
        for key, limit in LIMITS.items()
        if feature == limit.feature and kind in limit.kinds and client in limit.clients
    )
