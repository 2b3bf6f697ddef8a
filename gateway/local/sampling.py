"""How the next token is chosen: a chain of llama.cpp samplers, in llama.cpp's usual order."""

from __future__ import annotations

import ctypes
import secrets
from dataclasses import dataclass, field
from typing import Any

from gateway.kernel.errors import GatewayError, Kind
from gateway.local.native import LoadedModel
from gateway.local.requests import Common, invalid

_REPEAT_WINDOW = 64  # tokens; llama.cpp's default


@dataclass(frozen=True)
class Sampling:
    """Sampling settings of one answer. A temperature of 0 takes the likeliest token."""

    temperature: float = 0.8
    top_p: float = 0.95
    top_k: int = 40
    min_p: float = 0.05
    repeat_penalty: float = 1.0
    frequency_penalty: float = 0.0
    presence_penalty: float = 0.0
    seed: int | None = None
    bias: dict[int, float] = field(default_factory=dict)


def sampling_of(request: Common, advised: dict[str, float]) -> Sampling:
    """The request's settings; where it is silent the model's advised ones, then llama.cpp's defaults."""
    plain = Sampling()

    def pick(given: float | None, name: str) -> float:
        return given if given is not None else advised.get(name, getattr(plain, name))

    return Sampling(
        temperature=pick(request.temperature, "temperature"),
        top_p=pick(request.top_p, "top_p"),
        top_k=int(pick(request.top_k, "top_k")),
        min_p=pick(request.min_p, "min_p"),
        repeat_penalty=pick(request.repeat_penalty, "repeat_penalty"),
        frequency_penalty=request.frequency_penalty or 0.0,
        presence_penalty=request.presence_penalty or 0.0,
        seed=request.seed,
        bias=_bias_of(request.logit_bias),
    )


def _bias_of(given: dict[str, float] | None) -> dict[int, float]:
    try:
        return {int(token): bias for token, bias in (given or {}).items()}
    except ValueError as error:
        raise invalid("Expected token ids as keys.", "logit_bias") from error


class Sampler:
    """A sampler chain of one answer. Close it when done."""

    def __init__(self, model: LoadedModel, sampling: Sampling, grammar: str | None, grammar_field: str | None) -> None:
        self._lib = lib = model.lib
        self._model = model
        self._grammar_field = grammar_field
        self._chain: Any = lib.llama_sampler_chain_init(lib.llama_sampler_chain_default_params())
        try:
            self._fill(sampling, grammar, grammar_field)
        except GatewayError:
            self.close()
            raise

    def sample(self) -> int:
        """Choose the next token and remember it.

        Raises ``GatewayError`` when no token is allowed: telling the chain of a token its grammar forbids would end the
        process.
        """
        candidates = self._model.candidates()
        self._lib.llama_sampler_apply(self._chain, ctypes.byref(candidates))
        chosen = candidates.data[candidates.selected]
        if candidates.selected < 0 or chosen.logit == float("-inf"):
            message = "The grammar demands text that this model has no tokens for."
            raise GatewayError(Kind.INVALID, "unreachable_grammar", message, self._grammar_field)
        self._lib.llama_sampler_accept(self._chain, chosen.id)
        return int(chosen.id)

    def close(self) -> None:
        """Free the chain."""
        if self._chain is not None:
            self._lib.llama_sampler_free(self._chain)
            self._chain = None

    def _add(self, sampler: Any) -> None:
        self._lib.llama_sampler_chain_add(self._chain, sampler)

    def _fill(self, sampling: Sampling, grammar: str | None, grammar_field: str | None) -> None:
        lib, n_vocab = self._lib, self._model.n_vocab
        if sampling.bias:
            self._add_bias(sampling.bias)
        if sampling.repeat_penalty != 1.0:
            self._add(lib.llama_sampler_init_penalties(n_vocab, _REPEAT_WINDOW, sampling.repeat_penalty, 0.0, 0.0))
        if sampling.frequency_penalty or sampling.presence_penalty:
            window = self._model.context_length
            frequency, presence = sampling.frequency_penalty, sampling.presence_penalty
            self._add(lib.llama_sampler_init_penalties(n_vocab, window, 1.0, frequency, presence))
        if grammar is not None:
            self._add_grammar(grammar, grammar_field)
        if sampling.temperature <= 0:
            self._add(lib.llama_sampler_init_greedy())
            return
        if sampling.top_k > 0:
            self._add(lib.llama_sampler_init_top_k(sampling.top_k))
        self._add(lib.llama_sampler_init_top_p(sampling.top_p, 1))
        self._add(lib.llama_sampler_init_min_p(sampling.min_p, 1))
        self._add(lib.llama_sampler_init_temp(sampling.temperature))
        seed = secrets.randbits(32) if sampling.seed is None else sampling.seed & 0xFFFFFFFF
        self._add(lib.llama_sampler_init_dist(seed))

    def _add_bias(self, bias: dict[int, float]) -> None:
        n_vocab = self._model.n_vocab
        if wrong := [token for token in bias if not 0 <= token < n_vocab]:
            raise invalid(f"Expected token ids from 0 to {n_vocab - 1}, not {wrong[0]}.", "logit_bias")
        array = (self._lib.llama_logit_bias * len(bias))()
        for entry, (token, value) in zip(array, bias.items(), strict=True):
            entry.token = token
            # -100 bans a token, as OpenAI's API promises.
            entry.bias = float("-inf") if value <= -100 else value
        self._add(self._lib.llama_sampler_init_logit_bias(n_vocab, len(bias), array))

    def _add_grammar(self, grammar: str, field: str | None) -> None:
        sampler = self._lib.llama_sampler_init_grammar(self._model.vocab, grammar.encode(), b"root")
        if not sampler:
            message = "The schema cannot be turned into a grammar by the local model."
            raise GatewayError(Kind.INVALID, "invalid_json_schema", message, field)
        self._add(sampler)
