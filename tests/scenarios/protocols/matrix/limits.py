"""What an API can't say: the footnotes of the matrix. Each is held by the tests of the cells that it stands in."""

from __future__ import annotations

from typing import Final, NamedTuple


class Limit(NamedTuple):
    """Of which ``kinds`` it is so, and what a reader is told of it."""

    kinds: tuple[str, ...]
    about: str


LIMITS: Final = {
    "single": Limit(
        ("gemini", "vertex", "bedrock", "cohere"),
        "Calls are made in parallel, and their results go back together. That there be one at a time can't be asked of"
        " this API: `parallel_tool_calls: false` and `disable_parallel_tool_use` are refused by name.",
    ),
    "image url": Limit(
        ("bedrock",),
        "Images as data. Converse takes them as bytes or from S3, so one by a web address is refused by name.",
    ),
    "hidden": Limit(
        ("openai", "azure"),
        "Effort is passed on and the tokens of thoughts are told. Their text is not: OpenAI's Chat Completions has no"
        " field for it.",
    ),
    "text unsigned": Limit(
        ("gemini", "vertex"),
        "Thoughts are shown, and what is signed of calls comes back with them, as Google demands (see tools). The"
        " signature of a text, which it does not check, is carried by Chat Completions alone.",
    ),
    "unsigned": Limit(
        ("cohere", "mistral"),
        "Thoughts are shown. This API signs none, so there is nothing that would have to come back unchanged.",
    ),
}
