"""One model in memory: its weights, vocabulary and context, through llama.cpp's C API.

All computing happens on the inference thread. Tokenizing is safe from any thread that holds :attr:`LoadedModel.guard`.
"""

from __future__ import annotations

import ctypes
import importlib
import os
import threading
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from gateway.kernel.errors import GatewayError, Kind
from gateway.local.binding import AbortFlag
from gateway.settings.model import LlamaCpp

_CHUNK = 128  # prompt tokens evaluated at once, and the grain at which an evaluated prefix is reused
_ABORTED = 2
_POOLING_NONE = 0
_FLASH_ATTENTION_OFF = 0  # the reference arithmetic: scores match llama.cpp run plainly


class Cancelled(Exception):
    """The computation was stopped because nobody waits for it any more."""


class LoadedModel:
    """Weights and context of one model.

    Prompts are evaluated in chunks counted from their start, and only whole chunks are reused for a later prompt that
    begins the same: an answer is the same, bit for bit, whether its prompt was reused or not.
    """

    def __init__(self, lib: Any, path: Path, options: LlamaCpp, abort: AbortFlag) -> None:
        self.lib = lib
        self.options = options
        self.guard = threading.Lock()
        self.abort = abort
        self._context: Any = None
        self._embedder: Any = None
        self._candidates: Any = None
        self._past: list[int] = []
        self._exact = 0
        self._model = self._load(path)
        self.vocab = lib.llama_model_get_vocab(self._model)
        self.n_vocab = int(lib.llama_vocab_n_tokens(self.vocab))
        self.n_embd = int(lib.llama_model_n_embd(self._model))
        trained = int(lib.llama_model_n_ctx_train(self._model))
        self.context_length = min(options.context_length, trained) if trained > 0 else options.context_length
        self.metadata = self._metadata()
        self._chunk = min(options.batch, _CHUNK)

    # Memory

    def footprint(self) -> int:
        """Bytes the model takes when in use: weights, attention cache and compute buffers."""
        lib, model = self.lib, self._model
        heads = max(1, int(lib.llama_model_n_head(model)))
        per_token = int(lib.llama_model_n_layer(model)) * int(lib.llama_model_n_head_kv(model)) * (self.n_embd // heads)
        cache = 2 * 2 * per_token * self.context_length  # keys and values of two bytes each
        compute = 4 * self._chunk * (self.n_vocab + 16 * self.n_embd)
        contexts = 2 if self.options.embeddings else 1
        return int(lib.llama_model_size(model)) + contexts * (cache + compute)

    def close(self) -> None:
        """Free everything. The model is unusable afterwards."""
        with self.guard:
            for context in (self._context, self._embedder):
                if context is not None:
                    self.lib.llama_free(context)
            self._context = self._embedder = None
            if self._model is not None:
                self.lib.llama_model_free(self._model)
                self._model = None

    @property
    def closed(self) -> bool:
        return self._model is None

    def _load(self, path: Path) -> Any:
        params = self.lib.llama_model_default_params()
        # A negative count puts every layer on the accelerator.
        params.n_gpu_layers = self.options.gpu_layers if self.options.gpu_layers >= 0 else 0x7FFFFFFF
        model = self.lib.llama_model_load_from_file(str(path).encode(), params)
        if not model:
            message = f"llama.cpp cannot load {path.name}: it is not a GGUF model this version understands."
            raise GatewayError(Kind.UNAVAILABLE, "local_model_broken", message, "model")
        return model

    def _new_context(self, *, embeddings: bool) -> Any:
        params = self.lib.llama_context_default_params()
        # Threads wait for one another many times per token, so a core that others use slows all of them down.
        threads = self.options.threads or max(1, (os.cpu_count() or 2) // 2)
        pooled = embeddings and self.declared_pooling is not None
        params.n_ctx = self.context_length
        params.n_batch = params.n_ubatch = self.context_length if pooled else self._chunk
        params.n_threads = params.n_threads_batch = threads
        params.embeddings = embeddings
        params.flash_attn_type = _FLASH_ATTENTION_OFF
        params.no_perf = True
        if embeddings and not pooled:
            params.pooling_type = _POOLING_NONE
        params.abort_callback = self.abort.function
        params.abort_callback_data = self.abort.data
        context = self.lib.llama_init_from_model(self._model, params)
        if not context:
            message = f"There is not enough memory for a context of {self.context_length} tokens."
            raise GatewayError(Kind.UNAVAILABLE, "local_model_out_of_memory", message, "model")
        return context

    # Facts about the model

    def _metadata(self) -> dict[str, str]:
        found: dict[str, str] = {}
        for index in range(self.lib.llama_model_meta_count(self._model)):
            key = self._string(self.lib.llama_model_meta_key_by_index, index)
            found[key] = self._string(self.lib.llama_model_meta_val_str_by_index, index)
        return found

    def _string(self, function: Any, index: int) -> str:
        size = 256
        while True:
            buffer = ctypes.create_string_buffer(size)
            needed = int(function(self._model, index, buffer, size))
            if needed < size:
                return buffer.value.decode(errors="replace")
            size = needed + 1

    @property
    def declared_pooling(self) -> str | None:
        """The pooling an embedding model was trained with, None for a text generator."""
        return self.metadata.get(f"{self.metadata.get('general.architecture')}.pooling_type")

    def special_text(self, which: str) -> str:
        """The text of a special token: ``bos`` or ``eos``; empty where the model has none."""
        token = int(getattr(self.lib, f"llama_vocab_{which}")(self.vocab))
        return bytes(self.lib.llama_vocab_get_text(self.vocab, token)).decode(errors="replace") if token >= 0 else ""

    # Tokens

    def tokenize(self, text: str, *, add_special: bool, parse_special: bool) -> list[int]:
        """The tokens of ``text``; with ``parse_special`` the texts of control tokens are read as those tokens."""
        data = text.encode("utf-8", errors="replace")
        size = len(data) + 8
        buffer = (self.lib.llama_token * size)()
        count = int(self.lib.llama_tokenize(self.vocab, data, len(data), buffer, size, add_special, parse_special))
        if count < 0:
            buffer = (self.lib.llama_token * -count)()
            count = int(
                self.lib.llama_tokenize(self.vocab, data, len(data), buffer, -count, add_special, parse_special)
            )
        return list(buffer[:count])

    def piece(self, token: int, *, special: bool = False) -> bytes:
        """The bytes a token stands for; a control token stands for none unless ``special``."""
        size = 64
        while True:
            buffer = ctypes.create_string_buffer(size)
            count = int(self.lib.llama_token_to_piece(self.vocab, token, buffer, size, 0, special))
            if count >= 0:
                return buffer.raw[:count]
            size = -count

    def ends_generation(self, token: int) -> bool:
        """Whether a token is one of the model's end marks."""
        return bool(self.lib.llama_vocab_is_eog(self.vocab, token))

    # Computing

    @property
    def context(self) -> Any:
        """The generation context, made when first needed."""
        if self._context is None:
            self._context = self._new_context(embeddings=False)
        return self._context

    def evaluate(self, tokens: Sequence[int]) -> int:
        """Bring the context to exactly ``tokens``; the logits of the last are ready. Returns how many were reused.

        Raises :class:`Cancelled` when the abort flag was set meanwhile.
        """
        reused = self._keep(tokens)
        for start in range(reused, len(tokens), self._chunk):
            part = tokens[start : start + self._chunk]
            self._decode(self.context, part)
            self._past.extend(part)
            if len(part) == self._chunk:
                self._exact = len(self._past)
        return reused

    def append(self, token: int) -> None:
        """Add one generated token to the context."""
        self._decode(self.context, [token])
        self._past.append(token)

    def logits(self) -> Any:
        """The raw scores of every token for the next position, a NumPy array that the next step overwrites."""
        numpy = importlib.import_module("numpy")
        pointer = self.lib.llama_get_logits_ith(self.context, -1)
        return numpy.ctypeslib.as_array(pointer, shape=(self.n_vocab,))

    def candidates(self) -> Any:
        """Every token with its raw score for the next position, as samplers take them."""
        numpy = importlib.import_module("numpy")
        if self._candidates is None:
            layout = numpy.dtype([("id", numpy.int32), ("logit", numpy.float32), ("p", numpy.float32)])
            self._candidates = numpy.zeros(self.n_vocab, dtype=layout)
        table = self._candidates
        table["id"] = numpy.arange(self.n_vocab, dtype=numpy.int32)
        table["logit"] = self.logits()
        data = table.ctypes.data_as(self.lib.llama_token_data_p)
        return self.lib.llama_token_data_array(data=data, size=self.n_vocab, selected=-1, sorted=False)

    def _keep(self, tokens: Sequence[int]) -> int:
        common = 0
        # The last token is always evaluated again: its logits are what the caller wants.
        for old, new in zip(self._past[: self._exact], tokens[:-1], strict=False):
            if old != new:
                break
            common += 1
        keep = common - common % self._chunk
        memory = self.lib.llama_get_memory(self.context)
        if keep == 0 or not self.lib.llama_memory_seq_rm(memory, 0, keep, -1):
            keep = 0
            self.lib.llama_memory_clear(memory, True)
        del self._past[keep:]
        self._exact = keep
        return keep

    def _decode(self, context: Any, tokens: Sequence[int]) -> None:
        array = (self.lib.llama_token * len(tokens))(*tokens)
        code = int(self.lib.llama_decode(context, self.lib.llama_batch_get_one(array, len(tokens))))
        if code == 0:
            return
        # What an aborted step left behind is unknown, so nothing of it is reused.
        self._past, self._exact = [], 0
        self.lib.llama_memory_clear(self.lib.llama_get_memory(context), True)
        if code == _ABORTED:
            raise Cancelled
        raise GatewayError(Kind.INTERNAL, "local_model_failed", f"llama.cpp stopped with code {code}.")

    def embed(self, tokens: Sequence[int]) -> Any:
        """The unit-length embedding of one text, a NumPy vector: by the model's own pooling, or its tokens' mean."""
        numpy = importlib.import_module("numpy")
        if self._embedder is None:
            self._embedder = self._new_context(embeddings=True)
        context = self._embedder
        if (memory := self.lib.llama_get_memory(context)) is not None:
            self.lib.llama_memory_clear(memory, True)
        if self.declared_pooling is not None:
            self._decode(context, tokens)
            total = self._vector(numpy, self.lib.llama_get_embeddings_seq(context, 0)).astype("float64")
        else:
            total = numpy.zeros(self.n_embd)
            for start in range(0, len(tokens), self._chunk):
                part = tokens[start : start + self._chunk]
                self._decode(context, part)
                for index in range(len(part)):
                    total += self._vector(numpy, self.lib.llama_get_embeddings_ith(context, index))
        norm = float(numpy.linalg.norm(total))
        return (total / norm if norm > 0 else total).astype("float32")

    def _vector(self, numpy: Any, pointer: Any) -> Any:
        if not pointer:
            raise GatewayError(Kind.INVALID, "embeddings_not_supported", "This model gives no embeddings.", "model")
        return numpy.ctypeslib.as_array(pointer, shape=(self.n_embd,))
